"""Commands on presets: save, delete.

Memory has their names alone. A preset belongs to an API key or, without one, to everybody.
"""

from kernel.core.state import transitions
from kernel.core.state.world import World
from kernel.protocol import client
from kernel.protocol.errors import KeyNotAllowed, PresetNotFound, TooManyPresets
from kernel.protocol.ids import KeyId
from kernel.protocol.presets import MAX_PRESETS, DeletePreset, SavePreset
from kernel.protocol.rows import PresetRow


def save(world: World, ask: SavePreset) -> client.Done:
    """Save a preset. Whoever says whether it is everybody's moves it: one name is one preset to them.

    Raises: TooManyPresets; KeyNotAllowed, if it is to be everybody's, and the client may not decide that.
    """
    if ask.shared and not _may_share(ask):
        raise KeyNotAllowed("only admins share presets: leave `shared` out")
    owner = _owner(world, ask) if ask.shared is None else (None if ask.shared else ask.key_id)
    if not world.has_preset(owner, ask.name) and len(world.presets.get(owner, ())) >= MAX_PRESETS:
        raise TooManyPresets(f"there are {MAX_PRESETS} presets already: delete one first")
    now_ms = world.now.unix_ms
    row = PresetRow(
        name=ask.name, fields=ask.fields, created_at_ms=now_ms, changed_at_ms=now_ms, key_id=owner
    )
    transitions.save_preset(world, row)
    if ask.shared is not None and _may_share(ask):
        for other in {None, ask.key_id} - {owner}:
            if world.has_preset(other, ask.name):
                transitions.drop_preset(world, other, ask.name)
    return client.Done()


def delete(world: World, ask: DeletePreset) -> client.Done:
    """Delete the client's own preset or, if it has none of this name, everybody's.

    Raises: PresetNotFound; KeyNotAllowed, if it is everybody's, and the client may not decide about that.
    """
    if world.has_preset(ask.key_id, ask.name):
        transitions.drop_preset(world, ask.key_id, ask.name)
    elif not world.has_preset(None, ask.name):
        raise PresetNotFound(f"no preset has the name {ask.name!r}")
    elif not ask.is_admin:
        raise KeyNotAllowed("only admins delete presets that are everybody's")
    else:
        transitions.drop_preset(world, None, ask.name)
    return client.Done()


def _may_share(ask: SavePreset) -> bool:
    return ask.is_admin or ask.key_id is None


def _owner(world: World, ask: SavePreset) -> KeyId | None:
    """Whose preset is saved, if the client does not say: the one that it has, or else its own."""
    if ask.is_admin and not world.has_preset(ask.key_id, ask.name) and world.has_preset(None, ask.name):
        return None
    return ask.key_id
