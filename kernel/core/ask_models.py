"""What clients ask about models."""

from dataclasses import replace

from kernel.core import fetching, keeping, record
from kernel.core.rows import ModelRow
from kernel.core.world import World
from kernel.protocol import client
from kernel.protocol.errors import DiskFull, IllegalMove, ModelInUse, ModelNotFound, ShuttingDown
from kernel.protocol.ids import ModelId
from kernel.protocol.vocabulary import ModelState, Phase


def register(world: World, ask: client.RegisterModel) -> client.SingleReply:
    """Register a model and have it fetched; the same recipe again is the model that is there.

    Raises: ShuttingDown, DiskFull.
    """
    for row in world.models.values():
        if _is_same_recipe(row, ask):
            return client.ModelAccepted(model_id=row.model_id, status=row.status, created=False)
    if world.phase is not Phase.RUNNING:
        raise ShuttingDown
    if world.is_disk_low:
        raise DiskFull
    row = ModelRow(
        model_id=ModelId(world.fresh.id()),
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
    )
    record.add_model(world, row)
    _fetch(world, row.model_id)
    return client.ModelAccepted(model_id=row.model_id, status=row.status)


def _is_same_recipe(row: ModelRow, ask: client.RegisterModel) -> bool:
    is_same_file = (row.uri, row.model_type, row.name) == (ask.uri, ask.model_type, ask.name)
    is_same_word = (row.declared_base, row.declared_sha256) == (ask.model_base, ask.sha256)
    is_same_note = (row.tags, row.trigger_words) == (ask.tags, ask.trigger_words)
    is_same_variant = ask.variant in (None, row.variant)
    is_same = is_same_file and is_same_word and is_same_note and is_same_variant
    return is_same and row.status is not ModelState.ERROR


def retry(world: World, ask: client.RetryModel) -> client.SingleReply:
    """Fetch a model again, with what is there of it.

    Raises: ModelNotFound; IllegalMove, if the model is not in error; ShuttingDown; DiskFull.
    """
    row = _model(world, ask.model_id)
    if world.phase is not Phase.RUNNING:
        raise ShuttingDown
    if world.is_disk_low:
        raise DiskFull
    if row.status is not ModelState.ERROR:
        raise IllegalMove(f"the model is {row.status.value}: only one in error can be tried again")
    record.move_model(world, replace(row, error_code=None, error=None), ModelState.DOWNLOADING)
    _fetch(world, row.model_id)
    return client.ModelAccepted(model_id=row.model_id, status=ModelState.DOWNLOADING, created=False)


def delete(world: World, ask: client.DeleteModel) -> client.SingleReply:
    """Forget a model: first its row, then what was gathered for it, and with `files` what is kept of it.

    Raises: ModelNotFound; ModelInUse, naming the engines that use it.
    """
    row = _model(world, ask.model_id)
    users = [e.row for e in world.engines.values() if e.row.spec.checkpoint == row.model_id]
    if users:
        names = ", ".join(f"{u.name} ({u.engine_id})" if u.name else u.engine_id for u in users)
        raise ModelInUse(f"the model is used by {names}: delete these engines first")
    record.drop_model(world, row)
    keeping.trash(world, row, files=ask.files)
    fetching.abandon(world, row)
    return client.Done()


def _model(world: World, model_id: ModelId) -> ModelRow:
    if (row := world.models.get(model_id)) is None:
        raise ModelNotFound
    return row


def _fetch(world: World, model_id: ModelId) -> None:
    world.models_to_inspect[model_id] = 0
    fetching.tend(world)
