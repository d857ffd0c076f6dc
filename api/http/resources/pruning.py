"""/v1/images/prune"""

from collections.abc import Callable
from typing import Final

import falcon
import msgspec

from api.http.contract.caller import caller_of
from api.http.contract.constraints import Id, check_line
from api.http.contract.request_parsing import BodyReader, refuse_key
from api.http.contract.responses import send
from api.http.contract.search_query import SearchFilters, check_search, search_of
from api.http.contract.validation_errors import ValidationErrors
from api.http.resources.ownership import seen
from api.port import BusPort
from kernel.protocol.client import DeleteImages, ImagesPruned, PruneImages
from kernel.protocol.errors import wrong_field
from kernel.protocol.ids import Count, EngineId
from kernel.protocol.values import MAX_DELETED, DurationS, Tag
from kernel.views.images import ImageFilter, count_images, list_images
from kernel.views.page import Order
from kernel.views.reader import Reader

AT_ONCE: Final = 500
"""Commands per request; each deletes a few hundred images. The response says if there are more."""
_FILTERS: Final = frozenset(SearchFilters.__struct_fields__) - {"engine_id"} | {"tag", "favorite"}
MOST_NAMED: Final = 200
"""This many missing files are named, the rest is counted."""


class PruneInput(SearchFilters, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The images to delete: expired ones, ones older than an age, the oldest ones beyond `keep_bytes`, and
    ones whose files are missing; or those that match all of the filters of a list, and no others."""

    engine_id: Id | None = None
    older_than_s: DurationS | None = None
    keep_bytes: Count | None = None
    missing: bool = False
    tag: Tag | None = None
    favorite: bool | None = None
    dry_run: bool = False


class Pruned(msgspec.Struct, frozen=True, kw_only=True):
    """The images that were deleted, or would be without `dry_run`. `missing` of them have no file;
    `missing_files` names the first of these files. `has_more`: repeat the request, which ended early."""

    images: int
    size_bytes: int
    missing: int
    missing_files: tuple[str, ...]
    dry_run: bool
    has_more: bool = False


class Pruning:
    """Deletes images by age and size, or by the filters of a list."""

    def __init__(self, bus: BusPort, reader: Reader, now_ms: Callable[[], int]) -> None:
        self._bus = bus
        self._reader = reader
        self._now_ms = now_ms
        self._body = BodyReader(PruneInput, frozenset(), check_prune)

    def prune(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Send the command repeatedly: the Manager deletes a limited number each time, so that others are
        served in between."""
        refuse_key(req)
        wanted = self._body.read(req)
        search = seen(self._reader, caller_of(req), _search_of(wanted, self._now_ms()), wanted.key)
        if search is None:
            raise wrong_field("key", f"no API key has the id or name {wanted.key!r}")
        if search.is_search:
            send(resp, 200, self._prune_found(search, is_dry=wanted.dry_run))
            return
        ask = PruneImages(
            engine_id=None if wanted.engine_id is None else EngineId(wanted.engine_id),
            older_than_s=wanted.older_than_s,
            keep_bytes=wanted.keep_bytes,
            missing=wanted.missing,
            dry_run=wanted.dry_run,
        )
        images = size_bytes = missing = 0
        files: tuple[str, ...] = ()
        for _ in range(AT_ONCE):
            found = self._bus.ask(ask, ImagesPruned)
            images, size_bytes = images + found.images, size_bytes + found.size_bytes
            missing, files = missing + found.missing, (files + found.missing_files)[:MOST_NAMED]
            if not found.has_more:
                break
        pruned = Pruned(
            images=images,
            size_bytes=size_bytes,
            missing=missing,
            missing_files=files,
            dry_run=wanted.dry_run,
            has_more=found.has_more,
        )
        send(resp, 200, pruned)

    def _prune_found(self, search: ImageFilter, *, is_dry: bool) -> Pruned:
        """The Manager deletes a page at a time, by ids: what the search of a list finds is what goes."""
        now_ms = self._now_ms()
        if is_dry:
            total = count_images(self._reader, search, now_ms)
            return Pruned(
                images=total.count, size_bytes=total.size_bytes, missing=0, missing_files=(), dry_run=True
            )
        images = size_bytes = 0
        after: str | None = None
        for _ in range(AT_ONCE):
            page = list_images(self._reader, search, now_ms, MAX_DELETED, after, Order.OLDEST)
            if page.items:
                ask = DeleteImages(image_ids=tuple(row.image_id for row in page.items))
                found = self._bus.ask(ask, ImagesPruned)
                images, size_bytes = images + found.images, size_bytes + found.size_bytes
            after = page.next_after
            if after is None:
                break
        return Pruned(
            images=images,
            size_bytes=size_bytes,
            missing=0,
            missing_files=(),
            dry_run=False,
            has_more=after is not None,
        )


def _search_of(wanted: PruneInput, now_ms: int) -> ImageFilter:
    return ImageFilter(is_gone=False, tag=wanted.tag, favorite=wanted.favorite, **search_of(wanted, now_ms))


def check_prune(found: PruneInput, faults: ValidationErrors) -> None:
    """Check a request to prune."""
    check_line("engine_id", found.engine_id, faults)
    check_search(found, faults)
    other = {
        "older_than_s": found.older_than_s,
        "keep_bytes": found.keep_bytes,
        "missing": found.missing or None,
    }
    if any(getattr(found, name) is not None for name in _FILTERS):
        for name in [name for name, value in other.items() if value is not None]:
            faults.wrong(name, "cannot be combined with a filter; `created_before` takes an age")
