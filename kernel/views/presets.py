"""Presets as a caller sees them: its own, and those that are everybody's, by name."""

from kernel.protocol.ids import KeyId
from kernel.protocol.rows import PresetRow
from kernel.views.page import Page, page_of
from kernel.views.reader import Reader, SqlValue


def find_preset(reader: Reader, key_id: KeyId | None, name: str) -> PresetRow | None:
    """The preset that a caller with this API key has under this name; its own, if everybody has one, too."""
    return reader.one("preset", PresetRow, {"key_id": key_id, "name": name})


def list_presets(
    reader: Reader, key_id: KeyId | None, limit: int, after: str | None = None
) -> Page[PresetRow]:
    """A page of the presets that a caller with this API key sees. The cursor is a name."""
    values: dict[str, SqlValue] = {"key_id": key_id, "after": after or "", "limit": limit + 1}
    return page_of(reader.all("presets", PresetRow, values), limit, lambda row: row.name)
