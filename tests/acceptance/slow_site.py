"""A web server that sends one file and stops in the middle of it until the test lets it go on."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

ETAG = '"the-one-and-only"'


@dataclass
class SlowSite:
    """`ranges` are what was asked for: None is the whole."""

    data: bytes
    pause_at: int
    port: int = 0
    ranges: list[str | None] = field(default_factory=list)
    is_paused: threading.Event = field(default_factory=threading.Event)
    may_go_on: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/slow.safetensors?key=secret-of-the-user"


@contextmanager
def slow_site(data: bytes, pause_at: int) -> Iterator[SlowSite]:
    """A site on a free port, gone afterwards."""
    site = SlowSite(data, pause_at)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            wanted = self.headers.get("Range")
            site.ranges.append(wanted)
            start = 0 if wanted is None else int(wanted.removeprefix("bytes=").removesuffix("-"))
            self.send_response(200 if wanted is None else 206)
            self.send_header("ETag", ETAG)
            self.send_header("Content-Length", str(len(data) - start))
            if wanted is not None:
                self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
            self.end_headers()
            try:
                self._send(start)
            except OSError:
                self.close_connection = True

        def _send(self, start: int) -> None:
            if start < pause_at:
                self.wfile.write(data[start:pause_at])
                self.wfile.flush()
                site.is_paused.set()
                site.may_go_on.wait(60.0)
            self.wfile.write(data[max(start, pause_at) :])

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name upstairs
            """Nothing: the test looks at the ranges."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    site.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield site
    finally:
        site.may_go_on.set()
        server.shutdown()
        server.server_close()
        thread.join()
