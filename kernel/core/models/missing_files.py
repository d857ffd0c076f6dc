"""Notices models whose files are missing before an engine loads them, and fetches them again."""

from msgspec.structs import replace

from kernel.core import actions
from kernel.core.models import fetching
from kernel.core.state import transitions
from kernel.core.state.world import World
from kernel.protocol.enums import ModelState
from kernel.protocol.errors import ModelLost
from kernel.protocol.ids import ModelId
from kernel.protocol.rows import ModelRow


def seen(world: World, absent: frozenset[ModelId]) -> None:
    """The shell has found no files of these models, and files of all others."""
    for row in list(world.models.values()):
        if row.status is ModelState.READY and row.model_id in absent:
            error = replace(row, error_code=ModelLost.code, error=_what_happened(row))
            transitions.move_model(world, error, ModelState.ERROR)
        elif row.error_code == ModelLost.code and row.model_id not in absent:
            fetch_again(world, row)


def _what_happened(row: ModelRow) -> str:
    if row.stored is None:
        return "the model's file is no longer at its path: put it back, then retry the model"
    return "the model's files are no longer in models.folder: put them back, or retry to download them again"


def fetch_again(world: World, row: ModelRow) -> None:
    """Fetch a model again, resuming with the bytes that are there.

    A lost model's stored files may be back. The path of a model that is used in place may have another file
    by now.
    """
    sha256 = row.sha256 if row.stored is not None else None
    row = replace(row, error_code=None, error=None, sha256=sha256)
    transitions.move_model(world, row, ModelState.DOWNLOADING)
    for engine in world.engines.values():
        engine.needs.clear()
    if row.stored is not None:
        world.act(actions.MoveModel(row.model_id, row.stored))
    else:
        world.models_to_inspect[row.model_id] = 0
        fetching.tend(world)
