"""One page of a list, newest first, and the cursor that leads to the next."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

MAX_LIMIT: Final = 200

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Page(Generic[Item]):
    """Some rows, and where to go on; `next_after` is None on the last page."""

    items: tuple[Item, ...]
    next_after: str | None


def page_of(found: Sequence[Item], limit: int, cursor_of: Callable[[Item], str]) -> Page[Item]:
    """Cut the page out of `limit + 1` rows: the one too many says that there is a next page."""
    items = tuple(found[:limit])
    return Page(items, cursor_of(items[-1]) if len(found) > limit else None)
