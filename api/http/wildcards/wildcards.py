"""/v1/wildcards: the lists from which `__name__` in a prompt is chosen, and their lines."""

from typing import Annotated

import falcon
import msgspec
from msgspec import Meta

from api.http.contract.constraints import Limit, check_text
from api.http.contract.errors import WildcardNotFound
from api.http.contract.request_parsing import QueryReader
from api.http.contract.responses import send
from api.http.contract.validation_errors import ValidationErrors
from api.http.wildcards.lists import WildcardLists
from kernel.views.page import number_cursor

ListName = Annotated[str, Meta(min_length=1, max_length=200)]


class WildcardList(msgspec.Struct, frozen=True, kw_only=True):
    """A list that prompts can name, and how many choices it has."""

    name: str
    lines: int


class WildcardPage(msgspec.Struct, frozen=True, kw_only=True):
    """A page of lists by name; `next` is the cursor of the next page."""

    items: tuple[WildcardList, ...]
    next: str | None


class WildcardListQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A page of the lists whose names contain `search`, in any case."""

    search: ListName | None = None
    limit: Limit = 50
    after: ListName | None = None


class WildcardLine(msgspec.Struct, frozen=True, kw_only=True):
    """A choice, and how likely it is beside the others."""

    text: str
    weight: float


class Wildcard(msgspec.Struct, frozen=True, kw_only=True):
    """A list, and a page of its lines; `next` is the cursor of the next page."""

    name: str
    lines: int
    items: tuple[WildcardLine, ...]
    next: str | None


class LinesQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A page of the lines."""

    limit: Limit = 50
    after: str | None = None


class Wildcards:
    """Show the lists that there are, as they are now."""

    def __init__(self, lists: WildcardLists) -> None:
        self._lists = lists
        self._list_query = QueryReader(WildcardListQuery, _check_search)
        self._lines_query = QueryReader(LinesQuery)

    def list(self, req: falcon.Request, resp: falcon.Response) -> None:
        query = self._list_query.read(req)
        wanted, after = (query.search or "").casefold(), query.after or ""
        names = [name for name in self._lists.names() if name > after and wanted in name.casefold()]
        page = names[: query.limit]
        items = tuple(WildcardList(name=name, lines=self._count(name)) for name in page)
        send(resp, 200, WildcardPage(items=items, next=page[-1] if len(names) > len(page) else None))

    def show(self, req: falcon.Request, resp: falcon.Response, name: str) -> None:
        """A name with `*` is that of all lists that fit."""
        query = self._lines_query.read(req)
        options, begin = self._lists.find(name), 0
        if query.after is not None:
            begin = number_cursor(query.after)
        end = begin + query.limit
        pairs = zip(options.texts[begin:end], options.weights[begin:end], strict=True)
        send(
            resp,
            200,
            Wildcard(
                name=name,
                lines=len(options.texts),
                items=tuple(WildcardLine(text=text, weight=weight) for text, weight in pairs),
                next=str(end) if end < len(options.texts) else None,
            ),
        )

    def _count(self, name: str) -> int:
        """0 for a list that has gone since, or cannot be read."""
        try:
            return len(self._lists.find(name).texts)
        except WildcardNotFound:
            return 0


def _check_search(query: WildcardListQuery, faults: ValidationErrors) -> None:
    if query.search is not None:
        check_text("search", query.search, faults)
