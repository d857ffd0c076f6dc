"""Places the files of downloaded models in the models folder, and removes them.

A fetch worker downloads a model into a staging folder. The Manager moves complete ones, so one thread does
all moves and removals, in the order in which they were decided. The row names the place before the file is
there, so after a crash in between every file is found again.
"""

from kernel.core import actions
from kernel.core.ports import Folder
from kernel.core.state.world import World
from kernel.protocol.rows import ModelRow
from kernel.protocol.sources import incoming_name, is_local, upload_of, uploaded_name


def keep(world: World, row: ModelRow) -> None:
    """Move a complete model to the place that its row names; a pending removal of that place is undone."""
    assert row.stored is not None
    world.models[row.model_id] = row
    world.act(actions.NoteModel(row))
    world.act(actions.MoveModel(row.model_id, row.stored))


def trash(world: World, row: ModelRow, *, files: bool) -> None:
    """Remove a deleted model's partial download or upload, and with `files` also its stored files, unless
    another model uses them."""
    if row.stored is not None or not is_local(row.uri):
        trash_incoming(world, row)
    if (upload := upload_of(row.uri)) is not None:
        _trash(world, uploaded_name(upload))
    is_shared = any(other.stored == row.stored for other in world.models.values())
    if files and row.stored is not None and not is_shared:
        _trash(world, row.stored)


def trash_incoming(world: World, row: ModelRow) -> None:
    """Remove a model's partial download, which is not needed any more."""
    _trash(world, incoming_name(row.model_id))


def _trash(world: World, name: str) -> None:
    world.act(actions.TrashFile(Folder.MODELS, name, world.now.unix_ms))
