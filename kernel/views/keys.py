"""API keys, newest first. A row has the digest of its key, which no answer shows."""

from kernel.protocol.rows import KeyRow
from kernel.views.page import Page, id_cursor, page_of
from kernel.views.reader import Reader
from kernel.views.rows import Found


def key_called(reader: Reader, key: str) -> KeyRow | None:
    """The API key with this id, or else with this name: the one that is valid, or else the newest."""
    return reader.one("key_named", KeyRow, {"key": key})


def all_keys(reader: Reader) -> list[KeyRow]:
    """Every API key, also expired and revoked ones."""
    return reader.all("all_keys", KeyRow, {})


def list_keys(reader: Reader, limit: int, after: str | None = None) -> Page[KeyRow]:
    """A page of API keys.

    Raises: InvalidField, if `after` is not a cursor.
    """
    found = reader.all("keys", KeyRow, {"after": id_cursor(after), "limit": limit + 1})
    return page_of(found, limit, lambda row: row.key_id)


def has_keys(reader: Reader) -> bool:
    """Whether there are API keys, also expired and revoked ones."""
    return reader.one("has_keys", Found, {}) is not None
