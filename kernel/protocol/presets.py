"""Presets: named sets of a job's fields, and the messages about them.

The Manager keeps the fields as the API has checked them: a JSON object that it does not look into.
"""

from typing import Annotated, Final

import msgspec
from msgspec import Meta

from kernel.protocol.ids import KeyId

MAX_PRESETS: Final = 200
"""Of one API key, and of those that are everybody's."""
MAX_PRESET_BYTES: Final = 32 << 10
"""Two long prompts and every other field."""

MAX_NAME: Final = 100

PresetName = Annotated[str, Meta(min_length=1, max_length=MAX_NAME)]


class SavePreset(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Save a preset, in place of the one that the caller has under this name."""

    name: PresetName
    fields: str
    """A JSON object."""
    key_id: KeyId | None = None
    """The API key of the client; None: all presets are everybody's."""
    shared: bool | None = None
    """Whether it is everybody's; None: as the one under this name was."""
    is_admin: bool = False
    """Whether the client may change what is everybody's."""


class DeletePreset(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Delete the preset that the caller has under this name."""

    name: PresetName
    key_id: KeyId | None = None
    is_admin: bool = False


PresetAsk = SavePreset | DeletePreset


def fault_of_preset_name(name: str) -> str | None:
    """Why this cannot be a preset's name, which is a part of a path; None, if it can."""
    if name in (".", ".."):
        return "must not be one or two dots, which lead elsewhere in a path"
    return "must not begin or end with a space" if name != name.strip() else None
