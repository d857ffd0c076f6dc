"""Fetches models with a small pool of fetch workers, launched on demand."""

from collections.abc import Iterable
from typing import Final

from msgspec.structs import replace

from kernel.core import actions, due
from kernel.core.admission import reconcile
from kernel.core.lifecycle import workers
from kernel.core.models import model_files
from kernel.core.state import model_refs, transitions
from kernel.core.state.tables import WorkerState
from kernel.core.state.world import Worker, World
from kernel.core.validation import worker_texts
from kernel.protocol import client
from kernel.protocol import worker as wire
from kernel.protocol.enums import ControlType, ModelState, ModelType, Phase, WorkerRole
from kernel.protocol.errors import BadMessage, DownloadFailed, NotPermitted, WorkerCrashed
from kernel.protocol.ids import ModelId
from kernel.protocol.rows import ModelRow
from kernel.protocol.sources import default_name, is_local, is_stored_name
from kernel.protocol.specs import INSPECTION_RULES, Fingerprint

MAX_LOCAL: Final = 2
"""Local models inspected at once, beside the downloads, so that none waits for a slow site."""
MAX_CRASHES: Final = 2
"""After this many fetch workers have died with a model, the model fails."""
MAX_DEATHS: Final = 3
IDLE_S: Final = 10.0
"""An idle fetch worker leaves after this time."""
BACKOFF_S: Final = 1.0


def tend(world: World) -> None:
    """Give each waiting model to a fetch worker, and launch one if there is none."""
    if world.phase is not Phase.RUNNING or due.Fetch() in world.timers:
        return
    pool = [
        w
        for w in world.workers.values()
        if w.role is WorkerRole.FETCH and not (w.is_asked_to_leave or w.is_scanning or w.is_sending)
    ]
    waiting = _eligible_models(world)
    for worker in pool:
        if worker.state is WorkerState.READY and worker.model_id is None:
            if waiting:
                _give(world, worker, world.models[waiting.pop(0)])
            elif due.Idle(worker.worker_id) not in world.timers:
                world.timers.set(due.Idle(worker.worker_id), world.now.mono_s + IDLE_S)
    starting = sum(w.state is WorkerState.LAUNCHED for w in pool)
    for _ in range(len(waiting) - starting):
        workers.launch(world, WorkerRole.FETCH)


def _eligible_models(world: World) -> list[ModelId]:
    """The models that wait and may start now: local ones and downloads have separate limits. Behind them, one
    that is to be reviewed; if there are none, one whose digest is missing."""
    held = [w.model_id for w in world.workers.values() if w.model_id in world.models]
    taken = [world.models[model_id] for model_id in held if model_id not in world.models_to_review]
    room = {
        True: MAX_LOCAL - sum(is_local(row.uri) for row in taken),
        False: world.limits.max_downloads - sum(not is_local(row.uri) for row in taken),
    }
    found = []
    for model_id in _untouched(world, world.models_to_inspect):
        kind = is_local(world.models[model_id].uri)
        if room[kind] > 0:
            room[kind] -= 1
            found.append(model_id)
    if world.models_to_review.keys().isdisjoint(held):
        found += _untouched(world, world.models_to_review)[:1]
    if not found and world.scan.worker_id is None and not world.models_to_review:
        found += _untouched(world, world.models_to_digest)[: world.models_to_digest.keys().isdisjoint(held)]
    return found


def digest_first(world: World, model_id: ModelId) -> None:
    """Compute the digest of this model, if it lacks one, before those of others."""
    if model_id in world.models_to_digest and next(iter(world.models_to_digest)) != model_id:
        world.touch()
        world.models_to_digest = {model_id: None, **world.models_to_digest}
    tend(world)


def _untouched(world: World, models: Iterable[ModelId]) -> list[ModelId]:
    """Those that no worker has; a worker that is being ended still has its own."""
    taken = {w.model_id for w in world.workers.values()}
    return [model_id for model_id in models if model_id not in taken]


def _give(world: World, worker: Worker, row: ModelRow) -> None:
    worker.model_id = row.model_id
    world.timers.clear(due.Idle(worker.worker_id))
    world.timers.set(due.Load(worker.worker_id), world.now.mono_s + world.limits.load_timeout_s)
    known_bytes = row.size_bytes if row.model_id in world.models_to_review else None
    source = replace(model_refs.source(world, row.model_id), known_bytes=known_bytes)
    world.act(actions.Order(worker.worker_id, wire.InspectModel(source=source)))


def abandon(world: World, row: ModelRow) -> None:
    """A model is not wanted any more: kill the worker that downloads it, which is safe at any time."""
    for worker in list(world.workers.values()):
        if worker.model_id == row.model_id and not is_local(row.uri):
            workers.kill(world, worker, "the model was deleted", is_to_blame=False)


def progressed(world: World, worker: Worker, report: wire.ModelProgress) -> None:
    """A download or an inspection makes progress."""
    if report.model_id != worker.model_id:
        return
    world.timers.set(due.Load(worker.worker_id), world.now.mono_s + world.limits.load_timeout_s)
    if world.watchers:
        progress = client.ModelProgress(
            model_id=report.model_id,
            bytes=report.bytes,
            total_bytes=report.total_bytes,
            bytes_per_s=report.bytes_per_s,
        )
        world.act(actions.Push(tuple(world.watchers), progress))


def inspected(world: World, worker: Worker, report: wire.ModelInspected) -> None:
    """A model was inspected: it is ready, or will be once its files are in place."""
    if (ready := _digested_model(world, worker, report.model_id)) is not None:
        if worker_texts.problem_in(report) is None:
            transitions.note_model(world, replace(ready, sha256=report.fingerprint.sha256))
    elif (row := _done(world, worker, report.model_id)) is not None:
        fault = worker_texts.problem_in(report)
        if fault is not None:
            give_up(world, row, BadMessage.code, f"invalid report from the fetch worker: {fault}")
            tend(world)
            return
        row = _with_report(row, report)
        if row.status is ModelState.READY:
            transitions.note_model(world, row)
        elif report.stored is None:
            transitions.move_model(world, row, ModelState.READY)
            reconcile.try_again(world, row.model_id)
        elif is_stored_name(report.stored):
            model_files.keep(world, replace(row, stored=report.stored))
        else:
            give_up(
                world,
                row,
                NotPermitted.code,
                "invalid report from the fetch worker: the storage name is malformed",
            )
    tend(world)


def _digested_model(world: World, worker: Worker, model_id: ModelId) -> ModelRow | None:
    """The ready model whose digest the worker was asked for, which it is done with; None for others, and for
    one whose file is another one by now, which is asked for again."""
    if model_id != worker.model_id or model_id not in world.models_to_digest:
        return None
    if model_id in world.models_to_review:
        return None
    _done(world, worker, model_id)
    if model_id in world.outdated_digests:
        world.outdated_digests.discard(model_id)
        return None
    del world.models_to_digest[model_id]
    row = world.models.get(model_id)
    return row if row is not None and row.status is ModelState.READY else None


def with_fingerprint(row: ModelRow, found: Fingerprint) -> ModelRow:
    """A model with what was found in its file."""
    return replace(
        row,
        model_type=found.model_type,
        model_base=found.model_base,
        variant=found.variant or row.variant,
        sha256=found.sha256,
        size_bytes=found.size_bytes,
        memory_bytes=found.memory_bytes,
        memory=found.memory,
        parameters=found.parameters,
        prediction_type=found.prediction_type,
        native_size_px=found.native_size_px,
        control_type=row.control_type or found.control_type,
        found_words=worker_texts.cut_trigger_words(found.trigger_words),
        warnings=worker_texts.cut_warnings(found.warnings),
        inspection_rules=INSPECTION_RULES,
        beside=worker_texts.cut(found.beside),
    )


def review(world: World) -> None:
    """Have ready models inspected again that older rules have judged, one after the other. What is in
    models.folders the scan of the start reads again, with what lies beside it."""
    is_scanned = world.limits.scan_every_s is not None
    scanned = {file.model_id for file in world.scanned_files.values() if is_scanned}
    for row in world.models.values():
        is_old = row.status is ModelState.READY and row.inspection_rules < INSPECTION_RULES
        if is_old and row.model_id not in scanned:
            world.models_to_review[row.model_id] = 0


def _with_report(row: ModelRow, report: wire.ModelInspected) -> ModelRow:
    """A model with the results. Another look at its file alone does not take what its page said."""
    found = _with_title(with_fingerprint(row, report.fingerprint), report.title)
    has_page = row.status is ModelState.READY and default_name(row.uri) is not None
    words = row.found_words if has_page else found.found_words
    return replace(found, found_words=words, revision=report.revision or row.revision)


def _with_title(row: ModelRow, title: str | None) -> ModelRow:
    """A model with what its title tells: its name, if it was given none, and the control type."""
    if not (title := worker_texts.cut_title(title)):
        return row
    named = control_type_named(row.model_type, title, row.uri)
    name = title if row.name == default_name(row.uri) else row.name
    return replace(row, name=name, control_type=row.control_type or named)


def control_type_named(model_type: ModelType, name: str, uri: str) -> ControlType | None:
    """The one type of control map that the names of a ControlNet mention."""
    names = f"{name} {uri.rpartition('/')[2]}".lower()
    named = [control_type for control_type in ControlType if control_type in names]
    return named[0] if model_type is ModelType.CONTROLNET and len(named) == 1 else None


def moved(world: World, model_id: ModelId) -> None:
    """A model's files are in place: it is ready, and its partial download can go. If older rules have judged
    it, as one that was lost or refused, it is inspected first."""
    row = world.models.get(model_id)
    if row is not None and row.status is ModelState.DOWNLOADING:
        if row.inspection_rules < INSPECTION_RULES:
            world.models_to_inspect[model_id] = 0
            tend(world)
            return
        model_files.trash_incoming(world, row)
        transitions.move_model(world, row, ModelState.READY)
        reconcile.try_again(world, model_id)


def not_moved(world: World, model_id: ModelId, reason: str | None) -> None:
    """A model could not be moved; without a reason, there was nothing to move, so it is fetched again."""
    row = world.models.get(model_id)
    if row is None or row.status is not ModelState.DOWNLOADING:
        return
    row = replace(row, stored=None, sha256=None)
    world.models[model_id] = row
    if reason is not None:
        give_up(world, row, DownloadFailed.code, f"the model cannot be stored: {reason}")
        return
    world.act(actions.NoteModel(row))
    world.models_to_inspect[model_id] = 0
    tend(world)


def failed(world: World, worker: Worker, report: wire.ModelFailed) -> None:
    """A model cannot be used: it goes into error. One that was only to be digested stays as it is: the next
    scan finds out what has changed."""
    if (
        _digested_model(world, worker, report.model_id) is None
        and (row := _done(world, worker, report.model_id)) is not None
    ):
        give_up(
            world, row, worker_texts.cut(report.code, worker_texts.MAX_CODE), worker_texts.cut(report.text)
        )
    tend(world)


def bad_report(world: World, worker: Worker, reason: str) -> None:
    """A worker's report cannot be decoded: its model fails at once, and the worker is terminated."""
    if worker.model_id is None:
        return
    world.models_to_review.pop(worker.model_id, None)
    if worker.model_id in world.models_to_inspect:
        text = f"unreadable report from the fetch worker: {reason}"
        give_up(world, world.models[worker.model_id], BadMessage.code, text)
    workers.terminate(world, worker, "the worker sent an unreadable report", is_to_blame=False)
    tend(world)


def _done(world: World, worker: Worker, model_id: ModelId) -> ModelRow | None:
    """Free the worker. None, if the model is not the worker's, or is not wanted any more."""
    if worker.model_id != model_id:
        return None
    world.touch()
    worker.model_id = None
    world.fetch_deaths = 0
    world.timers.clear(due.Load(worker.worker_id))
    is_review = world.models_to_review.pop(model_id, None) is not None
    is_awaited = world.models_to_inspect.pop(model_id, None) is not None or is_review
    return world.models[model_id] if is_awaited else None


def give_up(world: World, row: ModelRow, code: str, text: str) -> None:
    world.models_to_inspect.pop(row.model_id, None)
    transitions.move_model(world, replace(row, error_code=code, error=text), ModelState.ERROR)


def lost(world: World, worker: Worker, reason: str, *, is_crash: bool) -> None:
    """A fetch worker has exited: its model is tried again, and after repeated failed starts gives up."""
    model_id = worker.model_id
    if model_id is not None and is_crash:
        world.models_to_digest.pop(model_id, None)
    if not is_crash:
        pass
    elif model_id is None:
        _count_death(world, reason)
    elif model_id in world.models_to_review:
        world.models_to_review[model_id] += 1
        if world.models_to_review[model_id] >= MAX_CRASHES:
            del world.models_to_review[model_id]
    elif model_id in world.models_to_inspect:
        world.models_to_inspect[model_id] += 1
        if world.models_to_inspect[model_id] >= MAX_CRASHES:
            give_up(world, world.models[model_id], WorkerCrashed.code, reason)
    tend(world)


def _count_death(world: World, reason: str) -> None:
    """No model is to blame: launch the next worker later, or fail the models that wait for one."""
    world.fetch_deaths += 1
    if world.fetch_deaths >= MAX_DEATHS:
        world.fetch_deaths = 0
        world.models_to_review.clear()
        for model_id in _untouched(world, world.models_to_inspect):
            give_up(world, world.models[model_id], WorkerCrashed.code, reason)
    world.timers.set(due.Fetch(), world.now.mono_s + BACKOFF_S)
