"""One page of a list, newest or oldest first, and the cursor that leads to the next."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Generic, TypeVar

from kernel.protocol.errors import InvalidField, wrong_field

MAX_LIMIT: Final = 200
_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_LAST_ID: Final = "~"
"""Greater than every id."""
LAST_NUMBER: Final = 2**63 - 1
"""The largest rowid of SQLite."""

Item = TypeVar("Item")


class Order(StrEnum):
    """Which end of a list comes first. Of every list query there is one for each (`Reader`)."""

    NEWEST = "newest"
    OLDEST = "oldest"

    @property
    def suffix(self) -> str:
        """Of the names of queries."""
        return "" if self is Order.NEWEST else "_oldest"


@dataclass(frozen=True, slots=True)
class Page(Generic[Item]):
    """One page of rows; `next_after` is None on the last page."""

    items: tuple[Item, ...]
    next_after: str | None


def id_cursor(cursor: str | None, order: Order = Order.NEWEST) -> str:
    """The cursor of a list that goes by ids, which are UUIDs; without one every id comes after it.

    Raises: InvalidField, if it is malformed.
    """
    if cursor is None:
        return _LAST_ID if order is Order.NEWEST else ""
    if _UUID.fullmatch(cursor) is None:
        raise no_cursor()
    return cursor


def number_cursor(cursor: str | None, order: Order = Order.NEWEST) -> int:
    """The cursor of a list that goes by numbers; without one every number comes after it.

    Raises: InvalidField, if it is none.
    """
    if cursor is None:
        return LAST_NUMBER if order is Order.NEWEST else -1
    if not (cursor.isascii() and cursor.isdigit() and len(cursor) <= len(str(LAST_NUMBER))):
        raise no_cursor()
    return min(int(cursor), LAST_NUMBER)


def no_cursor() -> InvalidField:
    """The refusal of a value that is not a cursor."""
    return wrong_field("after", "not a cursor: use `next` of the previous page")


def page_of(found: Sequence[Item], limit: int, cursor_of: Callable[[Item], str]) -> Page[Item]:
    """Cut the page from `limit + 1` rows: the extra one shows that there is a next page."""
    items = tuple(found[:limit])
    return Page(items, cursor_of(items[-1]) if len(found) > limit else None)
