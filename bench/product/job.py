"""What every server is asked for: one picture of a size, in so many steps."""

from dataclasses import dataclass
from typing import Final

CFG: Final = 7.0
STEPS: Final = {64: 8, 128: 8, 256: 4, 512: 2}
"""Of the sizes that are measured: as many as a round has the time for."""
PROMPT: Final = "a lighthouse on a cliff at dusk, oil painting"


@dataclass(frozen=True, slots=True)
class Job:
    """A square picture without a negative prompt, sampled with Euler at guidance scale CFG."""

    prompt: str
    seed: int
    size_px: int
    steps: int


def numbered(number: int, size_px: int, steps: int) -> Job:
    """Number 0 is the one whose picture is compared; each has a prompt and a seed of its own."""
    return Job(f"{PROMPT}, number {number}", number, size_px, steps)
