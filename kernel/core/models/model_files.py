"""Places the files of downloaded models in the models folder, and removes them.

A fetch worker gathers a model in a folder of its own. What is whole the Manager moves, so that moving and
removing are done by one thread, in the order in which they were decided. The row names the place before the
file is there: a crash in between leaves nothing that is not found again.
"""

from kernel.core import actions
from kernel.core.state.world import World
from kernel.protocol.rows import ModelRow
from kernel.protocol.sources import incoming_name, is_local, upload_of, uploaded_name


def keep(world: World, row: ModelRow) -> None:
    """Have a whole model moved to the place that its row names; a removal of the same is taken back."""
    assert row.stored is not None
    world.models[row.model_id] = row
    world.act(actions.NoteModel(row))
    world.act(actions.MoveModel(row.model_id, row.stored))


def trash(world: World, row: ModelRow, *, files: bool) -> None:
    """Have removed what was gathered or uploaded for a model that is forgotten, and with `files` also what is
    kept of it, unless another model is made of the same."""
    if row.stored is not None or not is_local(row.uri):
        trash_incoming(world, row)
    if (upload := upload_of(row.uri)) is not None:
        _trash(world, uploaded_name(upload))
    is_shared = any(other.stored == row.stored for other in world.models.values())
    if files and row.stored is not None and not is_shared:
        _trash(world, row.stored)


def trash_incoming(world: World, row: ModelRow) -> None:
    """Have removed what was gathered for a model and is not needed any more."""
    _trash(world, incoming_name(row.model_id))


def _trash(world: World, name: str) -> None:
    world.act(actions.TrashFile(actions.Folder.MODELS, name, world.now.unix_ms))
