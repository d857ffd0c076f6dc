"""How many workers an engine with a range of replicas has: more for a long queue, fewer when one idles.

The rule is a pure function of the queue, the workers and two times, and it does not swing. A replica is
added when more than `LONG` jobs have waited for each place of the workers for `GROW_AFTER_S`, all workers are
ready, and there is memory for which no engine waits or is closed; the next one is added only after that one
has loaded and if the queue is still as long. One is given back when a worker has had nothing to do and no job
has waited for `SHRINK_AFTER_S`: such a queue is far from long, so without new jobs none is added again. One
that cannot load is given up, and none is added for `PAUSE_S`; the workers that run go on. Source: adr/0081.
"""

from typing import Final

from kernel.core import due
from kernel.core.admission import engine_admission
from kernel.core.lifecycle import engines, workers
from kernel.core.state.tables import WorkerState
from kernel.core.state.world import Engine, Worker, World

LONG: Final = 2
"""A queue is long if more than this many jobs wait for each place of the workers."""
GROW_AFTER_S: Final = 5.0
SHRINK_AFTER_S: Final = 60.0
PAUSE_S: Final = 300.0
"""After a replica that was added could not load."""


def tend(world: World, engine: Engine) -> None:
    """Add a replica to an engine, or give one back, if it is time for it; else set the deadline for it."""
    if not any(engine.live_workers):
        engines.forget_replicas(world, engine)
        return
    engine.long_since_s = _since(world, engine.long_since_s, holds=_is_long(world, engine))
    engine.spare_since_s = _since(world, engine.spare_since_s, holds=_has_spare(world, engine))
    item, when_s = due.Scale(engine.row.engine_id), _due_at_s(engine)
    if when_s is None:
        world.timers.clear(item)
    elif world.now.mono_s < when_s:
        if world.timers.when_s(item) != when_s:
            world.timers.set(item, when_s)
    elif engine.spare_since_s is not None:
        engines.give_back_replica(world, engine)
        engine.spare_since_s = None
    elif engine_admission.grow(world, engine):
        engine.extra_replicas += 1
        engine.long_since_s = None


def give_up(world: World, engine: Engine, worker: Worker) -> bool:
    """Do without a worker that could not load, if it was added and others are ready. False, if not so."""
    if worker.ready_at_s is not None or not give_up_launch(world, engine):
        return False
    if worker.worker_id in world.workers:
        workers.terminate(world, worker, "a further replica could not be loaded", is_to_blame=False)
    return True


def give_up_launch(world: World, engine: Engine) -> bool:
    """The same for one that was launched in a pool, and ended before it joined."""
    has_others = any(w.state is WorkerState.READY for w in engine.workers.values())
    if engine.extra_replicas == 0 or not has_others:
        return False
    world.touch()
    engine.extra_replicas -= 1
    engine.grows_at_s = world.now.mono_s + PAUSE_S
    return True


def _is_long(world: World, engine: Engine) -> bool:
    """True if the queue is so long that a further worker would help, and the engine may have one."""
    live = list(engine.live_workers)
    has_room = engines.wanted_workers(engine) <= len(live) < engine.row.spec.max_replicas
    if not has_room or any(w.state is not WorkerState.READY for w in engine.workers.values()):
        return False
    if world.now.mono_s < engine.grows_at_s:
        return False
    if world.jobs_paused_since_ms(engine) is not None or world.unwritten:
        return False
    return engine.queue.waiting(world.keys_at_limit) > LONG * sum(w.capacity for w in live)


def _has_spare(world: World, engine: Engine) -> bool:
    """True if one of the workers that were added is not needed now."""
    if engine.extra_replicas == 0 or world.has_work(engine):
        return False
    return any(w.state is WorkerState.READY and not w.slots for w in engine.workers.values())


def _since(world: World, since_s: float | None, *, holds: bool) -> float | None:
    """Since when a condition holds, given since when it held before; None, if it does not."""
    if holds == (since_s is not None):
        return since_s
    world.touch()
    return world.now.mono_s if holds else None


def _due_at_s(engine: Engine) -> float | None:
    """When a replica may be added or is given back, if nothing changes. A long queue and an idle worker
    exclude each other."""
    if engine.spare_since_s is not None:
        return engine.spare_since_s + SHRINK_AFTER_S
    return None if engine.long_since_s is None else engine.long_since_s + GROW_AFTER_S
