"""One process of one side: from its start through everything that is asked of it."""

import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

from bench.load import CHUNK_BYTES, claim_memory
from bench.product.counters import Usage, own_memory_bytes, usage_below
from bench.product.gate import check_different, check_picture
from bench.product.job import Job, numbered
from bench.product.servers import Server, running
from bench.product.shares import TellingServer, shares
from bench.product.sides import Check, Side

START: Final = "start"
SMALLEST_PX: Final = 64
"""The size of the first picture, and of those that queue."""
Figures = dict[str, float]


@dataclass(frozen=True, slots=True)
class Plan:
    """What is asked of each process."""

    sizes_px: Sequence[int]
    steps: Mapping[int, int]
    """Of each size, and of the smallest."""
    jobs: int
    """Measured one by one at each size, after a first one."""
    queued: Sequence[int]
    memory_bytes: int = 6 << 30
    """As much as any side needs; see bench.load.claim_memory."""

    def parts(self, side: Side) -> list[str]:
        """What is measured of a side, by name; each can be had in another run of the benchmark."""
        queues = [queue_part(count) for count in self.queued if side.queue is not None]
        return [START, *(size_part(size_px) for size_px in self.sizes_px), *queues]

    def job(self, number: int, size_px: int) -> Job:
        """Number 0 is the one whose picture is compared."""
        return numbered(number, size_px, self.steps[size_px])


def size_part(size_px: int) -> str:
    return f"one_job_{size_px}px"


def queue_part(count: int) -> str:
    return f"queued_{count}"


def measure(
    side: Side, file: Path, folder: Path, plan: Plan, parts: Sequence[str]
) -> Iterator[tuple[str, Figures]]:
    """Each part with its figures, as soon as they are there. Raises: SystemExit, if a gate fails."""
    warm(file, plan.memory_bytes)
    begin_s = time.perf_counter()
    with running(side.kind, folder) as server:
        job = plan.job(0, SMALLEST_PX)
        picture = server.make(job)
        start_s = time.perf_counter() - begin_s
        side.check(picture, job)
        if START in parts:
            yield START, {"start_s": start_s}
        for size_px in plan.sizes_px:
            if size_part(size_px) in parts:
                yield size_part(size_px), one_by_one(server, plan, size_px, side.check)
        for count in plan.queued:
            if queue_part(count) in parts:
                yield queue_part(count), queued(server, plan, count)


def warm(file: Path, memory_bytes: int) -> None:
    """Let every side find memory at hand, and the file where the system keeps what was read."""
    claim_memory(memory_bytes)
    buffer = bytearray(CHUNK_BYTES)
    with file.open("rb", buffering=0) as read:
        while read.readinto(buffer):
            pass


def one_by_one(server: Server, plan: Plan, size_px: int, check: Check) -> Figures:
    """What a job takes after a first one of its size: the medians."""
    first = server.make(plan.job(0, size_px))
    check(first, plan.job(0, size_px))
    costs = []
    for number in range(1, plan.jobs + 1):
        job = plan.job(number, size_px)
        picture, cost = costing(server, job)
        check_picture(picture, job)
        check_different(picture, first)
        costs.append(cost)
    name, steps = size_part(size_px), plan.steps[size_px]
    figures: Figures = {
        f"{name}_s": median(cost.seconds for cost in costs),
        f"{name}_cpu_s": median(cost.all.cpu_s for cost in costs),
        f"{name}_faults_per_step": median(cost.workers.faults / steps for cost in costs),
        f"{name}_most_faults_per_job": float(max(cost.workers.faults for cost in costs)),
        f"{name}_memory_mb": own_memory_bytes(server.process.pid) / 1e6,
    }
    return figures | _fault_shares(server, plan.job(plan.jobs + 1, size_px))


def _fault_shares(server: Server, job: Job) -> Figures:
    """Where the server tells how far a job is, and its steps take long enough."""
    if not isinstance(server, TellingServer):
        return {}
    found = shares(server, job, lambda: _workers(server).faults)
    if found is None:
        return {}
    name = size_part(job.size_px)
    return {
        f"{name}_denoising_faults_per_step": found.of_a_step,
        f"{name}_other_faults_per_image": found.of_the_rest,
    }


@dataclass(frozen=True, slots=True)
class Cost:
    """What a job took of the clock, of all processes and of those that make pictures."""

    seconds: float
    all: Usage
    workers: Usage


def costing(server: Server, job: Job) -> tuple[bytes, Cost]:
    """A picture, and what it took."""
    root = server.process.pid
    all_before, workers_before = usage_below(root), _workers(server)
    begin_s = time.perf_counter()
    picture = server.make(job)
    seconds = time.perf_counter() - begin_s
    return picture, Cost(seconds, usage_below(root) - all_before, _workers(server) - workers_before)


def _workers(server: Server) -> Usage:
    return usage_below(server.process.pid, server.worker_word)


def queued(server: Server, plan: Plan, count: int) -> Figures:
    """So many jobs at once, each with a client that waits for it."""
    jobs = [plan.job(100 * count + number, SMALLEST_PX) for number in range(count)]
    before = usage_below(server.process.pid)
    begin_s = time.perf_counter()
    with ThreadPoolExecutor(count) as clients:
        pictures = list(clients.map(server.make, jobs))
    seconds = time.perf_counter() - begin_s
    used = usage_below(server.process.pid) - before
    for picture, job in zip(pictures, jobs, strict=True):
        check_picture(picture, job)
    name = queue_part(count)
    return {f"{name}_jobs_per_s": count / seconds, f"{name}_cpu_s_per_job": used.cpu_s / count}
