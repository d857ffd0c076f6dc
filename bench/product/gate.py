"""Are the pictures right? Checked before anything is measured with them."""

from dataclasses import dataclass
from importlib.metadata import version
from io import BytesIO
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bench.product.bare import Bare
from bench.product.checkpoint import Checkpoint
from bench.product.job import Job
from bench.product.servers import running

BOUND: Final = 1
"""Of 255: how far a byte may be from that of the bare loop, which has the same weights, seed and steps."""
LEAST_SPREAD: Final = 2.0
"""Standard deviation of the bytes of a picture of something; a black one has 0."""


@dataclass(frozen=True, slots=True)
class References:
    """Pictures of the bare loop, one a size, kept beside the checkpoint."""

    checkpoint: Checkpoint

    def path(self, job: Job) -> Path:
        made_by = f"torch{version('torch')}-diffusers{version('diffusers')}"
        return self.checkpoint.folder / f"reference-{job.size_px}px-{job.steps}steps-{made_by}.png"

    def ensure(self, jobs: list[Job], folder: Path) -> None:
        """Have those made that are not there yet."""
        missing = [job for job in jobs if not self.path(job).exists()]
        if not missing:
            return
        with running(Bare(self.checkpoint), folder) as bare:
            for job in missing:
                self.path(job).write_bytes(bare.make(job))

    def check(self, picture: bytes, job: Job) -> None:
        """Raises: SystemExit, if a picture is not the one of the bare loop."""
        away = distance(picture, self.path(job).read_bytes())
        if away > BOUND:
            raise SystemExit(f"gate failed: at {job.size_px} px a byte is {away} of 255 from the bare loop's")


def distance(picture: bytes, other: bytes) -> int:
    """The largest difference of any byte of two pictures; 255, if their sizes differ."""
    first, second = pixels(picture), pixels(other)
    if first.shape != second.shape:
        return 255
    return int(np.abs(first - second).max())


def check_picture(picture: bytes, job: Job) -> None:
    """What can be asked of a program that draws another noise. Raises: SystemExit."""
    found = pixels(picture)
    if found.shape != (job.size_px, job.size_px, 3):
        raise SystemExit(f"gate failed: {job.size_px} px were asked for, {found.shape} came")
    if found.std() < LEAST_SPREAD:
        raise SystemExit(f"gate failed: nothing is to be seen in the picture of {job}")


def check_different(picture: bytes, other: bytes) -> None:
    """Raises: SystemExit, if two prompts had the same picture."""
    if distance(picture, other) <= BOUND:
        raise SystemExit("gate failed: two prompts, and one picture")


def pixels(picture: bytes) -> NDArray[np.int16]:
    return np.asarray(Image.open(BytesIO(picture)).convert("RGB")).astype(np.int16)
