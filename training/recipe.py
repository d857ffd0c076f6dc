"""How much a part is trained, by the kind of device: a CPU gets smaller batches than a GPU."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Recipe:
    """How much a device trains on."""

    batch: int
    steps: int
    images: int = 0
    """In the gallery; 0 where images are drawn as they are needed."""
