"""Requests as bytes, so that nothing of a client mends them, and what came back."""

import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import msgspec

from tests.acceptance.patience import PATIENCE_S

SAME_ID: Final = "the-same-each-time"
"""Answers to the same request are equal, to the byte, if they have this id and moment."""


@dataclass(frozen=True)
class Case:
    """A hostile request, and what is right: one of these statuses, and this code, if one is named."""

    name: str
    request: bytes
    statuses: tuple[int, ...]
    code: str | None = None


@dataclass(frozen=True)
class Answer:
    """What came back until the server hung up."""

    whole: bytes
    status: int
    body: bytes

    @property
    def code(self) -> object:
        """That of a refusal, in each of the three shapes."""
        found = msgspec.json.decode(self.body, type=dict[str, object])
        error = found.get("error")
        return found.get("code") or (error.get("code") if isinstance(error, dict) else None)


@dataclass
class Door:
    """Where a server listens, and all that it has said there."""

    port: int
    said: list[bytes] = field(default_factory=list)

    def send(self, request: bytes) -> Answer:
        """The answer to a request after which the server hangs up."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE_S) as line:
            line.sendall(request)
            return self.answer_on(line)

    def answer_on(self, line: socket.socket) -> Answer:
        """What comes on a connection until its end."""
        parts: list[bytes] = []
        while part := line.recv(65_536):
            parts.append(part)
        whole = b"".join(parts)
        self.said.append(whole)
        head, _, body = whole.partition(b"\r\n\r\n")
        return Answer(whole, int(head.split(b" ")[1]) if head else 0, body)


def request(
    method: str, target: str, *lines: str | bytes, body: object = None, host: str | None = "127.0.0.1"
) -> bytes:
    """A request with these header lines, and a body as JSON or as it is."""
    data = b"" if body is None else body if isinstance(body, bytes) else msgspec.json.encode(body)
    head = [f"{method} {target} HTTP/1.1".encode(), b"Connection: close", f"X-Request-ID: {SAME_ID}".encode()]
    head += [] if host is None else [f"Host: {host}".encode()]
    head += [line if isinstance(line, bytes) else line.encode("latin-1") for line in lines]
    if body is not None and not any(one.lower().startswith(b"content-type:") for one in head):
        head.append(b"Content-Type: application/json")
    if body is not None and not any(one.lower().startswith(b"content-length:") for one in head):
        head.append(f"Content-Length: {len(data)}".encode())
    return b"\r\n".join((*head, b"", data))


def bearer(key: str) -> str:
    return f"Authorization: Bearer {key}"


def cookie(session: str) -> str:
    return f"Cookie: spoon_session={session}"


def filled(template: str, ids: Mapping[str, str]) -> str:
    """A path with these ids in place of its variables."""
    for name, value in ids.items():
        template = template.replace(f"{{{name}}}", value)
    return template
