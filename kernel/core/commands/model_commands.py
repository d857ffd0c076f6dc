"""Commands on models: register, retry, delete, prune."""

from itertools import islice
from typing import Final

from msgspec.structs import replace

from kernel.core import actions
from kernel.core.events import Facts
from kernel.core.models import fetching, missing_files, model_files, scanning
from kernel.core.ports import Folder
from kernel.core.state import transitions
from kernel.core.state.world import World
from kernel.protocol import client
from kernel.protocol.enums import ControlType, ModelState, ModelType, Phase
from kernel.protocol.errors import (
    DiskFull,
    IllegalMove,
    ModelInUse,
    ModelNotFound,
    NoModelFolders,
    ShuttingDown,
    wrong_field,
)
from kernel.protocol.ids import ModelId
from kernel.protocol.model_refs import Preparation
from kernel.protocol.named_models import model_ids_of
from kernel.protocol.rows import ModelRow
from kernel.protocol.sources import default_name, is_local

MOST_NAMED: Final = 3
"""A refused deletion names up to this many open jobs that use the model, and counts the rest."""


def register(world: World, ask: client.RegisterModel) -> client.SingleReply:
    """Register a model and have it fetched; the same source again returns the model that is there. One that a
    scan has found is told what a person knows of it.

    Raises: InvalidField, for a control type on a model that is not a ControlNet, or a preparation on one that
    is not a background remover; ShuttingDown; DiskFull.
    """
    control_type = _control_type(ask)
    is_unnamed = ask.name == default_name(ask.uri)  # a title has replaced this name since
    for row in world.models.values():
        is_same_name = is_unnamed or row.name == ask.name
        if is_same_name and _is_same_recipe(row, ask) and control_type in (None, row.control_type):
            return client.ModelAccepted(model_id=row.model_id, status=row.status, created=False)
    if (found := scanning.found_at(world, ask.uri)) is not None and _can_be(found, ask):
        transitions.note_model(world, _told(found, ask, control_type))
        return client.ModelAccepted(model_id=found.model_id, status=found.status, created=False)
    _check_can_fetch(world, ask.uri)
    row = ModelRow(
        model_id=ModelId(world.id_source.id()),
        name=ask.name,
        uri=ask.uri,
        status=ModelState.DOWNLOADING,
        model_type=ask.model_type,
        model_base=ask.model_base,
        variant=ask.variant,
        tags=ask.tags,
        trigger_words=ask.trigger_words,
        declared_base=ask.model_base,
        declared_sha256=ask.sha256,
        created_at_ms=world.now.unix_ms,
        control_type=control_type,
        preparation=_preparation(ask),
    )
    transitions.add_model(world, row)
    scanning.registered(world, row)
    world.models_to_inspect[row.model_id] = 0
    fetching.tend(world)
    return client.ModelAccepted(model_id=row.model_id, status=row.status)


def _check_can_fetch(world: World, uri: str) -> None:
    """Refuse a download if the disk is almost full; a model used in place needs no disk space.

    Raises: DiskFull.
    """
    if world.phase is not Phase.RUNNING:
        raise ShuttingDown
    if is_local(uri):
        return
    if world.is_models_disk_low:
        raise DiskFull(
            "the disk of models.folder is almost full: free some space before you download a model"
        )
    if world.is_disk_blocked:
        raise DiskFull


def _control_type(ask: client.RegisterModel) -> ControlType | None:
    """The type of control map that a ControlNet takes: as given, else the one type that its names mention.

    Raises: InvalidField, for other types of models.
    """
    if ask.model_type is not ModelType.CONTROLNET:
        if ask.control_type is not None:
            raise wrong_field("control_type", f"only for models of type controlnet, not {ask.model_type}")
        return None
    return ask.control_type or fetching.control_type_named(ask.model_type, ask.name, ask.uri)


def _preparation(ask: client.RegisterModel) -> Preparation | None:
    if ask.preparation is not None and ask.model_type is not ModelType.BACKGROUND:
        raise wrong_field("preparation", f"only for models of type background, not {ask.model_type}")
    return ask.preparation


def _can_be(row: ModelRow, ask: client.RegisterModel) -> bool:
    """True if nothing that is said of a model contradicts what was found in its file."""
    is_of_base = ask.model_base is None or row.model_base in (None, ask.model_base)
    is_same = row.model_type is ask.model_type and is_of_base and ask.variant in (None, row.variant)
    return is_same and ask.sha256 is None and row.status is ModelState.READY


def _told(row: ModelRow, ask: client.RegisterModel, control_type: ControlType | None) -> ModelRow:
    """A model that a scan has found, with what a person says of it."""
    return replace(
        row,
        name=ask.name,
        tags=ask.tags,
        trigger_words=ask.trigger_words,
        model_base=row.model_base or ask.model_base,
        declared_base=ask.model_base,
        control_type=control_type or row.control_type,
        preparation=_preparation(ask) or row.preparation,
    )


def _is_same_recipe(row: ModelRow, ask: client.RegisterModel) -> bool:
    is_same_file = (row.uri, row.model_type) == (ask.uri, ask.model_type)
    is_same_word = (row.declared_base, row.declared_sha256) == (ask.model_base, ask.sha256)
    is_same_note = (row.tags, row.trigger_words) == (ask.tags, ask.trigger_words)
    is_same_preparation = row.preparation == ask.preparation
    is_same_variant = ask.variant in (None, row.variant)
    is_same = is_same_file and is_same_word and is_same_note and is_same_preparation and is_same_variant
    return is_same and row.status is not ModelState.ERROR


def retry(world: World, ask: client.RetryModel) -> client.SingleReply:
    """Fetch a model again, resuming with the bytes that are there; a ready one that is used in place is
    inspected as it is now.

    Raises: ModelNotFound; IllegalMove, if the model is being fetched; ShuttingDown; DiskFull.
    """
    row = _model(world, ask.model_id)
    _check_can_fetch(world, row.uri)
    if row.status is ModelState.DOWNLOADING:
        raise IllegalMove("the model is being downloaded or inspected: wait until it is ready or in error")
    missing_files.fetch_again(world, row)
    return client.ModelAccepted(model_id=row.model_id, status=ModelState.DOWNLOADING, created=False)


def delete(world: World, ask: client.DeleteModel) -> client.SingleReply:
    """Delete a model: its row, its partial download, and with `files` also its stored files.

    Raises: ModelNotFound; ModelInUse, naming the engines and open jobs that use it.
    """
    row = _model(world, ask.model_id)
    _check_engines(world, row.model_id)
    _check_jobs(world, row.model_id)
    transitions.drop_model(world, row)
    scanning.forget(world, row.model_id)
    model_files.trash(world, row, files=ask.files)
    fetching.abandon(world, row)
    return client.Done()


def prune(world: World, ask: client.PruneModels, facts: Facts) -> client.SingleReply:
    """Remove stored files of deleted models, or only count them.

    A model whose file is on its way to its place names that place already, so it is not removed here.
    """
    owned = {row.stored for row in world.models.values()}
    orphans = [kept for kept in facts.kept_models if kept.name not in owned]
    if not ask.dry_run:
        for kept in orphans:
            world.act(actions.TrashFile(Folder.MODELS, kept.name, world.now.unix_ms))
    return client.ModelsPruned(models=len(orphans), size_bytes=sum(kept.size_bytes for kept in orphans))


def scan(world: World, ask: client.ScanModels) -> client.SingleReply:
    """Look through models.folders now.

    Raises: NoModelFolders; ShuttingDown.
    """
    if not world.limits.model_folders:
        raise NoModelFolders
    if world.phase is not Phase.RUNNING:
        raise ShuttingDown
    scanning.want(world)
    return client.Done()


def _check_engines(world: World, model_id: ModelId) -> None:
    users = [
        engine.row
        for engine in world.engines.values()
        if model_id in (engine.row.spec.checkpoint, *model_ids_of(engine.row.spec))
    ]
    if users:
        names = ", ".join(f"{u.name} ({u.engine_id})" if u.name else u.engine_id for u in users)
        raise ModelInUse(f"the model is used by engines ({names}): delete them first")


def _check_jobs(world: World, model_id: ModelId) -> None:
    users = world.model_jobs.get(model_id)
    if users:
        named = ", ".join(islice(users, MOST_NAMED))
        others = f" and {len(users) - MOST_NAMED} more" if len(users) > MOST_NAMED else ""
        raise ModelInUse(
            f"the model is used by open jobs ({named}{others}): wait until they end, or cancel them"
        )


def _model(world: World, model_id: ModelId) -> ModelRow:
    if (row := world.models.get(model_id)) is None:
        raise ModelNotFound
    return row
