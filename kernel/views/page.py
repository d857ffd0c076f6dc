"""One page of a list, newest first, and the cursor that leads to the next."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from kernel.protocol.errors import InvalidField, wrong_field

MAX_LIMIT: Final = 200
_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_BEFORE_ALL: Final = "~"
"""Greater than every id; the lists are in descending order."""

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Page(Generic[Item]):
    """One page of rows; `next_after` is None on the last page."""

    items: tuple[Item, ...]
    next_after: str | None


def id_cursor(cursor: str | None) -> str:
    """The cursor of a list ordered by id (a UUID); without one, a cursor before all ids.

    Raises: InvalidField, if it is malformed.
    """
    if cursor is None:
        return _BEFORE_ALL
    if _UUID.fullmatch(cursor) is None:
        raise no_cursor()
    return cursor


def no_cursor() -> InvalidField:
    """The refusal of a value that is not a cursor."""
    return wrong_field("after", "not a cursor: use `next` of the previous page")


def page_of(found: Sequence[Item], limit: int, cursor_of: Callable[[Item], str]) -> Page[Item]:
    """Cut the page from `limit + 1` rows: the extra one shows that there is a next page."""
    items = tuple(found[:limit])
    return Page(items, cursor_of(items[-1]) if len(found) > limit else None)
