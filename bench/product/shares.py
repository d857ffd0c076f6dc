"""Which page faults of a job are its steps', and which those of the rest: by the progress that it reports."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol, runtime_checkable

from bench.product.job import Job
from bench.product.servers import Server

FEWEST_STEPS: Final = 4
"""So that there is more than one step between two that are neither the first nor the last."""
StepDone = Callable[[int], None]
"""Hears how many steps of a job are done. Some may be left out."""


@runtime_checkable
class TellingServer(Server, Protocol):
    """One that says how far a job is."""

    def make_telling(self, job: Job, step_done: StepDone) -> bytes:
        """Ask for a picture and wait for it. Raises: JobLost."""


@dataclass(frozen=True, slots=True)
class Shares:
    """Page faults of each step, and of everything else: the prompt, the decoding, the file."""

    of_a_step: float
    of_the_rest: float


def shares(server: TellingServer, job: Job, faults: Callable[[], int]) -> Shares | None:
    """Of one more job like this one, with steps enough; see `shared`. `faults` counts those so far.

    Raises: JobLost.
    """
    job = replace(job, steps=max(job.steps, FEWEST_STEPS))
    told: list[tuple[int, int]] = []
    before = faults()
    server.make_telling(job, lambda done: told.append((done, faults())))
    return shared(told, job.steps, faults() - before)


def shared(told: Sequence[tuple[int, int]], steps: int, all_faults: int) -> Shares | None:
    """`told`: how many steps were done, and the faults until then. None, if that was not told of two steps
    before the last: steps that take less than reports are apart.

    Whatever the first step and the last one cost beyond the others is among the rest: preparing may go on
    during the first, and decoding begins before one hears of the last.
    """
    between = [(done, faults) for done, faults in told if 0 < done < steps]
    if not between or between[0][0] == between[-1][0]:
        return None
    (first, faults_then), (last, faults_later) = between[0], between[-1]
    of_a_step = (faults_later - faults_then) / (last - first)
    return Shares(of_a_step, all_faults - of_a_step * steps)
