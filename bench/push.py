"""How long does a model take to workers of other hosts, and what do their jobs notice? `python -m bench.push`

A Manager as it ships, and two workers with caches of their own that joined a pool over tcp, as on two
hosts. Their engine is ready and takes jobs, one after the other: `started_ms` from the command to the first
step that the worker reports, `finished_ms` until its image is durable. First while nothing is pushed, then
while both workers copy a LoRA of 2 GB for a job of their own; that job finishes when its file is there. The
ratios compare the two within a round. `manager_growth_mb` is how much more memory the Manager had at most,
`push_mb_per_s` what both workers got together. Gates: every job finished, and both caches have the file under
its sha256. The caches are in memory, since hosts do not share a disk: on the Manager's disk its own syncs
would wait for those of the workers.

--mb N   megabytes of the file (2000)      --rate SIZE     models.push_rate (64MB)
--rounds N   (3)                           --caches PATH   where the workers have their caches
"""

import argparse
import hashlib
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event, Thread
from typing import Final

from msgspec.structs import replace

from bench.report import Goal, Spread, percentile, print_report
from bench.server import Running, server
from bench.stage import MODEL, Caller, process, token_of
from conf.units import parse_size_bytes
from kernel.core.actions import SaveModel
from kernel.protocol import client
from kernel.protocol.enums import ENDED_JOB_STATES, ChangeKind, JobState, ModelType, Stage
from kernel.protocol.ids import EngineId, JobId, ModelId
from kernel.protocol.model_refs import LoraUse
from kernel.protocol.specs import EngineSpec, JobRequest
from kernel.shell.store import Store
from kernel.views.models import find_model
from kernel.views.reader import Reader

LORA: Final = ModelId("bench-lora")
CALM_JOBS: Final = 400
PAUSE_S: Final = 0.005
WORKERS: Final = 2
WATCH_S: Final = 0.05
WAIT_S: Final = 30.0
SHARED_MEMORY: Final = Path("/dev/shm")
RATIO: Final = 2.0
GROWTH_MB: Final = 32.0


@dataclass(frozen=True, slots=True)
class Subject:
    """The file that is pushed."""

    path: Path
    sha256: str
    size_bytes: int


@dataclass(slots=True)
class Times:
    """Milliseconds of each job."""

    started_ms: list[float] = field(default_factory=list)
    finished_ms: list[float] = field(default_factory=list)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--mb", type=int, default=2_000)
    parser.add_argument("--rate", default="64MB")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--caches", type=Path, default=SHARED_MEMORY if SHARED_MEMORY.is_dir() else None)
    options = parser.parse_args()
    figures: dict[str, list[float]] = {}
    with TemporaryDirectory(prefix="spoon-bench-") as name:
        subject = random_file(Path(name) / "lora.safetensors", options.mb * 1_000_000)
        for number in range(options.rounds):
            for figure, value in one_round(subject, options.rate, options.caches).items():
                figures.setdefault(figure, []).append(value)
            print(f"round {number + 1} of {options.rounds} done", file=sys.stderr)
    floor = 0.85 * parse_size_bytes(options.rate) / 1e6
    goals = {
        "started_p99_ratio": Goal(RATIO),
        "finished_p99_ratio": Goal(RATIO),
        "manager_growth_mb": Goal(GROWTH_MB),
        "push_mb_per_s": Goal(floor, is_floor=True),
    }
    print_report("push", {name: Spread.of(values) for name, values in figures.items()}, goals)


def random_file(path: Path, size_bytes: int) -> Subject:
    """A file that no compression and no cache of zeros makes easier."""
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for begin in range(0, size_bytes, 1 << 20):
            chunk = os.urandom(min(1 << 20, size_bytes - begin))
            digest.update(chunk)
            file.write(chunk)
    return Subject(path, digest.hexdigest(), size_bytes)


def one_round(subject: Subject, rate: str, place: Path | None) -> dict[str, float]:
    """A fresh server with two workers: its jobs without a push, then with one."""
    with ExitStack() as stack:
        endpoint = f"tcp://127.0.0.1:{free_port()}"
        terms = {"models": f'push_rate = "{rate}"', "bus": f'endpoint = "{endpoint}"'}
        running = stack.enter_context(server(filling=lambda file: add_lora(file, subject), **terms))
        caller = Caller(running.folder / "bus")
        stack.callback(caller.close)
        rooms = [TemporaryDirectory(prefix="spoon-bench-", dir=place) for _ in range(WORKERS)]
        caches = [stack.enter_context(room) for room in rooms]
        engine_id = create_engine(caller)
        for cache in caches:
            stack.enter_context(worker(caller, endpoint, running, Path(cache)))
        await_ready([Path(cache) for cache in caches])
        jobs = Client(caller, engine_id)
        calm = measure(jobs, lambda times: len(times.started_ms) >= CALM_JOBS)
        before_mb = memory_mb(running.manager.pid)
        with peak_of(running.manager.pid) as peak:
            began_s = time.perf_counter()
            copying = {jobs.submit(LoraUse(model_id=LORA)) for _ in caches}
            busy = measure(jobs, lambda _: copying <= jobs.ended.keys())
            took_s = time.perf_counter() - began_s
        for cache in caches:
            check(Path(cache), subject)
    return {
        "push_s": took_s,
        "push_mb_per_s": WORKERS * subject.size_bytes / took_s / 1e6,
        **compared("started", calm.started_ms, busy.started_ms),
        **compared("finished", calm.finished_ms, busy.finished_ms),
        "manager_growth_mb": max(peak) - before_mb,
        "jobs_while_pushed": float(len(busy.started_ms)),
    }


def compared(name: str, calm: list[float], busy: list[float]) -> dict[str, float]:
    """Medians and 99th percentiles without and with a push, and the ratio of the latter."""
    p99s = percentile(calm, 0.99), percentile(busy, 0.99)
    return {
        f"{name}_calm_p50_ms": percentile(calm, 0.5),
        f"{name}_pushed_p50_ms": percentile(busy, 0.5),
        f"{name}_calm_p99_ms": p99s[0],
        f"{name}_pushed_p99_ms": p99s[1],
        f"{name}_p99_ratio": p99s[1] / p99s[0],
    }


def add_lora(database: Path, subject: Subject) -> None:
    """Register the file, as its inspection would, beside the checkpoint that is there."""
    reader = Reader(database)
    row = find_model(reader, MODEL)
    reader.close()
    if row is None:
        raise SystemExit("gate failed: no model")
    lora = replace(
        row,
        model_id=LORA,
        name="lora",
        uri=subject.path.as_uri(),
        model_type=ModelType.LORA,
        sha256=subject.sha256,
        size_bytes=subject.size_bytes,
    )
    store = Store(database)
    store.save(SaveModel(lora))
    store.commit()
    store.close()


def create_engine(caller: Caller) -> EngineId:
    """An engine that only workers of the pool run."""
    spec = EngineSpec(
        name="bench",
        checkpoint=MODEL,
        pool="bench",
        replicas=2,
        steps=1,
        width_px=64,
        height_px=64,
        max_batch=4,
    )
    reply = caller.ask(client.CreateEngine(spec=spec, start=False))
    if not isinstance(reply, client.EngineAccepted):
        raise SystemExit(f"gate failed: no engine: {reply}")
    caller.ask(client.StartEngine(engine_id=reply.engine_id))  # so it gets both workers while it has no job
    return reply.engine_id


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def worker(caller: Caller, endpoint: str, running: Running, cache: Path) -> Iterator[None]:
    """A worker with a fake engine that has the checkpoint's folder, and none else of the Manager's host."""
    token = cache / "token"
    token_of(caller, "bench", token)
    command = [sys.executable, "-m", "engine_worker.supervisor", "--token-file", str(token), "--fake-engines"]
    command += ["--manager", endpoint, "--file-root", str(running.folder.resolve())]
    with (
        (cache / "log").open("wb") as log,
        process([*command, "--cache-folder", str(cache)], log.fileno()),
    ):
        yield


def await_ready(caches: Sequence[Path]) -> None:
    """Raises: SystemExit, if one of the workers does not get ready."""
    end_s = time.monotonic() + WAIT_S
    while not all("action=engine_ready" in (cache / "log").read_text() for cache in caches):
        if time.monotonic() > end_s:
            raise SystemExit(
                f"gate failed: a worker is not ready:\n{[(cache / 'log').read_text() for cache in caches]}"
            )
        time.sleep(0.05)


class Client:
    """Submits jobs, and watches what becomes of all of them."""

    def __init__(self, caller: Caller, engine_id: EngineId) -> None:
        self._caller, self._engine_id = caller, engine_id
        self._accepted: dict[bytes, JobId] = {}
        self.ended: dict[str, str] = {}
        """The states of jobs that have ended."""
        self.stepped: set[JobId] = set()
        caller.send(client.Watch())

    def submit(self, *loras: LoraUse) -> JobId:
        """One small job. Raises: SystemExit, if it is refused."""
        request = JobRequest(prompt="a fox", seed=1, loras=loras)
        ask = client.SubmitJob(engine_id=self._engine_id, request=request)
        correlation = self._caller.send(self._caller.command(ask))
        while correlation not in self._accepted:
            self.hear()
        return self._accepted.pop(correlation)

    def hear(self) -> None:
        """Take the next message. Raises: SystemExit, if there is none, or a job has failed."""
        received = self._caller.receive()
        match received.body:
            case client.JobAccepted(job_id=job_id):
                self._accepted[received.head.correlation] = job_id
            case client.Refused(detail=detail):
                raise SystemExit(f"gate failed: {detail}")
            case client.JobProgress(job_id=job_id, stage=Stage.DENOISING):
                self.stepped.add(job_id)
            case client.Changed(kind=ChangeKind.JOB, id=job_id, state=state) if state in ENDED_JOB_STATES:
                if state != JobState.FINISHED:
                    raise SystemExit(f"gate failed: a job has {state}")
                self.ended[job_id] = state
            case _:
                pass


def measure(jobs: Client, is_over: Callable[[Times], bool]) -> Times:
    """One job after the other, until it is over."""
    times = Times()
    while not is_over(times):
        began_s = time.perf_counter()
        job_id = jobs.submit()
        while job_id not in jobs.stepped:
            jobs.hear()
        times.started_ms.append(1000 * (time.perf_counter() - began_s))
        while job_id not in jobs.ended:
            jobs.hear()
        times.finished_ms.append(1000 * (time.perf_counter() - began_s))
        time.sleep(PAUSE_S)
    return times


@contextmanager
def peak_of(pid: int) -> Iterator[list[float]]:
    """What a process has of memory, in MB, looked at again and again until the block ends."""
    seen, has_ended = [memory_mb(pid)], Event()

    def look() -> None:
        while not has_ended.wait(WATCH_S):
            seen.append(memory_mb(pid))

    watcher = Thread(target=look)
    watcher.start()
    try:
        yield seen
    finally:
        has_ended.set()
        watcher.join()


def memory_mb(pid: int) -> float:
    """Resident memory, in MB."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def check(cache: Path, subject: Subject) -> None:
    """Raises: SystemExit, unless the cache has the file; it has this name once its digest is right."""
    files = list((cache / "files" / subject.sha256).glob("*"))
    if [file.stat().st_size for file in files] != [subject.size_bytes]:
        raise SystemExit(f"gate failed: {cache} lacks the file: {files}")


if __name__ == "__main__":
    main()
