"""What the command line of `python -m bench.product` says."""

from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.product.figures import SIDES
from bench.product.job import STEPS
from bench.product.measure import SMALLEST_PX, Plan

ROUNDS: Final = 3
JOBS: Final = 2
QUEUED: Final = (4, 16)


@dataclass(frozen=True, slots=True)
class Options:
    """What is to be measured, and where it is kept. No `sides`: all that are there."""

    plan: Plan
    rounds: int
    sides: Sequence[str] | None
    is_killed: bool
    keep: Path | None


def parse(description: str | None, words: Sequence[str] | None = None) -> Options:
    """Ends the process, if the words make no sense."""
    parser = ArgumentParser(
        prog="python -m bench.product", description=description, formatter_class=RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"processes of each side ({ROUNDS})")
    parser.add_argument("--sides", type=_sides, help=f"of {','.join(SIDES)}; left out, all that are there")
    parser.add_argument("--sizes", type=_sizes, default=tuple(STEPS), help="of 64,128,256,512 px, or none")
    parser.add_argument("--steps", type=int, help=f"at each size; left out, by the size: {STEPS}")
    parser.add_argument("--jobs", type=int, default=JOBS, help=f"that are measured at each size ({JOBS})")
    parser.add_argument("--queued", type=_numbers, default=QUEUED, help="clients at once (4,16), or none")
    parser.add_argument("--no-kill", action="store_true", help="leave out what kill -9 does to a queue")
    parser.add_argument("--keep", type=Path, metavar="FILE", help="keep figures there, and use those kept")
    parser.add_argument("--brief", action="store_true", help="one round, one job of 64 px, no queue")
    return _options(parser.parse_args(words))


def _options(found: Namespace) -> Options:
    if found.brief:
        plan = Plan(sizes_px=(SMALLEST_PX,), steps=STEPS, jobs=1, queued=())
        return Options(plan, 1, found.sides, is_killed=False, keep=found.keep)
    steps = dict.fromkeys(STEPS, found.steps) if found.steps else STEPS
    plan = Plan(found.sizes, steps, found.jobs, found.queued)
    return Options(plan, found.rounds, found.sides, is_killed=not found.no_kill, keep=found.keep)


def _sizes(words: str) -> tuple[int, ...]:
    """Raises: ValueError, which argparse tells the user, if one has no number of steps."""
    found = _numbers(words)
    if unknown := set(found) - set(STEPS):
        raise ValueError(unknown)
    return found


def _numbers(words: str) -> tuple[int, ...]:
    """Raises: ValueError, if one is not above zero."""
    found = () if words == "none" else tuple(int(word) for word in words.split(","))
    if any(number < 1 for number in found):
        raise ValueError(words)
    return found


def _sides(words: str) -> tuple[str, ...]:
    """Raises: ValueError, which argparse tells the user, if one is unknown."""
    found = tuple(words.split(","))
    if unknown := set(found) - set(SIDES):
        raise ValueError(unknown)
    return found
