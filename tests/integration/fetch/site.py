"""A web server for tests, as good or bad as a test wants it: each path answers as its script says."""

import hashlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Script = Callable[["Handler"], None]


@dataclass
class Asked:
    """One request, as it came."""

    path: str
    headers: dict[str, str]


@dataclass
class Site:
    """The scripts by path, and everything that was asked."""

    port: int = 0
    scripts: dict[str, Script] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)

    def asked_for(self, path: str) -> list[Asked]:
        return [one for one in self.asked if one.path == path]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    site: Site

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        self.site.asked.append(
            Asked(self.path, {name.lower(): value for name, value in self.headers.items()})
        )
        script = self.site.scripts.get(path, not_found)
        try:
            script(self)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def answer(self, status: int, headers: dict[str, str], body: bytes = b"") -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    def break_off(self) -> None:
        """Hang up in the middle."""
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name upstairs
        """Nothing: the tests look at what was asked."""


def not_found(handler: Handler) -> None:
    handler.answer(404, {"Content-Length": "0"})


def etag_of(data: bytes) -> str:
    return f'"{hashlib.sha256(data).hexdigest()[:16]}"'


def file(data: bytes, *, is_strong: bool = True) -> Script:
    """A file, whole or in part, as a good server sends it."""

    def script(handler: Handler) -> None:
        etag = etag_of(data) if is_strong else "W/" + etag_of(data)
        wanted = handler.headers.get("Range")
        if wanted is None or handler.headers.get("If-Range") != etag:
            handler.answer(200, {"Content-Length": str(len(data)), "ETag": etag}, data)
            return
        start = int(wanted.removeprefix("bytes=").removesuffix("-"))
        if start >= len(data):
            handler.answer(416, {"Content-Range": f"bytes */{len(data)}", "Content-Length": "0"})
            return
        span = f"bytes {start}-{len(data) - 1}/{len(data)}"
        headers = {"Content-Length": str(len(data) - start), "Content-Range": span, "ETag": etag}
        handler.answer(206, headers, data[start:])

    return script


def breaking(data: bytes, after: int) -> Script:
    """Hangs up after so many bytes the first time, and is good from then on."""
    has_broken = threading.Event()

    def script(handler: Handler) -> None:
        if has_broken.is_set():
            file(data)(handler)
            return
        has_broken.set()
        handler.answer(200, {"Content-Length": str(len(data)), "ETag": etag_of(data)}, data[:after])
        handler.break_off()

    return script


def in_turn(*scripts: Script) -> Script:
    """One script after the other; the last one stays."""
    left = list(scripts)

    def script(handler: Handler) -> None:
        (left.pop(0) if len(left) > 1 else left[0])(handler)

    return script


def redirect(url: str, status: int = 302) -> Script:
    return lambda handler: handler.answer(status, {"Location": url, "Content-Length": "0"})


@contextmanager
def serve() -> Iterator[Site]:
    """A site on a free port of this machine."""
    site = Site()
    handler = type("SiteHandler", (Handler,), {"site": site})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    site.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield site
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
