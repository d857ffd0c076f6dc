"""/v1/images/{image_id}/download: claims a download, sends the file, and reports whether it was complete."""

from collections.abc import Callable
from pathlib import Path

import falcon

from api.http.contract.caller import caller_of
from api.http.contract.errors import RangeNotSatisfiable
from api.http.contract.image_types import gone_of
from api.http.framework.file_headers import describe, is_known, plain_name, tag
from api.http.framework.ranges import FileStream, Part, part_of
from api.http.resources.ownership import find_seen_image
from api.port import BusPort
from kernel.protocol.client import ClaimDownload, DownloadGranted, FinishDownload
from kernel.protocol.enums import GONE_TEXTS
from kernel.protocol.errors import BadMessage, ImageGone
from kernel.protocol.ids import ImageId
from kernel.views.reader import Reader
from kernel.views.rows import ImageRow


class Download:
    """Sends image files. The Manager counts a download when every byte was sent."""

    def __init__(self, bus: BusPort, reader: Reader, folder: Path, now_ms: Callable[[], int]) -> None:
        self._bus = bus
        self._reader = reader
        self._folder = folder
        self._now_ms = now_ms

    def show(self, req: falcon.Request, resp: falcon.Response, image_id: str) -> None:
        """The whole file or a range; neither HEAD nor a 304 counts."""
        row = find_seen_image(self._reader, caller_of(req), image_id)
        gone = gone_of(row, self._now_ms())
        if gone is not None:
            raise ImageGone(GONE_TEXTS[gone.reason])
        if is_known(req.get_header("If-None-Match"), row.sha256):
            tag(resp, row.sha256)
            resp.status = 304
        elif req.method == "HEAD":
            _describe(resp, row, row.size_bytes)
        else:
            self._hand_out(req, resp, row)

    def _hand_out(self, req: falcon.Request, resp: falcon.Response, row: ImageRow) -> None:
        granted = self._bus.ask(ClaimDownload(image_id=row.image_id), DownloadGranted)
        give_back = self._giving_back(row.image_id, granted)
        try:
            file = self._folder / plain_name(granted.file_name)
            part = _part_for(req, row, file.stat().st_size, is_limited=granted.is_limited)
            stream = FileStream(file, part, lambda all_sent: give_back(all_sent and part.is_whole))
        except FileNotFoundError as error:
            give_back(False)
            raise ImageGone(f"the file of image {row.image_id} no longer exists") from error
        except RangeNotSatisfiable:
            give_back(False)
            resp.set_header("Content-Range", f"bytes */{row.size_bytes}")
            raise
        except (BadMessage, OSError):
            give_back(False)
            raise
        resp.stream = stream
        _describe(resp, row, part.length)
        if not part.is_whole:
            resp.status = 206
            resp.set_header("Content-Range", part.content_range)

    def _giving_back(self, image_id: ImageId, granted: DownloadGranted) -> Callable[[bool], None]:
        def give_back(whole: bool) -> None:
            self._bus.tell(FinishDownload(image_id=image_id, ticket=granted.ticket, whole=whole))

        return give_back


def _describe(resp: falcon.Response, row: ImageRow, length: int) -> None:
    tag(resp, row.sha256)
    describe(resp, row.mime, length, row.image_id)
    resp.set_header("Accept-Ranges", "none" if row.download_limit is not None else "bytes")


def _part_for(req: falcon.Request, row: ImageRow, size_bytes: int, *, is_limited: bool) -> Part:
    """The requested range, if the client has the rest of the same file.

    An image with limited downloads is sent whole: its parts could be put together without being counted.
    """
    if_range = req.get_header("If-Range")
    is_stale = if_range is not None and if_range != f'"{row.sha256}"'
    return part_of(None if is_limited or is_stale else req.get_header("Range"), size_bytes)
