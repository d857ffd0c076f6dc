"""A worker has loaded its engine."""

from msgspec.structs import replace

from kernel.core import actions, due
from kernel.core.admission import memory_ledger
from kernel.core.lifecycle import jobs, workers
from kernel.core.state.tables import WorkerState
from kernel.core.state.world import Engine, Worker, World
from kernel.core.validation.message_bounds import MAX_NAME
from kernel.core.validation.worker_texts import MAX_CAPACITY, cut, told_device
from kernel.protocol import worker as wire
from kernel.protocol.enums import EngineState
from kernel.protocol.named_models import model_ids_of


def become_ready(world: World, engine: Engine, worker: Worker, report: wire.EngineReady) -> None:
    """The first ready worker's device becomes the engine's; the row is saved with its new state."""
    workers.move(worker, WorkerState.READY)
    engine.is_requested = False
    worker.capacity, worker.ready_at_s = _capacity(report), world.now.mono_s
    worker.memory_bytes = report.memory_bytes
    jobs.use_models(worker, model_ids_of(engine.row.spec))
    if worker.is_local and (seen := told_device(report)) is not None:
        memory_ledger.learn(world, engine, worker, seen)
    if worker.reservation is not None:
        reserved = worker.reservation
        world.act(actions.CompareMemory(worker.worker_id, reserved, report.memory_bytes))
    world.timers.clear(due.Load(worker.worker_id))
    if engine.row.status is EngineState.STARTING:
        engine.row = replace(
            engine.row,
            device=cut(report.device, MAX_NAME),
            memory_bytes=report.memory_bytes,
            started_at_ms=world.now.unix_ms,
        )
    if worker.is_outdated:
        workers.adjust(world, worker)


def _capacity(report: wire.EngineReady) -> int:
    return min(max(report.capacity, 1), MAX_CAPACITY)
