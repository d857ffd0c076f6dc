"""The answer to GetStatus: what the Manager is doing at this moment."""

from collections.abc import Iterator
from statistics import median

from msgspec.structs import replace

from kernel.core.admission import memory_ledger
from kernel.core.events import StatusAsked
from kernel.core.lifecycle import api_process
from kernel.core.state.world import Engine, Worker, World
from kernel.protocol.status import DeviceStatus, EngineFigures, Status, WorkerFigures


def status(world: World, event: StatusAsked) -> Status:
    """The status, with what the shell knows of the process and its devices."""
    return Status(
        version=event.version,
        pid=event.pid,
        phase=world.phase,
        uptime_s=round(world.now.mono_s - world.started_s, 3),
        jobs_waiting=world.waiting,
        jobs_processing=world.processing,
        engines_running=sum(e.is_running for e in world.engines.values()),
        is_disk_low=world.is_disk_blocked,
        is_models_disk_low=world.is_models_disk_low,
        devices=tuple(_devices(world, event.devices)),
        api=api_process.life(world),
        standbys=event.standbys,
        internal_errors=event.internal_errors,
        last_internal_error=event.last_internal_error,
        engines=tuple(map(_figures_of, world.engines.values())),
        workers=tuple(map(_worker, world.workers.values())),
        ended_workers=tuple(reversed(world.ended_workers)),
    )


def _worker(worker: Worker) -> WorkerFigures:
    enrolled, reserved = worker.enrolled, worker.reservation
    load = None if enrolled is None else enrolled.load
    return WorkerFigures(
        worker_id=worker.worker_id,
        role=worker.role,
        state=worker.state,
        pool=None if enrolled is None else enrolled.pool,
        host=worker.host,
        pid=worker.pid,
        version=worker.version,
        launch=None if enrolled is None else enrolled.said.launch,
        joined_at_ms=worker.joined_at_ms,
        is_cordoned=worker.is_cordoned,
        devices=() if enrolled is None else enrolled.said.devices,
        device=reserved.device if reserved is not None else None if load is None else load.device,
        engine_id=worker.engine_id,
        memory_bytes=worker.memory_bytes,
        jobs=tuple(worker.slots),
        round_trip_ms=worker.round_trip_ms,
    )


def _devices(world: World, measured: tuple[DeviceStatus, ...]) -> Iterator[DeviceStatus]:
    names = {one.device for one in measured}
    told = (fact.status for name, fact in world.devices.items() if fact.is_told and name not in names)
    for one in (*told, *measured):
        if one.device not in world.devices:
            yield one
            continue
        yield replace(
            one,
            promised_bytes=memory_ledger.promised_bytes(world, one.device),
            available_bytes=memory_ledger.free_bytes(world, one.device),
        )


def _figures_of(engine: Engine) -> EngineFigures:
    workers = list(engine.live_workers)
    return EngineFigures(
        engine_id=engine.row.engine_id,
        name=engine.row.name or engine.row.engine_id,
        workers=len(workers),
        batch=sum(min(len(worker.slots), worker.capacity) for worker in workers),
        max_batch=sum(worker.capacity for worker in workers),
        step_s=round(median(engine.step_seconds), 6) if engine.step_seconds else None,
        workers_lost=engine.workers_lost,
    )
