"""Sends the files of models to workers of hosts that lack them.

A worker gets what its orders name, and nothing else: the models of its engine, and those of the jobs that it
holds. It says which content it means, by the digest of the order, so a model that was replaced meanwhile is
not mixed with the old one. It never learns where a file is on this host.
"""

from typing import Final

from kernel.core import actions, due
from kernel.core.events import ModelFilesListed, ModelPartNotRead, ModelPartRead, WantedPart
from kernel.core.lifecycle import jobs
from kernel.core.models import fetching
from kernel.core.state import model_refs
from kernel.core.state.part_queue import PART_BYTES
from kernel.core.state.tables import WorkerState
from kernel.core.state.world import Worker, World
from kernel.protocol import worker as wire
from kernel.protocol.enums import ModelState
from kernel.protocol.errors import BadMessage, DownloadFailed, ModelNotReady, NotPermitted, SpoonError
from kernel.protocol.ids import ModelId
from kernel.protocol.named_models import model_ids_of

MAX_FILE: Final = 1_000
"""Characters of the name of a model's file."""
_REPLACED: Final = "the model was replaced since the order: it is another file now"
_OFF: Final = (
    "this server sends no models (models.push_rate is none): copy the file to this host, and map its folder"
)


def asked(world: World, worker: Worker, report: wire.GetModelFiles | wire.GetModelPart) -> None:
    """A worker asked for files: send them when it is their turn, or say why not."""
    part = _wanted(world, worker, report)
    try:
        _check(world, worker, report)
        _check_digest(world, part)
    except SpoonError as error:
        _refuse(world, worker, part, error)
        return
    world.parts.ask(part)
    tend(world)


def _wanted(world: World, worker: Worker, report: wire.GetModelFiles | wire.GetModelPart) -> WantedPart:
    if isinstance(report, wire.GetModelFiles):
        row = world.models.get(report.model_id)
        now = (row.sha256 if row is not None else None) or ""
        return WantedPart(worker.worker_id, report.model_id, report.sha256 or now)
    place = (report.file, report.offset, report.size_bytes)
    return WantedPart(worker.worker_id, report.model_id, report.sha256, *place)


def tend(world: World) -> None:
    """Read the parts whose turn it is, and come back for the next one."""
    rate = world.limits.push_rate_bytes or 1
    while (part := world.parts.take(world.now.mono_s, rate)) is not None:
        row, worker = world.models.get(part.model_id), world.workers[part.worker_id]
        if row is None or row.sha256 != part.sha256:
            world.parts.end_reading()
            _refuse(world, worker, part, DownloadFailed(_REPLACED))
            continue
        world.act(actions.ReadModelPart(part, model_refs.source(world, part.model_id)))
        _expect_progress(world, worker)
    at_s = world.parts.look_again_at_s()
    if at_s is None:
        world.timers.clear(due.Parts())
    else:
        world.timers.set(due.Parts(), at_s)


def read(world: World, event: ModelPartRead | ModelFilesListed | ModelPartNotRead) -> None:
    """The shell has read a part: send it, unless its worker is gone."""
    world.parts.end_reading()
    part = event.part
    worker = world.workers.get(part.worker_id)
    if worker is not None:
        match event:
            case ModelPartRead():
                body = wire.ModelPart(
                    model_id=part.model_id, sha256=part.sha256, file=part.file or "", offset=part.offset
                )
                world.act(actions.Order(worker.worker_id, body, has_blob=True))
            case ModelFilesListed(files=files, is_folder=is_folder):
                listed = wire.ModelFiles(
                    model_id=part.model_id, sha256=part.sha256, files=files, is_folder=is_folder
                )
                world.act(actions.Order(worker.worker_id, listed))
            case ModelPartNotRead(reason=reason):
                _refuse(world, worker, part, DownloadFailed(reason))
    tend(world)


def _check(world: World, worker: Worker, report: wire.GetModelFiles | wire.GetModelPart) -> None:
    """Whether it is the content that the worker means is checked when it is sent.

    Raises: NotPermitted, ModelNotReady, BadMessage.
    """
    if world.limits.push_rate_bytes is None:
        raise NotPermitted(_OFF)
    row = world.models.get(report.model_id)
    if row is None or not _is_ordered(world, worker, report.model_id):
        raise NotPermitted("no order of this worker names the model")
    if row.status is not ModelState.READY:
        raise ModelNotReady(f"the model is {row.status}")
    if isinstance(report, wire.GetModelPart):
        _check_part(report)


def _check_digest(world: World, part: WantedPart) -> None:
    """The worker can check what it gets only by a digest: compute that of this model before others.

    Raises: ModelNotReady, while there is none.
    """
    if not part.sha256:
        fetching.digest_first(world, part.model_id)
        raise ModelNotReady("the sha256 of the model is being computed")


def _check_part(report: wire.GetModelPart) -> None:
    """Raises: BadMessage. Which files there are, the shell knows."""
    if not 0 < report.size_bytes <= PART_BYTES:
        raise BadMessage(f"a part must have 1 to {PART_BYTES} bytes")
    if len(report.file) > MAX_FILE or not report.file:
        raise BadMessage("the name of the file is missing or too long")


def _is_ordered(world: World, worker: Worker, model_id: ModelId) -> bool:
    """True for the models of the engine that a worker loads or holds, and of the jobs that it holds."""
    if worker.engine_id is None or worker.state not in (WorkerState.LOADING, WorkerState.READY):
        return False
    spec = world.engines[worker.engine_id].row.spec
    if model_id == spec.checkpoint or model_id in model_ids_of(spec):
        return True
    held = (world.jobs.get(job_id) for job_id in worker.slots)
    return any(model_id in job.row.models for job in held if job is not None)


def _expect_progress(world: World, worker: Worker) -> None:
    """What is sent is progress: a load, or a job that waits for its files, has time again."""
    if worker.state is WorkerState.LOADING:
        world.timers.set(due.Load(worker.worker_id), world.now.mono_s + world.limits.load_timeout_s)
    elif worker.state is WorkerState.READY and worker.slots:
        jobs.expect_progress(world, worker)


def _refuse(world: World, worker: Worker, part: WantedPart, error: SpoonError) -> None:
    told = wire.ModelPartRefused(
        model_id=part.model_id,
        sha256=part.sha256[:MAX_FILE],
        file=None if part.file is None else part.file[:MAX_FILE],
        code=error.code,
        text=error.detail,
    )
    world.act(actions.Order(worker.worker_id, told))
