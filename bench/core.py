"""How long does the core take to decide, with 100,000 jobs waiting? `python -m bench.core`

The gate: after all events the queue holds what it should, and the first job out is the right one.
"""

import gc
import time
from itertools import count
from typing import Final

from bench.report import Goal, Spread, percentile, print_report
from kernel.core.actions import Action, GiveJob
from kernel.core.broker import Broker
from kernel.core.events import Asked, Event, Now, Peer, Reported, Snapshot
from kernel.core.ports import Limits
from kernel.protocol import client
from kernel.protocol import worker as wire
from kernel.protocol.enums import EngineState, JobState, ModelBase, ModelState, ModelType, WorkerRole
from kernel.protocol.ids import EngineId, Epoch, ImageId, JobId, ModelId
from kernel.protocol.rows import EngineRow, JobRow, ModelRow
from kernel.protocol.specs import INSPECTION_RULES, EngineSpec, JobRequest
from kernel.protocol.webhooks import Signer

WAITING: Final = 100_000
ROUNDS: Final = 5
EVENTS: Final = 4_000
ENGINE: Final = EngineId("engine")
PEER: Final = Peer(b"peer")
GOALS: Final = {"waiting_100000_p99_us": Goal(200)}


class CountingIds:
    """Fresh names that cost next to nothing, so that the core alone is measured."""

    def __init__(self) -> None:
        self._numbers = count(1)

    def id(self) -> str:
        return f"id-{next(self._numbers):09d}"

    def secret(self) -> str:
        return f"secret-{next(self._numbers)}"

    def signing_secret(self, signer: Signer) -> str:
        return signer.subject

    def seed(self) -> int:
        return next(self._numbers)


def main() -> None:
    """Measure and print."""
    figures: dict[str, list[float]] = {}
    for _ in range(ROUNDS):
        for waiting in (0, WAITING):
            times_us = measure(waiting)
            for name, share in (("p50", 0.5), ("p99", 0.99)):
                figures.setdefault(f"waiting_{waiting}_{name}_us", []).append(percentile(times_us, share))
    print_report("core", {name: Spread.of(values) for name, values in figures.items()}, GOALS)


def measure(waiting: int) -> list[float]:
    """The time of each of EVENTS events in the middle of work. Units: microseconds."""
    broker = Broker(snapshot(waiting), Limits(max_queue=10 * WAITING), CountingIds(), moment(0))
    broker.start(moment(0))
    given = open_worker(broker)
    gc.collect()
    gc.freeze()
    times_us: list[float] = []
    for number in range(EVENTS // 4):
        for event in next_events(number, given):
            now = moment(1 + number)
            begin = time.perf_counter_ns()
            actions = broker.handle(event, now)
            times_us.append((time.perf_counter_ns() - begin) / 1000)
            given += gives(actions)
    check(broker, waiting, given)
    return times_us


def next_events(number: int, given: list[GiveJob]) -> list[Event]:
    """A submit, progress and failure of the job in hand, and a ping: what a busy broker sees."""
    submit = client.SubmitJob(engine_id=ENGINE, request=JobRequest(prompt="a cat", seed=1))
    events: list[Event] = [Asked(PEER, bytes(16), f"key-{number}", b"", submit)]
    if not given:
        return events
    job = given.pop(0)
    progress = wire.Progress(job_id=job.job_id, lease=job.lease, step=1, steps=2)
    failed = wire.JobFailed(job_id=job.job_id, lease=job.lease, code="x", text="x")
    reports: list[wire.WorkerReport] = [progress, failed, wire.Ping()]
    return events + [Reported(job.worker_id, report) for report in reports]


def open_worker(broker: Broker) -> list[GiveJob]:
    """Start the engine's worker and make it ready. Returns: the jobs that it was given at once."""
    start = client.StartEngine(engine_id=ENGINE)
    broker.handle(Asked(PEER, bytes(16), "start", b"", start), moment(0))
    worker_id = next(iter(broker.world.workers))
    token = broker.world.workers[worker_id].token
    hello = wire.Hello(
        role=WorkerRole.ENGINE, worker_id=worker_id, token=token, version="0", pid=1, host="host"
    )
    ready = wire.EngineReady(engine_id=ENGINE, device="cpu", memory_bytes=1, capacity=4)
    actions = broker.handle(Reported(worker_id, hello), moment(0))
    actions += broker.handle(Reported(worker_id, ready), moment(0))
    return gives(actions)


def gives(actions: list[Action]) -> list[GiveJob]:
    return [action for action in actions if isinstance(action, GiveJob)]


def check(broker: Broker, waiting: int, given: list[GiveJob]) -> None:
    """The correctness gate. Raises: SystemExit, if the broker lost or invented a job."""
    world = broker.world
    if world.waiting != len(world.engines[ENGINE].queue) or world.processing != len(given):
        raise SystemExit("gate failed: the broker's counters disagree with its queue")
    if waiting and any(job.job_id != f"job-{EVENTS // 4 + n:06d}" for n, job in enumerate(given)):
        raise SystemExit("gate failed: jobs did not leave the queue in their order")


def moment(second: float) -> Now:
    return Now(mono_s=float(second) * 0.001, unix_ms=int(second))


def snapshot(waiting: int) -> Snapshot:
    """One engine, and so many jobs that wait for it."""
    model = ModelRow(
        model_id=ModelId("model"),
        name="model",
        uri="file:///model",
        status=ModelState.READY,
        model_type=ModelType.CHECKPOINT,
        model_base=ModelBase.SD,
        variant=None,
        tags=(),
        trigger_words=(),
        declared_base=None,
        declared_sha256=None,
        created_at_ms=0,
        inspection_rules=INSPECTION_RULES,
    )
    spec = EngineSpec(name="engine", checkpoint=model.model_id, autostart=False)
    engine = EngineRow(ENGINE, "engine", spec, EngineState.CLOSED, created_at_ms=0)
    return Snapshot(
        epoch=Epoch(1),
        models=(model,),
        engines=(engine,),
        open_jobs=tuple(map(waiting_job, range(waiting))),
        last_job_seq=waiting,
    )


def waiting_job(number: int) -> JobRow:
    return JobRow(
        job_id=JobId(f"job-{number:06d}"),
        seq=number,
        engine_id=ENGINE,
        status=JobState.WAITING,
        priority=0,
        seed=number,
        image_ids=(ImageId(f"image-{number:06d}"),),
        attempts=0,
        crashes=0,
        created_at_ms=0,
    )


if __name__ == "__main__":
    main()
