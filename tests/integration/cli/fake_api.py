"""A small HTTP server that answers as a test tells it to, and remembers what it was asked."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit


@dataclass(frozen=True)
class Asked:
    """One request as it arrived."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: object
    """JSON as it says, anything else as bytes."""


@dataclass(frozen=True)
class Answer:
    """One answer. A `cut` one announces more bytes than it sends."""

    status: int = 200
    body: object = None
    raw: bytes | None = None
    mime: str = "application/json"
    is_cut: bool = False

    def payload(self) -> bytes:
        if self.raw is not None:
            return self.raw
        return b"" if self.body is None else json.dumps(self.body).encode()


def _body_of(content_type: str, body: bytes) -> object:
    if not body:
        return None
    return json.loads(body) if content_type == "application/json" else body


def problem(status: int, code: str, detail: str, *fields: tuple[str, str]) -> Answer:
    body = {"status": status, "code": code, "title": detail, "detail": detail, "type": "about:blank",
            "fields": [{"field": name, "problem": text} for name, text in fields]}  # fmt: skip
    return Answer(status, body, mime="application/problem+json")


def events(*lines: str) -> Answer:
    return Answer(raw="".join(f"{line}\n" for line in lines).encode(), mime="text/event-stream")


Reply = Answer | Callable[[Asked], Answer]


@dataclass
class FakeApi:
    """Answers by method and path: each list from first to last, and then its last again."""

    url: str = ""
    routes: dict[tuple[str, str], list[Reply]] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)

    def on(self, method: str, path: str, *replies: Reply) -> None:
        self.routes[method, path] = list(replies)

    def answer(self, asked: Asked) -> Answer:
        self.asked.append(asked)
        replies = self.routes.get((asked.method, asked.path))
        if not replies:
            return problem(404, "not_found", f"there is nothing at {asked.path}")
        reply = replies.pop(0) if len(replies) > 1 else replies[0]
        return reply if isinstance(reply, Answer) else reply(asked)

    def sent(self, method: str, path: str) -> list[Asked]:
        return [one for one in self.asked if (one.method, one.path) == (method, path)]


@contextmanager
def running() -> Iterator[FakeApi]:
    fake = FakeApi()

    class Handler(BaseHTTPRequestHandler):
        def _handle(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = self.rfile.read(length)
            parts = urlsplit(self.path)
            headers = {name.lower(): value for name, value in self.headers.items()}
            asked = Asked(
                self.command,
                parts.path,
                dict(parse_qsl(parts.query)),
                headers,
                _body_of(headers.get("content-type", ""), body),
            )
            answer = fake.answer(asked)
            payload = answer.payload()
            self.send_response(answer.status)
            self.send_header("Content-Type", answer.mime)
            self.send_header("Content-Length", str(len(payload) + (100 if answer.is_cut else 0)))
            self.end_headers()
            self.wfile.write(payload)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _handle  # noqa: N815 (names that http.server asks for)

        def log_message(self, *args: object) -> None:
            del args

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        fake.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield fake
        finally:
            server.shutdown()
            thread.join()
