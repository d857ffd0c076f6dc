"""The checkpoints, sizes and numbers of pictures that `bench.memory` measures."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from engine_worker.embedded.random_checkpoint import small_architecture
from engine_worker.formats.architecture import Architecture
from engine_worker.formats.single_file import describe_file
from kernel.core.memory_model.memory_demand import MemoryDemand
from kernel.protocol.enums import ModelBase


@dataclass(frozen=True, slots=True)
class Case:
    """An architecture by its widths, and what is made with it."""

    base: ModelBase
    unet: tuple[int, ...] | None
    """Channels per level; None: those of the miniature."""
    vae: tuple[int, ...] | None
    size_px: int
    slots: int

    @property
    def words(self) -> str:
        """The case as one argument of a command line."""
        unet = "-".join(map(str, self.unet)) if self.unet else "small"
        vae = "-".join(map(str, self.vae)) if self.vae else "small"
        return f"{self.base}/{unet}/{vae}/{self.size_px}/{self.slots}"

    @classmethod
    def of(cls, words: str) -> "Case":
        base, unet, vae, size_px, slots = words.split("/")
        return cls(ModelBase(base), _widths(unet), _widths(vae), int(size_px), int(slots))

    def architecture(self) -> Architecture:
        """The miniature of the base, as wide as the case says."""
        small = small_architecture(self.base)
        unet = small.unet if self.unet is None else replace(small.unet, channels=self.unet)
        vae = small.vae
        if vae is not None and self.vae is not None:
            vae = replace(vae, channels=self.vae)
        return replace(small, unet=unet, vae=vae)


def ensure_file(case: Case, folder: Path) -> Path:
    """The case's checkpoint; its weights are random and the same each time."""
    # Imported late: who only wants to know the cases need not wait for torch.
    from engine_worker.engine.loading.random_weights import write_random_file

    path = folder / f"{case.words.replace('/', '_')}.safetensors"
    if not path.exists():
        write_random_file(path, case.architecture(), seed=0)
    return path


def demand_of_file(case: Case, path: Path) -> MemoryDemand:
    """What the need of an engine of this checkpoint follows from, read from the file's header alone."""
    profile = describe_file(path).memory
    assert profile is not None, "a checkpoint has a profile"
    return MemoryDemand(
        profile=profile,
        extras=(),
        control_nets=0,
        dtype=None,
        width_px=case.size_px,
        height_px=case.size_px,
        max_batch=case.slots,
    )


def _widths(words: str) -> tuple[int, ...] | None:
    return None if words == "small" else tuple(map(int, words.split("-")))


_MIDDLE_SD: Final = (128, 256, 384, 384)
_MIDDLE_SDXL: Final = (128, 256, 384)
_MIDDLE_VAE: Final = (64, 128, 192, 192)
_HALF_SD: Final = (160, 320, 640, 640)
_HALF_SDXL: Final = (160, 320, 640)
_HALF_VAE: Final = (64, 128, 256, 256)

CASES: Final = (
    Case(ModelBase.SD, None, None, 128, 1),
    Case(ModelBase.SDXL, None, None, 256, 4),
    Case(ModelBase.SD, _MIDDLE_SD, _MIDDLE_VAE, 256, 1),
    Case(ModelBase.SD, _MIDDLE_SD, _MIDDLE_VAE, 256, 4),
    Case(ModelBase.SD, _MIDDLE_SD, _MIDDLE_VAE, 384, 2),
    Case(ModelBase.SDXL, _MIDDLE_SDXL, _MIDDLE_VAE, 512, 1),
)
FULL_CASES: Final = (
    Case(ModelBase.SD, _HALF_SD, _HALF_VAE, 512, 1),
    Case(ModelBase.SD, _HALF_SD, _HALF_VAE, 512, 4),
    Case(ModelBase.SDXL, _HALF_SDXL, _HALF_VAE, 768, 2),
)
