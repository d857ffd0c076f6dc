"""Raise at any line of the core: if it says that nothing has changed, then nothing has."""

import sys
from copy import deepcopy

import pytest
from msgspec.structs import replace

from kernel.core.events import NO_FACTS, Asked, Peer, Reported, WatchAsked
from kernel.protocol import client
from kernel.protocol import worker as wire
from kernel.protocol.api_keys import RevokeKey, RotateKey
from kernel.protocol.enums import WorkerRole
from kernel.protocol.ids import ModelId
from kernel.protocol.specs import JobRequest
from kernel.protocol.worker_tokens import (
    CordonWorker,
    CreateWorkerToken,
    DrainWorker,
    RevokeWorker,
    RevokeWorkerToken,
)
from tests.property.small_manager import CORRELATION, DEVICES
from tests.property.test_hostile_messages import with_work
from tests.unit.core.counting_ids import CountingIds
from tests.unit.core.samples import create_key, image, register, spec, submit

CORE = "/kernel/core/"
HARMLESS = {"now", "devices", "looked_at_s", "id_source", "limits"}
UNBREAKABLE = {"handle", "marks"}
"""What takes the marks."""
MOST_LINES = 2_000


class Injected(Exception):
    """Raised where nobody foresees it."""


class Tripwire:
    """Lets the core run for so many lines, then raises."""

    def __init__(self, lines):
        self.left = lines

    def __call__(self, frame, event, argument):
        if CORE not in frame.f_code.co_filename or frame.f_code.co_name in UNBREAKABLE:
            return self if frame.f_code.co_name == "handle" else None
        if event == "line":
            self.left -= 1
            if self.left < 0:
                sys.settrace(None)
                raise Injected(f"{frame.f_code.co_filename.rpartition('/')[2]}:{frame.f_lineno}")
        return self


def memory(broker):
    """All that counts of what the core remembers, to be compared."""
    world = broker.world
    kept = {name: getattr(world, name) for name in world.__slots__ if name not in HARMLESS}
    heard = dict.fromkeys(world.workers)
    return deepcopy((kept, heard))


def forget_measures(broker):
    """When a worker was heard last, and how quick its steps are, are no changes that count."""
    for worker in broker.world.workers.values():
        worker.heard_at_s = 0.0
        for slot in worker.slots.values():
            slot.stage, slot.step, slot.step_at_s, slot.seconds_per_step = None, 0, None, None


def events():
    """Ordinary events, each with a Manager that it makes sense for."""
    manager, ids, workers = with_work()
    world = manager.broker.world
    engine_id, job_id, model_id = ids["engine"], ids["job"], ids["model"]
    waiting = next(j for j, job in world.jobs.items() if job.worker_id is None)
    lease = world.jobs[job_id].lease
    world.models[ModelId("ready")] = replace(world.models[model_id], model_id=ModelId("ready"))
    asks = {
        "submit": submit(engine_id, width_px=64, height_px=64),
        "submit without an engine": client.SubmitJob(
            checkpoint="ready", request=JobRequest(width_px=64, height_px=64)
        ),
        "submit with a picture": submit(engine_id, inputs=("reference",)),
        "cancel": client.CancelJob(job_id=job_id),
        "cancel waiting": client.CancelJob(job_id=waiting),
        "register": register("new"),
        "create": client.CreateEngine(spec=spec(checkpoint=model_id, name="new")),
        "edit": client.EditEngine(
            engine_id=engine_id, fields=("name", "max_batch", "dtype"), spec=spec(name="b", dtype="bf16")
        ),
        "edit live": client.EditEngine(
            engine_id=engine_id, fields=("name", "max_batch"), spec=spec(name="b", max_batch=1)
        ),
        "start": client.StartEngine(engine_id=engine_id),
        "stop": client.StopEngine(engine_id=engine_id),
        "stop now": client.StopEngine(engine_id=engine_id, now=True),
        "delete model": client.DeleteModel(model_id=ids["other"], files=True),
        "claim": client.ClaimDownload(image_id="image"),
        "finish": client.FinishDownload(image_id="image", ticket="0.x", whole=True),
        "prune": client.PruneImages(older_than_s=1.0),
        "create a key": create_key(),
        "rotate a key": RotateKey(key_id=ids["key"]),
        "revoke a key": RevokeKey(key_id=ids["key"]),
        "create a token": CreateWorkerToken(pool="lab"),
        "revoke a token": RevokeWorkerToken(token_id=ids["token"]),
        "cordon": CordonWorker(worker_id=workers["member"], is_cordoned=True),
        "drain": DrainWorker(worker_id=workers["member"]),
        "revoke a worker": RevokeWorker(worker_id=workers["member"]),
        "shutdown": client.Shutdown(now=True),
    }
    facts = replace(NO_FACTS, devices=DEVICES, image=image(limit=1))
    reports = {
        "ping": (workers["engine"], wire.Ping()),
        "progress": (workers["engine"], wire.Progress(job_id=job_id, lease=lease, step=1, steps=2)),
        "done": (workers["engine"], wire.JobDone(job_id=job_id, lease=lease)),
        "failed": (workers["engine"], wire.JobFailed(job_id=job_id, lease=lease, code="c", text="t")),
        "goodbye": (workers["engine"], wire.Goodbye(reason="r")),
    }
    found = {
        name: Asked(
            Peer(b"p"),
            CORRELATION,
            "new key",
            b"d",
            ask,
            facts,
            blob_bytes=(15,) if "picture" in name else (),
        )
        for name, ask in asks.items()
    }
    found |= {f"report {name}": Reported(who, report) for name, (who, report) in reports.items()}
    return manager, found | {"watch": WatchAsked(Peer(b"p"), CORRELATION)}


@pytest.mark.sampled(9)
@pytest.mark.parametrize("name", sorted(events()[1]))
def test_what_says_that_nothing_has_changed_has_changed_nothing(name):
    manager, found = events()
    broker, event = manager.broker, found[name]
    forget_measures(broker)
    original = broker.world
    original.id_source = CountingIds()
    before = memory(broker)
    verdicts = []
    for lines in range(MOST_LINES):
        broker.world = deepcopy(original)
        sys.settrace(Tripwire(lines))
        try:
            broker.handle(event, manager.now())
            break
        except Injected as injected:
            where = str(injected)
            verdicts.append(broker.is_as_before())
        finally:
            sys.settrace(None)
        if verdicts[-1]:
            forget_measures(broker)
            assert memory(broker) == before, where
    assert 0 < len(verdicts) < MOST_LINES
    assert verdicts[0], "the very first line has changed something"


def test_roles_of_the_workers_that_speak():
    manager, _ids, workers = with_work()
    roles = {name: manager.broker.world.workers[worker_id].role for name, worker_id in workers.items()}
    engines, fetchers = ("engine", "member"), ("fetch", "scan", "send")
    assert roles == dict.fromkeys(engines, WorkerRole.ENGINE) | dict.fromkeys(fetchers, WorkerRole.FETCH)
