"""Measures what one image costs on two CPU cores, as a user without a GPU meets it: time and memory."""

import resource
import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context

import msgspec
import torch

from training.command import run_from_command_line
from training.evaluate import load
from training.exam import questions, sit
from training.families import FAMILIES, Family
from training.loop import Run

THREADS = 2
IMAGES = 5


@dataclass(frozen=True, slots=True)
class Speed:
    """What one image costs: 20 steps with guidance, loading left out of the time and in the memory."""

    seconds_per_image: float
    peak_memory_bytes: int


def measure(run: Run, family: Family) -> Speed:
    """Draw some images one by one; the memory is this process's, so it should do nothing else."""
    torch.set_num_threads(THREADS)
    pipeline = load(replace(run, device=torch.device("cpu")), family)
    seconds: list[float] = []
    for question in questions(1 + IMAGES):
        started = time.monotonic()
        sit(pipeline, [question])
        seconds.append(time.monotonic() - started)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return Speed(round(statistics.median(seconds[1:]), 2), peak)


def main(run: Run) -> None:
    """Measure every family in a process of its own and write the figures down."""
    for family in FAMILIES:
        with ProcessPoolExecutor(max_workers=1, mp_context=get_context("spawn")) as processes:
            speed = processes.submit(measure, run, family).result()
        path = run.folder / "figures" / f"speed-{family.base.value}.json"
        path.write_bytes(msgspec.json.encode(speed))
        print(family.base.value, speed)


if __name__ == "__main__":
    run_from_command_line(main, __doc__)
