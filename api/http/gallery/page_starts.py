"""/v1/images/pages: how many images a list has, and where its pages begin, for a scrollbar."""

from collections.abc import Callable
from typing import Annotated, Final

import falcon
import msgspec
from msgspec import Meta

from api.http.contract.caller import caller_of
from api.http.contract.image_types import ImageFilters, filter_of
from api.http.contract.request_parsing import QueryReader
from api.http.contract.responses import send
from api.http.contract.search_query import check_search
from api.http.resources.ownership import seen
from kernel.views.image_pages import PageStarts, page_starts
from kernel.views.page import MAX_LIMIT, Order
from kernel.views.reader import Reader

SHORTEST_PAGE: Final = 20
"""Shorter pages would make the answer long: it has a cursor for each."""
_NOTHING: Final = PageStarts(0, ())


class ImagePagesQuery(ImageFilters, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The filters and the order of a list, and the length of its pages."""

    limit: Annotated[int, Meta(ge=SHORTEST_PAGE, le=MAX_LIMIT)] = 50
    order: Order = Order.NEWEST


class ImagePages(msgspec.Struct, frozen=True, kw_only=True):
    """How many images a list has; of each page but the first, the cursor (`after`) with which it is asked
    for. The next page of the last one is still found by its own `next`."""

    total: int
    limit: int
    after: tuple[str, ...]


class ImagePageStarts:
    """Counts images, and finds the beginnings of their pages."""

    def __init__(self, reader: Reader, now_ms: Callable[[], int]) -> None:
        self._reader = reader
        self._now_ms = now_ms
        self._query = QueryReader(ImagePagesQuery, check_search)

    def list(self, req: falcon.Request, resp: falcon.Response) -> None:
        query, now_ms = self._query.read(req), self._now_ms()
        wanted = seen(self._reader, caller_of(req), filter_of(query, now_ms), query.key)
        found = _NOTHING
        if wanted is not None:
            found = page_starts(self._reader, wanted, now_ms, query.limit, query.order)
        send(resp, 200, ImagePages(total=found.total, limit=query.limit, after=found.cursors))
