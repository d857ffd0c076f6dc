"""/openapi.json and /docs: generated once, then served unchanged."""

import threading
from collections.abc import Callable
from importlib import resources
from typing import Final

import falcon

CONTENT_SECURITY_POLICY: Final = (
    "default-src 'none'; script-src 'self' 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class Documents:
    """The description of the API, for programs and for people."""

    def __init__(self) -> None:
        self._page = (resources.files("api.http") / "docs.html").read_bytes()
        self._make: Callable[[], bytes] = bytes
        self._openapi: bytes | None = None
        self._lock = threading.Lock()

    def publish(self, openapi: Callable[[], bytes]) -> None:
        """Take the function that generates the description, so that the server's start does not wait for
        it."""
        self._make, self._openapi = openapi, None

    def show_openapi(self, req: falcon.Request, resp: falcon.Response) -> None:
        with self._lock:  # the first time takes a while, and longer if several threads do it at once
            if self._openapi is None:
                self._openapi = self._make()
        resp.data = self._openapi

    def show_docs(self, req: falcon.Request, resp: falcon.Response) -> None:
        resp.data = self._page
        resp.content_type = "text/html; charset=utf-8"
        resp.set_header("Content-Security-Policy", CONTENT_SECURITY_POLICY)
