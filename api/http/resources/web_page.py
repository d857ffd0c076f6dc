"""The web page at /: its files are read once, and served as they are to everybody; what it shows needs a key.

Nothing is built: what is in `api/web` is what the browser gets. The page's own policy allows no script, style
or request but this server's, and no text of a script ever becomes a program or markup (adr/0072).
"""

import gzip
import hashlib
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Final

import falcon

from api.http.contract.errors import NoSuchPath
from api.http.framework.file_headers import is_known

MEDIA_TYPES: Final = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
    "webmanifest": "application/manifest+json",
}
"""By the ending of a file's name; other files are not served."""
CONTENT_SECURITY_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
"""`data:` and `blob:` are previews, and images that somebody has chosen and not sent yet."""
GZIP: Final = "gzip"


@dataclass(frozen=True)
class PageFile:
    """A file of the page, and what is sent of it."""

    content: bytes
    media_type: str

    @cached_property
    def compressed(self) -> bytes:
        return gzip.compress(self.content, mtime=0)

    @cached_property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()


class WebPage:
    """The files of the page: `index.html`, and those in its folders."""

    def __init__(self) -> None:
        root = resources.files("api.web")
        self._index = _read(root / "index.html")
        self._files = {
            f"{folder.name}/{file.name}": _read(file)
            for folder in root.iterdir()
            if folder.is_dir()
            for file in folder.iterdir()
            if _ending(file) in MEDIA_TYPES
        }

    def show(self, req: falcon.Request, resp: falcon.Response) -> None:
        """The page itself."""
        resp.set_header("Content-Security-Policy", CONTENT_SECURITY_POLICY)
        resp.set_header("Referrer-Policy", "no-referrer")
        _send(req, resp, self._index)

    def show_file(self, req: falcon.Request, resp: falcon.Response, folder: str, file_name: str) -> None:
        """A script, style or picture of the page.

        Raises: NoSuchPath.
        """
        file = self._files.get(f"{folder}/{file_name}")
        if file is None:
            raise NoSuchPath
        _send(req, resp, file)


def _read(file: Traversable) -> PageFile:
    return PageFile(file.read_bytes(), MEDIA_TYPES[_ending(file)])


def _ending(file: Traversable) -> str:
    return file.name.rpartition(".")[2]


def _send(req: falcon.Request, resp: falcon.Response, file: PageFile) -> None:
    """The file, compressed for those who take it, or that nothing has changed."""
    resp.set_header("ETag", f'W/"{file.sha256}"')
    resp.set_header("Cache-Control", "no-cache")
    resp.set_header("Vary", "Accept-Encoding")
    if is_known(req.get_header("If-None-Match"), file.sha256):
        resp.status = 304
        return
    resp.content_type = file.media_type
    if GZIP in (req.get_header("Accept-Encoding") or ""):
        resp.set_header("Content-Encoding", GZIP)
        resp.data = file.compressed
    else:
        resp.data = file.content
