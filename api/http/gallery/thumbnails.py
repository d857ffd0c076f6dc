"""/v1/images/{image_id}/thumbnail: a small copy of an image, made once. To look at one is no download."""

import threading
from collections.abc import Callable
from enum import IntEnum
from pathlib import Path
from queue import SimpleQueue
from typing import Final

import falcon
import msgspec

from api.http.contract.caller import caller_of
from api.http.contract.errors import NoThumbnail
from api.http.contract.image_types import gone_of
from api.http.contract.request_parsing import QueryReader
from api.http.framework.file_headers import describe, is_known, plain_name, tag
from api.http.gallery.thumbnail_cache import ThumbnailCache
from api.http.gallery.thumbnail_maker import UnreadableImage, thumbnail_of
from api.http.resources.ownership import find_seen_image
from api.hub import Closing, Hub, Notice
from kernel.protocol.client import Changed
from kernel.protocol.enums import GONE_TEXTS, ChangeKind
from kernel.protocol.errors import ImageGone
from kernel.views.reader import Reader
from kernel.views.rows import ImageRow

WEBP: Final = "image/webp"
_STORED: Final = "stored"
"""The state of an image that has come; any other is the reason why it is gone."""


class Side(IntEnum):
    """The longest side of a thumbnail, in pixels."""

    SMALL = 256
    LARGE = 512


class ThumbnailQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How large it is to be."""

    size: Side = Side.SMALL


class Thumbnails:
    """Sends thumbnails, from the cache if they are in it."""

    def __init__(
        self, reader: Reader, folder: Path, cache: ThumbnailCache, now_ms: Callable[[], int]
    ) -> None:
        """`folder`: of the images."""
        self._reader = reader
        self._folder = folder
        self._cache = cache
        self._now_ms = now_ms
        self._query = QueryReader(ThumbnailQuery)

    def show(self, req: falcon.Request, resp: falcon.Response, image_id: str) -> None:
        """The image is looked for first: of one that is gone, or another's, nothing is shown."""
        side = self._query.read(req).size
        row = find_seen_image(self._reader, caller_of(req), image_id)
        if (gone := gone_of(row, self._now_ms())) is not None:
            self._cache.remove(names_of(row.image_id))
            raise ImageGone(GONE_TEXTS[gone.reason])
        version = f"{row.sha256}-{side.value}"
        tag(resp, version)
        if is_known(req.get_header("If-None-Match"), version):
            resp.status = 304
            return
        content = self._content(row, side, version)
        describe(resp, WEBP, len(content), f"{row.image_id}-{side.value}")
        if req.method != "HEAD":
            resp.data = content

    def _content(self, row: ImageRow, side: Side, version: str) -> bytes:
        """Raises: ImageGone, NoThumbnail."""
        name = _name_of(row.image_id, side)
        if (kept := self._cache.get(name, version)) is not None:
            return kept
        try:
            made = thumbnail_of(self._folder / plain_name(row.file_name), side.value)
        except FileNotFoundError as error:
            raise ImageGone(f"the file of image {row.image_id} no longer exists") from error
        except UnreadableImage as error:
            raise NoThumbnail(f"the file of image {row.image_id} cannot be shown: {error}") from error
        self._cache.put(name, version, made)
        return made


class ThumbnailRemover:
    """A listener of the hub that removes the thumbnails of images that are gone."""

    ids = None
    """All."""

    def __init__(self, cache: ThumbnailCache, hub: Hub) -> None:
        self._cache = cache
        self._gone: SimpleQueue[str | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        hub.join(self)

    def put(self, notice: Notice) -> None:
        """Called by the bus thread, which does not wait for the disk."""
        match notice:
            case Changed(kind=ChangeKind.IMAGE, id=image_id, state=state) if state != _STORED:
                self._gone.put(image_id)
                if self._thread is None:
                    self._thread = threading.Thread(target=self._run, name="thumbnails", daemon=True)
                    self._thread.start()
            case Closing():
                self._gone.put(None)
            case _:
                pass

    def _run(self) -> None:
        while (image_id := self._gone.get()) is not None:
            self._cache.remove(names_of(image_id))


def names_of(image_id: str) -> list[str]:
    """The names of all thumbnails of an image."""
    return [_name_of(image_id, side) for side in Side]


def _name_of(image_id: str, side: Side) -> str:
    return f"{image_id}-{side.value}"
