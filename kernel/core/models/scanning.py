"""Finds the models in models.folders: asks a fetch worker to list them, and keeps what each file is.

A scan reads headers only. Every file that was read once is remembered with its stamp, so that the next scan
reads what has changed, and a model keeps its id when its file moves. The digests, which take reading it all,
are computed afterwards, one model at a time, by `fetching`. Why: adr/0055.
"""

from typing import Final

from msgspec.structs import replace

from kernel.core import actions, due
from kernel.core.admission import reconcile
from kernel.core.lifecycle import workers
from kernel.core.models import fetching
from kernel.core.state import transitions
from kernel.core.state.tables import WorkerState
from kernel.core.state.world import Scan, Worker, World
from kernel.core.validation import worker_texts
from kernel.core.validation.message_bounds import MAX_NAME
from kernel.protocol import worker as wire
from kernel.protocol.enums import ChangeKind, ModelState, Phase, WorkerRole
from kernel.protocol.errors import (
    ModelDeleted,
    ModelDuplicate,
    ModelLost,
    ModelUnreadable,
    WorkerCrashed,
)
from kernel.protocol.ids import ModelId
from kernel.protocol.rows import ModelRow, ScannedFile, ScanRow
from kernel.protocol.sources import is_local, local_path, name_of_path, path_uri
from kernel.protocol.specs import Fingerprint

SUBJECT: Final = "scan"
GONE: Final = 0
"""The stamp of a file that has gone, but whose model is kept."""
MAX_CRASHES: Final = 2
"""A file during which this many workers died is not read again until it changes."""
MAX_DEATHS: Final = 3
BACKOFF_S: Final = 1.0
_MOST_PATH: Final = 4_096
_MOST_ABSENT: Final = 100
_DELETED: Final = "its model was deleted: add it by hand to use it again"


def start(world: World) -> None:
    """At the start of the Manager: look for new files, if that is wanted."""
    _want_digests(world)
    if world.scan.row.is_running:
        _save(world, replace(world.scan.row, ended_at_ms=world.now.unix_ms), "ended")
    if world.limits.scan_every_s is not None and world.limits.model_folders:
        want(world)


def want(world: World) -> None:
    """A scan is due. One that runs already is followed by another, as it may have missed something."""
    world.touch()
    world.scan.is_wanted = True
    world.timers.clear(due.Scan())
    if not world.scan.row.is_running:
        _save(world, ScanRow(began_at_ms=world.now.unix_ms), "running")
    tend(world)


def tend(world: World) -> None:
    """Launch the worker of a wanted scan."""
    if world.phase is Phase.RUNNING and world.scan.is_wanted and world.scan.worker_id is None:
        worker = workers.launch(world, WorkerRole.FETCH)
        worker.is_scanning = True
        world.scan.is_wanted, world.scan.worker_id = False, worker.worker_id


def greeted(world: World, worker: Worker) -> None:
    """The worker is there: tell it what is known. It ignores a repeated order."""
    if worker.worker_id == world.scan.worker_id and worker.state is WorkerState.READY:
        for row in list(world.scanned_files.values()):
            model = None if row.model_id is None or row.code is not None else world.models.get(row.model_id)
            if model is not None and model.status is ModelState.ERROR and row.stamp != GONE:
                _note(world, replace(row, stamp=GONE))  # its file may be back, so it is to be reported
        known = tuple(row.stamp for row in world.scanned_files.values() if row.stamp != GONE)
        order = wire.ScanFolders(folders=world.limits.model_folders, known=known)
        _expect(world, worker)
        world.act(actions.Order(worker.worker_id, order))


def _expect(world: World, worker: Worker) -> None:
    world.timers.set(due.Load(worker.worker_id), world.now.mono_s + world.limits.load_timeout_s)


def reported(
    world: World,
    worker: Worker,
    report: wire.ScanBegun | wire.ScanProgress | wire.FileScanned | wire.ScanEnded,
) -> None:
    """The worker of the scan reports; one that is no longer its worker is ignored."""
    if worker.worker_id != world.scan.worker_id:
        return
    world.touch()
    _expect(world, worker)
    match report:
        case wire.ScanBegun():
            _begun(world, report)
        case wire.ScanProgress():
            world.scan.reading = report.path, report.stamp
        case wire.FileScanned():
            world.scan.reading = None
            _scanned(world, report)
        case wire.ScanEnded():
            _ended(world, worker)


def _begun(world: World, report: wire.ScanBegun) -> None:
    """Note which files have gone, and index the others by their marks."""
    scan, stamps = world.scan, frozenset(report.gone)
    absent = tuple(f"{folder.rstrip('/')}/" for folder in report.absent)
    scan.gone, scan.by_mark, scan.deleted = {}, {}, set()
    scan.by_uri = {row.uri: row.model_id for row in world.models.values()}
    scan.names = {row.name for row in world.models.values()}
    for row in world.scanned_files.values():
        if (row.stamp == GONE or row.stamp in stamps) and not row.path.startswith(absent):
            scan.gone[row.path] = None
        if row.code == ModelDeleted.code and row.mark:
            scan.deleted.add(row.mark)
        if row.model_id is not None and row.code is None and row.mark:
            scan.by_mark.setdefault(row.mark, {})[row.path] = None
    scan.row = replace(
        scan.row,
        files=report.files,
        to_read=report.unknown,
        read=0,
        absent=tuple(worker_texts.cut(folder, _MOST_PATH) for folder in report.absent[:_MOST_ABSENT]),
    )
    world.act(actions.SaveScan(scan.row))


def _scanned(world: World, report: wire.FileScanned) -> None:
    """A file was read. What its path was before, another file of the same content, or a new model, becomes
    its model."""
    scan = world.scan
    scan.row = replace(scan.row, read=scan.row.read + 1)
    if len(report.path) > _MOST_PATH or not report.path.startswith("/"):
        return
    old = world.scanned_files.get(report.path)
    found = report.fingerprint
    fault = "it has no fingerprint" if found is None else worker_texts.fault_of(found)
    if found is None or fault is not None:
        code = report.code or ModelUnreadable.code
        _refuse(world, report, code, report.text or f"invalid report from the fetch worker: {fault}")
        return
    scan.gone.pop(report.path, None)
    model = _model_of(world, report, old)
    if model is None and (copy := _copy_of(world, report)) is not None:
        _refuse(world, report, ModelDuplicate.code, f"the same file as {copy}, which is registered")
    elif model is None and report.mark in scan.deleted:
        _refuse(world, report, ModelDeleted.code, _DELETED)
    elif model is None:
        _add(world, report, found)
    elif model.model_type is not found.model_type:
        text = f"the file at its path is of type {found.model_type} now: delete the model, then scan again"
        _refuse(world, report, ModelUnreadable.code, text)
    else:
        _renew(world, report, found, model, is_same_content=old is None or old.mark == report.mark)


def _model_of(world: World, report: wire.FileScanned, old: ScannedFile | None) -> ModelRow | None:
    """The model that has this file: of this path, or of a path that has gone, with the same content."""
    if old is not None and old.model_id is not None:
        return world.models.get(old.model_id)
    known = world.scan.by_uri.get(path_uri(report.path))
    if known in world.models:
        return world.models[known]
    for path in world.scan.by_mark.get(report.mark, ()):
        gone = world.scanned_files.get(path)
        if gone is not None and gone.model_id in world.models and path in world.scan.gone:
            _drop(world, gone)
            return world.models[gone.model_id]
    return None


def _copy_of(world: World, report: wire.FileScanned) -> str | None:
    """The path of a model with the same content."""
    return next((path for path in world.scan.by_mark.get(report.mark, ()) if path != report.path), None)


def _add(world: World, report: wire.FileScanned, found: Fingerprint) -> None:
    name = _free_name(world, report.path)
    uri = path_uri(report.path)
    row = ModelRow(
        model_id=ModelId(world.id_source.id()),
        name=name,
        uri=uri,
        status=ModelState.READY,
        model_type=found.model_type,
        model_base=found.model_base,
        variant=found.variant,
        tags=(),
        trigger_words=(),
        declared_base=None,
        declared_sha256=None,
        created_at_ms=world.now.unix_ms,
        control_type=fetching.control_type_named(found.model_type, name, uri),
    )
    row = replace(fetching.with_fingerprint(row, found), thumbnail=_thumbnail(report))
    transitions.add_model(world, row)
    _want_digest(world, row)
    world.scan.names.add(name)
    world.scan.row = replace(world.scan.row, added=world.scan.row.added + 1)
    _keep(world, report, row.model_id)


def _renew(
    world: World, report: wire.FileScanned, found: Fingerprint, model: ModelRow, *, is_same_content: bool
) -> None:
    """The file of a model was changed, or moved, or is back."""
    uri = path_uri(report.path)
    scan, row = world.scan, fetching.with_fingerprint(model, found)
    if model.uri != uri:
        scan.row = replace(scan.row, moved=scan.row.moved + 1)
    elif not is_same_content or model.status is not ModelState.READY:
        scan.row = replace(scan.row, changed=scan.row.changed + 1)
    row = replace(
        row,
        uri=uri,
        model_base=found.model_base or model.declared_base,
        sha256=model.sha256 if is_same_content else None,
        thumbnail=_thumbnail(report),
        error_code=None,
        error=None,
    )
    world.scan.by_uri.pop(model.uri, None)
    world.scan.by_uri[row.uri] = row.model_id
    _save_renewed(world, row)
    for engine in world.engines.values():
        engine.needs.clear()
    _want_digest(world, world.models[row.model_id])
    is_given = any(worker.model_id == row.model_id for worker in world.workers.values())
    if is_given and row.model_id in world.models_to_digest:
        world.outdated_digests.add(row.model_id)
    _keep(world, report, row.model_id)


def _save_renewed(world: World, row: ModelRow) -> None:
    """Save a model whose file is there; it is ready, unless a digest that was declared is to be checked."""
    match row.status:
        case ModelState.READY:
            transitions.note_model(world, row)
        case ModelState.ERROR:
            transitions.move_model(world, row, ModelState.DOWNLOADING)
            transitions.move_model(world, world.models[row.model_id], ModelState.READY)
            reconcile.try_again(world, row.model_id)
        case ModelState.DOWNLOADING if row.declared_sha256 is None:
            world.models_to_inspect.pop(row.model_id, None)  # what its inspection would find is known
            transitions.move_model(world, row, ModelState.READY)
            reconcile.try_again(world, row.model_id)
        case ModelState.DOWNLOADING:
            transitions.note_model(world, replace(world.models[row.model_id], uri=row.uri))


def _refuse(world: World, report: wire.FileScanned, code: str, text: str) -> None:
    """A file cannot be used; if a model was made of it before, that is in error, unless it was converted."""
    code, text = worker_texts.cut(code, worker_texts.MAX_CODE), worker_texts.cut(text)
    world.scan.gone.pop(report.path, None)
    old = world.scanned_files.get(report.path)
    model_id = None if old is None else old.model_id
    model = None if model_id is None else world.models.get(model_id)
    if model is not None and model.stored is not None:
        _keep(world, report, model_id)
        return
    if model is not None:
        world.models_to_digest.pop(model.model_id, None)
        faulty = replace(model, error_code=code, error=text)
        if model.status is ModelState.READY:
            transitions.move_model(world, faulty, ModelState.ERROR)
        elif model.status is ModelState.ERROR:
            transitions.note_model(world, faulty)
    _keep(world, report, model_id, code, text)


def _keep(
    world: World,
    report: wire.FileScanned,
    model_id: ModelId | None,
    code: str | None = None,
    reason: str | None = None,
) -> None:
    row = ScannedFile(
        path=report.path,
        stamp=report.stamp,
        mark=worker_texts.cut(report.mark, worker_texts.MAX_CODE),
        model_id=model_id,
        code=code,
        reason=reason,
    )
    old = world.scanned_files.get(row.path)
    if old is not None:
        world.scan.by_mark.get(old.mark, {}).pop(row.path, None)
    if model_id is not None and code is None and row.mark:
        world.scan.by_mark.setdefault(row.mark, {})[row.path] = None
    _note(world, row)
    world.act(actions.SaveScan(world.scan.row))


def _note(world: World, row: ScannedFile) -> None:
    world.scanned_files[row.path] = row
    world.act(actions.SaveScannedFile(row))


def _drop(world: World, row: ScannedFile) -> None:
    del world.scanned_files[row.path]
    world.scan.gone.pop(row.path, None)
    world.scan.by_mark.get(row.mark, {}).pop(row.path, None)
    world.act(actions.DropScannedFile(row.path))


def _ended(world: World, worker: Worker) -> None:
    """Every file was read: what is still missing has gone. A copy of it, which was no model so far, is read
    by another scan, and takes its place."""
    scan = world.scan
    copies = _orphans(world)
    for row in copies:
        _drop(world, row)
        scan.is_wanted = True
    replaced = {row.mark for row in copies}
    for path in list(scan.gone):
        if world.scanned_files[path].mark not in replaced:
            _lose(world, world.scanned_files[path])
    world.scan = Scan(row=scan.row, is_wanted=scan.is_wanted)
    workers.dismiss(world, worker)
    if world.scan.is_wanted:
        world.act(actions.SaveScan(scan.row))
        tend(world)
    else:
        _rest(world)
    _want_digests(world)
    fetching.tend(world)


def _orphans(world: World) -> list[ScannedFile]:
    """Copies of files that have gone or changed."""
    rows, gone = world.scanned_files.values(), world.scan.gone
    owned = {
        row.mark for row in rows if row.model_id is not None and row.code is None and row.path not in gone
    }
    return [row for row in rows if row.code == ModelDuplicate.code and row.mark not in owned]


def _lose(world: World, row: ScannedFile) -> None:
    """A file has gone. Its model keeps its id for the day when the file is back."""
    model = None if row.model_id is None else world.models.get(row.model_id)
    if row.stamp != GONE:
        world.scan.row = replace(world.scan.row, gone=world.scan.row.gone + 1)
    if model is None or model.stored is not None:
        _drop(world, row)
        return
    if row.stamp != GONE:
        _note(world, replace(row, stamp=GONE, code=None, reason=None))
    if model.status is ModelState.READY:
        world.models_to_digest.pop(model.model_id, None)
        text = "the model's file is no longer at its path, nor in another of models.folders: put it back"
        transitions.move_model(world, replace(model, error_code=ModelLost.code, error=text), ModelState.ERROR)


def _rest(world: World) -> None:
    """The scan is over, until the next one is due."""
    _save(world, replace(world.scan.row, ended_at_ms=world.now.unix_ms), "ended")
    if world.limits.scan_every_s is not None:
        world.timers.set(due.Scan(), world.now.mono_s + world.limits.scan_every_s)


def _save(world: World, row: ScanRow, state: str) -> None:
    world.scan.row = row
    world.act(actions.SaveScan(row))
    transitions.change(world, ChangeKind.SCAN, SUBJECT, state)


def lost(world: World, worker: Worker, reason: str, *, is_crash: bool) -> None:
    """The worker of a scan has exited before its end: the rest is read by another one, without the file that
    it died of twice."""
    scan = world.scan
    if worker.worker_id != scan.worker_id:
        return
    scan.worker_id = None
    if scan.reading is not None and is_crash:
        path, stamp = scan.reading
        times = scan.crashes.get(path, 0) + 1
        scan.crashes = {path: times}
        if times >= MAX_CRASHES and len(path) <= _MOST_PATH:
            report = wire.FileScanned(path=path, stamp=stamp)
            _refuse(world, report, WorkerCrashed.code, reason)
    elif is_crash:
        scan.deaths += 1
    scan.reading = None
    if scan.deaths >= MAX_DEATHS:
        scan.deaths, scan.is_wanted = 0, False
        scan.row = replace(scan.row, error=worker_texts.cut(reason))
        _rest(world)
    elif world.phase is Phase.RUNNING:
        world.timers.set(due.Scan(), world.now.mono_s + BACKOFF_S)


def forget(world: World, model_id: ModelId) -> None:
    """A person has deleted a model: its file and its copies stay, and are not registered again, wherever they
    are, until their content changes."""
    own = {row.path: row for row in world.scanned_files.values() if row.model_id == model_id}
    marks = {row.mark for row in own.values() if row.mark}
    for row in list(world.scanned_files.values()):
        is_copy = row.code == ModelDuplicate.code and row.mark in marks
        if row.stamp == GONE and row.path in own:
            _drop(world, row)
        elif row.path in own or is_copy:
            world.scan.by_mark.get(row.mark, {}).pop(row.path, None)
            world.scan.deleted.add(row.mark)
            _note(world, replace(row, model_id=None, code=ModelDeleted.code, reason=_DELETED))


def found_at(world: World, uri: str) -> ModelRow | None:
    """The model that a scan has made of the file at this address."""
    path = local_path(uri)
    row = None if path is None else world.scanned_files.get(str(path))
    return None if row is None or row.model_id is None else world.models.get(row.model_id)


def registered(world: World, model: ModelRow) -> None:
    """A person has registered a model by hand: a file in the folders that has no model is this one's."""
    world.scan.by_uri[model.uri] = model.model_id
    path = local_path(model.uri)
    row = None if path is None else world.scanned_files.get(str(path))
    if row is not None and row.model_id is None:
        _note(world, replace(row, model_id=model.model_id, code=None, reason=None))


def _want_digests(world: World) -> None:
    """Also those that failed before, perhaps because the file was moved meanwhile."""
    for file in world.scanned_files.values():
        if file.model_id in world.models:
            _want_digest(world, world.models[file.model_id])


def _want_digest(world: World, row: ModelRow) -> None:
    if row.status is ModelState.READY and row.sha256 is None and is_local(row.uri):
        world.models_to_digest[row.model_id] = None


def _thumbnail(report: wire.FileScanned) -> str | None:
    path = report.thumbnail
    return path if path is not None and path.startswith("/") and len(path) <= _MOST_PATH else None


def _free_name(world: World, path: str) -> str:
    """The name of the file; if another model has that name, with as many of its folders as make it a new
    one."""
    found = name_of_path(path)
    for folder in reversed(path.split("/")[1:-1]):
        if found not in world.scan.names or len(found) + len(folder) >= MAX_NAME:
            break
        found = f"{folder}/{found}"
    return worker_texts.cut(found, MAX_NAME)
