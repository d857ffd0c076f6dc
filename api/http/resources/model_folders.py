"""/v1/models/scan, /v1/models/scan/unusable and /v1/models/{model_id}/thumbnail: the owner's own folders."""

import os
import stat
from collections.abc import Sequence
from datetime import datetime
from io import FileIO
from pathlib import Path
from typing import Final

import falcon
import msgspec

from api.http.contract.constraints import Limit, WaitQuery
from api.http.contract.errors import NoThumbnail
from api.http.contract.request_parsing import QueryReader, refuse_key
from api.http.contract.responses import moment_or_none, send
from api.http.framework.file_headers import describe
from api.http.framework.input_images import mime_of
from api.http.resources.models import Models
from api.http.resources.waiting import Waiting
from api.port import BusPort
from kernel.process.allowed_folders import open_within
from kernel.protocol.client import Done, ScanModels
from kernel.views.models import count_unusable, last_scan, list_unusable
from kernel.views.reader import Reader

_SUBJECT: Final = "scan"
MAX_THUMBNAIL_BYTES: Final = 16 << 20
_HEAD: Final = 16


class Scan(msgspec.Struct, frozen=True, kw_only=True):
    """The last scan of models.folders, running or ended."""

    running: bool
    began_at: datetime | None
    """None: there was none yet."""
    ended_at: datetime | None
    folders: tuple[str, ...]
    absent: tuple[str, ...]
    """Folders that could not be read. Their models stay as they are."""
    files: int
    """Files and folders that may be models."""
    to_read: int
    """Those that are new or have changed; then how many of them were read."""
    read: int
    added: int
    changed: int
    moved: int
    gone: int
    unusable: int
    """Files that cannot be used: GET /v1/models/scan/unusable has the reasons."""
    error: str | None
    """Why it ended early."""


class UnusableFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file in models.folders of which there is no usable model."""

    path: str
    code: str
    reason: str


class UnusablePage(msgspec.Struct, frozen=True, kw_only=True):
    """A page of unusable files by path; `next` is the cursor of the next page."""

    items: tuple[UnusableFile, ...]
    next: str | None


class UnusableQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A page of the list."""

    limit: Limit = 50
    after: str | None = None


class ModelFolders:
    """Scan the owner's folders, show what cannot be used in them, and send the images beside models."""

    def __init__(
        self,
        bus: BusPort,
        reader: Reader,
        waiting: Waiting,
        models: Models,
        folders: Sequence[Path],
        roots: Sequence[Path],
    ) -> None:
        """`roots`: the folders that a thumbnail may be in."""
        self._bus = bus
        self._reader = reader
        self._waiting = waiting
        self._models = models
        self._folders, self._roots = tuple(map(str, folders)), tuple(roots)
        self._wait_query = QueryReader(WaitQuery)
        self._page_query = QueryReader(UnusableQuery)

    def show(self, req: falcon.Request, resp: falcon.Response) -> None:
        """With `wait`, as soon as it has ended."""
        self._answer(req, resp, self._wait_query.read(req).wait, open_status=200)

    def scan(self, req: falcon.Request, resp: falcon.Response) -> None:
        """202; with `wait` 200 once it has ended."""
        refuse_key(req)
        wait_s = self._wait_query.read(req).wait
        self._waiting.check_room(wait_s)
        self._bus.ask(ScanModels(), Done)
        self._answer(req, resp, wait_s, open_status=202)

    def list_unusable(self, req: falcon.Request, resp: falcon.Response) -> None:
        query = self._page_query.read(req)
        page = list_unusable(self._reader, query.limit, query.after)
        items = tuple(
            UnusableFile(path=row.path, code=row.code or "", reason=row.reason or "") for row in page.items
        )
        send(resp, 200, UnusablePage(items=items, next=page.next_after))

    def show_thumbnail(self, req: falcon.Request, resp: falcon.Response, model_id: str) -> None:
        """The file as it is now. A page that shows many models asks for it again and again."""
        row = self._models.find(model_id)
        path = row.thumbnail
        descriptor = None if path is None else open_within(Path(path), self._roots, stat.S_ISREG)
        if descriptor is None:
            raise NoThumbnail(f"model {row.name} has no image beside its file")
        file = FileIO(descriptor, "rb")
        size = os.fstat(descriptor).st_size
        mime = mime_of(os.pread(descriptor, _HEAD, 0))
        if mime is None or size > MAX_THUMBNAIL_BYTES:
            file.close()
            raise NoThumbnail(
                f"the image beside model {row.name} is not a PNG, JPEG or WebP of at most 16 MiB"
            )
        describe(resp, mime, size, row.model_id)
        resp.set_header("Cache-Control", "private, max-age=300")
        if req.method == "HEAD":
            file.close()
        else:
            resp.stream = file

    def _answer(
        self, req: falcon.Request, resp: falcon.Response, wait_s: float | None, open_status: int
    ) -> None:
        def look(resp: falcon.Response, is_last: bool) -> bool:
            found = self._shown()
            if found.running and not is_last:
                return False
            send(resp, open_status if found.running else 200, found)
            return True

        self._waiting.answer(req, resp, _SUBJECT, wait_s, look)

    def _shown(self) -> Scan:
        row = last_scan(self._reader)
        return Scan(
            running=row.is_running,
            began_at=moment_or_none(row.began_at_ms),
            ended_at=moment_or_none(row.ended_at_ms),
            folders=self._folders,
            absent=row.absent,
            files=row.files,
            to_read=row.to_read,
            read=row.read,
            added=row.added,
            changed=row.changed,
            moved=row.moved,
            gone=row.gone,
            unusable=count_unusable(self._reader),
            error=row.error,
        )
