"""/v1/images/zip: many images in one file."""

from collections.abc import Callable
from dataclasses import replace
from typing import Annotated, Final

import falcon
from msgspec import Meta

from api.http.contract.caller import Caller, caller_of
from api.http.contract.image_types import ImageFilters, filter_of, gone_of
from api.http.contract.request_parsing import QueryReader
from api.http.contract.responses import moment
from api.http.contract.search_query import check_search
from api.http.contract.validation_errors import ValidationErrors
from api.http.framework.concurrency_limit import ConcurrencyLimit
from api.http.framework.deferral import Bell, Part
from api.http.framework.generated_body import GeneratedBody, Pieces
from api.http.framework.thread_pools import Pool
from api.http.gallery.zip_pieces import Member, Missing, ZipMaker
from api.http.resources.ownership import seen
from kernel.protocol.enums import GONE_TEXTS
from kernel.protocol.errors import ImageGone, ImageNotFound, TooManyRequests, wrong_field
from kernel.protocol.ids import ImageId
from kernel.views.images import find_images, list_images
from kernel.views.reader import Reader
from kernel.views.rows import ImageRow

MOST_IMAGES: Final = 500
MOST_ZIPS: Final = 16
RETRY_S: Final = 5.0
ZIP: Final = "application/zip"
_FILTERS: Final = ImageFilters.__struct_fields__
_UNKNOWN: Final = "no image has this id"


class ZipQuery(ImageFilters, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The ids of images, separated by commas, or the filters of a list; those that are gone have no file."""

    image_ids: Annotated[str, Meta(min_length=1, max_length=MOST_IMAGES * 40)] | None = None

    @property
    def named(self) -> tuple[ImageId, ...]:
        """The ids, each once."""
        return tuple(dict.fromkeys(map(ImageId, (self.image_ids or "").split(","))))


class Archive:
    """Sends zips of images. Each file in one is a download of its own."""

    def __init__(self, reader: Reader, maker: ZipMaker, now_ms: Callable[[], int]) -> None:
        self._reader = reader
        self._maker = maker
        self._now_ms = now_ms
        self._query = QueryReader(ZipQuery, check_zip)
        self._slots = ConcurrencyLimit(MOST_ZIPS, has_threads=False)

    def show(self, req: falcon.Request, resp: falcon.Response) -> None:
        """The zip, from its first byte on as it is made; HEAD counts nothing."""
        query, now_ms = self._query.read(req), self._now_ms()
        caller = caller_of(req)
        missing: list[Missing] = []
        if query.image_ids is None:
            members = self._found(caller, query, now_ms)
        else:
            members, missing = self._named(caller, query.named, now_ms)
        resp.content_type = ZIP
        name = f"images-{moment(now_ms):%Y%m%d-%H%M%S}.zip"
        resp.set_header("Content-Disposition", f'attachment; filename="{name}"')
        resp.set_header("Cache-Control", "no-store")
        if req.method == "HEAD":
            return
        if not self._slots.take():
            raise TooManyRequests(f"{MOST_ZIPS} zips are being sent already", retry_after_s=RETRY_S)
        resp.stream = PieceStream(self._maker.pieces(members, missing), self._slots.give_back)

    def _found(self, caller: Caller, query: ZipQuery, now_ms: int) -> list[Member]:
        """Raises: InvalidField, if there are too many; ImageNotFound, if there are none."""
        sought = replace(filter_of(query, now_ms), is_gone=False)
        wanted = seen(self._reader, caller, sought, query.key)
        page = None if wanted is None else list_images(self._reader, wanted, now_ms, MOST_IMAGES)
        if page is None or not page.items:
            raise ImageNotFound("no image matches all filters")
        if page.next_after is not None:
            raise wrong_field("$", f"more than {MOST_IMAGES} images match: add a filter, or name `image_ids`")
        return [_member(row) for row in page.items]

    def _named(
        self, caller: Caller, image_ids: tuple[ImageId, ...], now_ms: int
    ) -> tuple[list[Member], list[Missing]]:
        """Raises: ImageNotFound or ImageGone, if all of them are missing."""
        rows = find_images(self._reader, image_ids)
        members, missing = [], []
        has_gone = False
        for image_id in image_ids:
            row = rows.get(image_id)
            if row is None or not caller.sees(row.key_id):
                missing.append(Missing(image_id, _UNKNOWN))
            elif (gone := gone_of(row, now_ms)) is not None:
                has_gone = True
                missing.append(Missing(image_id, GONE_TEXTS[gone.reason]))
            else:
                members.append(_member(row))
        if not members:
            raise ImageGone("all of these images are gone") if has_gone else ImageNotFound(_UNKNOWN)
        return members, missing


class PieceStream(GeneratedBody):
    """The next piece is asked for when the client has taken the one before, so what follows a `yield` in the
    generator happens when its piece has left."""

    until_s = float("inf")

    def __init__(self, pieces: Pieces, leave: Callable[[], None]) -> None:
        super().__init__(pieces, leave, Pool.ASK, Bell())

    def _next_part(self) -> Part:
        piece = next(self._pieces, None)
        if piece is None:
            self._is_over = True
            return Part(b"", is_last=True)
        self.bell.ring()  # it goes on as soon as this piece is taken
        return Part(piece)


def check_zip(query: ZipQuery, faults: ValidationErrors) -> None:
    """Check what is to be in a zip."""
    check_search(query, faults)
    if query.gone:
        faults.wrong("gone", "must be false: images that are gone have no file")
    if query.image_ids is None:
        return
    if len(query.named) > MOST_IMAGES:
        faults.wrong("image_ids", f"must be at most {MOST_IMAGES}")
    if any(not 0 < len(one) <= 100 or not one.isprintable() for one in query.named):
        faults.wrong("image_ids", "must be ids of images, separated by commas")
    for field, name in zip(_FILTERS, ImageFilters.__struct_encode_fields__, strict=True):
        if getattr(query, field) is not None:
            faults.wrong(name, "cannot be combined with image_ids")


def _member(row: ImageRow) -> Member:
    """Its name is that of the single download."""
    name = f"{row.image_id}.{row.mime.partition('/')[2]}"
    return Member(row.image_id, name, moment(row.created_at_ms))
