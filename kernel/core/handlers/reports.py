"""Handles workers' reports about themselves and their jobs."""

from kernel.core import actions, due
from kernel.core.admission import reconcile, scaling
from kernel.core.callbacks import sending
from kernel.core.events import EnrollAsked, InputsUnreadable, Reported, ReportUnreadable
from kernel.core.handlers import engine_ready, enrollment
from kernel.core.images import storing
from kernel.core.lifecycle import engines, jobs, workers
from kernel.core.models import fetching, pushing, scanning
from kernel.core.state import blobs
from kernel.core.state.tables import WorkerState
from kernel.core.state.world import Slot, Worker, World
from kernel.core.validation.worker_texts import MAX_CODE, cut, cut_warnings
from kernel.protocol import client
from kernel.protocol import worker as wire
from kernel.protocol.enums import Stage, WorkerRole
from kernel.protocol.errors import InputsLost, NotPermitted


def heard(world: World, event: Reported | EnrollAsked | ReportUnreadable) -> None:
    """Handle what a worker said."""
    match event:
        case Reported():
            reported(world, event)
        case EnrollAsked():
            enrollment.asked(world, event)
        case ReportUnreadable():
            unreadable(world, event)


def reported(world: World, event: Reported) -> None:
    """Handle a report. One of an unknown worker, or before its Hello, is ignored."""
    worker = world.workers.get(event.worker_id)
    if worker is None:
        return
    worker.heard_at_s = world.now.mono_s
    if isinstance(event.report, wire.Hello) and worker.is_local:
        _greet(world, worker, event.report)
    elif isinstance(event.report, wire.Enroll) and worker.enrolled is not None:
        enrollment.again(world, worker, worker.enrolled, event.report)
    elif worker.state is not WorkerState.LAUNCHED:
        _take(world, worker, event)


def unreadable(world: World, event: ReportUnreadable) -> None:
    """A fetch worker's report on its model was rejected and will not come again: fail the model now."""
    worker = world.workers.get(event.worker_id)
    if worker is not None and worker.role is WorkerRole.FETCH and worker.state is WorkerState.READY:
        fetching.bad_report(world, worker, event.reason)


def _greet(world: World, worker: Worker, hello: wire.Hello) -> None:
    try:
        workers.greet(world, worker, hello)
    except NotPermitted as error:
        world.act(actions.Order(worker.worker_id, wire.Refuse(code=error.code, text=error.detail)))
        return
    if worker.is_scanning:
        scanning.greeted(world, worker)
    elif worker.is_sending:
        sending.tend(world)
    elif worker.engine_id is None:
        fetching.tend(world)
    else:
        reconcile.reconcile_engine(world, world.engines[worker.engine_id])


def _take(world: World, worker: Worker, event: Reported) -> None:
    match event.report:
        case wire.Ping(round_trip_ms=round_trip_ms):
            worker.round_trip_ms = round_trip_ms
            world.act(actions.Order(worker.worker_id, wire.Pong()))
        case wire.Goodbye(reason=reason):
            workers.leaves(world, worker, reason)
            reconcile.assign_jobs(world, worker)
        case wire.ModelProgress() as report if worker.role is WorkerRole.FETCH:
            fetching.progressed(world, worker, report)
        case wire.ModelInspected() as report if worker.role is WorkerRole.FETCH:
            fetching.inspected(world, worker, report)
        case wire.ModelFailed() as report if worker.role is WorkerRole.FETCH:
            fetching.failed(world, worker, report)
        case (wire.ScanBegun() | wire.ScanProgress() | wire.FileScanned() | wire.ScanEnded()) as report if (
            worker.is_scanning
        ):
            scanning.reported(world, worker, report)
        case wire.CallbackEnded() as report if worker.is_sending:
            sending.reported(world, worker, report)
        case (wire.GetModelFiles() | wire.GetModelPart()) as report if worker.role is WorkerRole.ENGINE:
            pushing.asked(world, worker, report)
        case wire.EngineProgress() as report:
            _loading(world, worker, report)
        case (wire.EngineReady() | wire.EngineFailed()) as report:
            _about_engine(world, worker, report)
        case (
            wire.Accepted()
            | wire.Progress()
            | wire.Preview()
            | wire.ControlMap()
            | wire.ImageReady()
            | wire.JobDone()
            | wire.JobFailed()
            | wire.JobDropped()
        ) as report:
            _about_job(world, worker, report, has_blob=event.has_blob)
        case _:
            pass  # it was true, but arrived too late


def _about_engine(world: World, worker: Worker, report: wire.EngineReady | wire.EngineFailed) -> None:
    """Handle a report on the engine that this worker was told to load; ignore one on any other."""
    if worker.state is not WorkerState.LOADING or report.engine_id != worker.engine_id:
        return
    engine = world.engines[report.engine_id]
    if isinstance(report, wire.EngineReady):
        engine_ready.become_ready(world, engine, worker, report)
    elif not scaling.give_up(world, engine, worker):
        engines.fail(world, engine, cut(report.code, MAX_CODE), cut(report.text))
    reconcile.reconcile_engine(world, engine)


def _loading(world: World, worker: Worker, report: wire.EngineProgress) -> None:
    """Tell watchers how far the loading of an engine is. Copying a model may take long: it has time while it
    makes progress, also where another worker of that host does it."""
    is_its_own = worker.state is WorkerState.LOADING and report.engine_id == worker.engine_id
    if is_its_own and report.is_copying:
        world.timers.set(due.Load(worker.worker_id), world.now.mono_s + world.limits.load_timeout_s)
    if is_its_own and world.watchers:
        progress = client.EngineProgress(
            engine_id=report.engine_id,
            bytes=report.bytes,
            total_bytes=report.total_bytes,
            bytes_per_s=report.bytes_per_s,
        )
        world.act(actions.Push(tuple(world.watchers), progress))


JobReport = (
    wire.Accepted
    | wire.Progress
    | wire.Preview
    | wire.ControlMap
    | wire.ImageReady
    | wire.JobDone
    | wire.JobFailed
    | wire.JobDropped
)


def _about_job(world: World, worker: Worker, report: JobReport, *, has_blob: bool) -> None:
    slot = worker.slots.get(report.job_id)
    if slot is None or slot.lease != report.lease:
        _refuse_stale(world, worker, report)
        return
    if isinstance(report, wire.Progress):
        slot.stage = report.stage
    jobs.expect_progress(world, worker)
    match report:
        case wire.Accepted():
            pass
        case wire.Progress():
            _progress(world, worker, slot, report)
        case wire.Preview() | wire.ControlMap() | wire.ImageReady():
            if not slot.is_cancelled and has_blob:
                _output(world, report)
        case wire.JobDone():
            _done(world, worker, slot, report)
        case wire.JobFailed() | wire.JobDropped():
            _ended(world, worker, slot, report)


def _output(world: World, report: wire.Preview | wire.ControlMap | wire.ImageReady) -> None:
    match report:
        case wire.Preview():
            if world.watchers:
                preview = client.JobPreview(job_id=report.job_id, index=report.index, step=report.step)
                world.act(actions.PushPreview(tuple(world.watchers), preview))
        case wire.ControlMap():
            storing.map_arrived(world, report)
        case wire.ImageReady():
            storing.arrived(world, report)


def _refuse_stale(world: World, worker: Worker, report: JobReport) -> None:
    """Ignore a report under a lease that the worker does not, or no longer, have.

    A worker that still works on the job is asked to drop it. One that is done with it is not: it would only
    report once more that it is done.
    """
    if not isinstance(report, wire.JobDone | wire.JobFailed | wire.JobDropped):
        order = wire.CancelJob(job_id=report.job_id, lease=report.lease)
        world.act(actions.Order(worker.worker_id, order))


def _progress(world: World, worker: Worker, slot: Slot, report: wire.Progress) -> None:
    if report.stage is Stage.DENOISING:
        _measure(world, worker, slot, report)
    if not world.watchers or slot.is_cancelled:
        return
    left = max(report.steps - report.step, 0)
    eta_s = None if slot.seconds_per_step is None else round(left * slot.seconds_per_step, 3)
    job = world.jobs.get(report.job_id)
    progress = client.JobProgress(
        job_id=report.job_id,
        step=report.step,
        steps=report.steps,
        eta_s=eta_s,
        stage=report.stage,
        key_id=None if job is None else job.row.key_id,
    )
    world.act(actions.Push(tuple(world.watchers), progress))


def _measure(world: World, worker: Worker, slot: Slot, report: wire.Progress) -> None:
    """Measure how long the job's denoising steps take; other stages are not measured."""
    now_s, steps_done = world.now.mono_s, report.step - slot.step
    if slot.step_at_s is not None and steps_done > 0:
        slot.seconds_per_step = (now_s - slot.step_at_s) / steps_done
        if worker.engine_id is not None:
            world.engines[worker.engine_id].step_seconds.append(slot.seconds_per_step)
    slot.step, slot.step_at_s = report.step, now_s


def _done(world: World, worker: Worker, slot: Slot, report: wire.JobDone) -> None:
    """The worker has sent everything. If an image has not come, the job is made again: it was told before
    that the image is stored, by a Manager whose database was replaced by an older one since."""
    if slot.is_cancelled:
        jobs.release(world, worker, report.job_id)
    elif lost := storing.missing(world, world.jobs[report.job_id]):
        jobs.release(world, worker, report.job_id)
        jobs.count_crash(
            world, world.jobs[report.job_id], f"its worker has ended it without {len(lost)} of its images"
        )
    else:
        job = world.jobs[report.job_id]
        world.touch()
        job.warnings = cut_warnings(report.warnings)
        job.maps_sent = frozenset(map(blobs.kind_of_map, report.maps))
        jobs.finish_if_complete(world, job)
    reconcile.assign_jobs(world, worker)


def _ended(world: World, worker: Worker, slot: Slot, report: wire.JobFailed | wire.JobDropped) -> None:
    jobs.release(world, worker, report.job_id)
    if not slot.is_cancelled:
        job = world.jobs[report.job_id]
        if isinstance(report, wire.JobFailed):
            jobs.fail(world, job, cut(report.code, MAX_CODE), cut(report.text))
        else:
            jobs.count_crash(world, job, "the job made no progress and was stopped")
    reconcile.assign_jobs(world, worker)


def inputs_unreadable(world: World, event: InputsUnreadable) -> None:
    """A job never left for its worker, because an input image is lost: it fails."""
    worker = world.workers.get(event.worker_id)
    slot = None if worker is None else worker.slots.get(event.job_id)
    if worker is None or slot is None or slot.lease != event.lease:
        return
    jobs.release(world, worker, event.job_id)
    if not slot.is_cancelled:
        jobs.fail(world, world.jobs[event.job_id], InputsLost.code, event.reason)
    reconcile.assign_jobs(world, worker)
