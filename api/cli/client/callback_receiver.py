"""A small receiver of callbacks on this machine, which checks their signatures, for trying them out."""

import hmac
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final

from kernel.protocol.webhooks import key_in, signature_of

HOST: Final = "127.0.0.1"
MAX_BYTES: Final = 1 << 20
"""A callback has a few kilobytes."""


@dataclass(frozen=True, slots=True)
class Arrived:
    """One callback."""

    delivery_id: str
    body: bytes
    is_genuine: bool
    """Whether it was signed with the secret."""


def open_receiver(
    port: int, tell: Callable[[Arrived], None], secret: Callable[[], str]
) -> ThreadingHTTPServer:
    """A server that tells of each callback and answers 204, or 401 for a wrong signature; port 0: a free one.

    Raises: OSError, if the port is taken.
    """

    class Handler(BaseHTTPRequestHandler):
        timeout = 10

        def do_POST(self) -> None:
            length = self.headers.get("Content-Length", "")
            size = int(length) if length.isascii() and length.isdigit() else MAX_BYTES + 1
            if size > MAX_BYTES:
                self.send_error(413)
                return
            arrived = _arrived(self.rfile.read(size), dict(self.headers.items()), secret())
            tell(arrived)
            self.send_response(204 if arrived.is_genuine else 401)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """What arrives is told of already."""

    return ThreadingHTTPServer((HOST, port), Handler)


def _arrived(body: bytes, headers: dict[str, str], secret: str) -> Arrived:
    found = {name.lower(): value for name, value in headers.items()}
    delivery_id, at_s = found.get("webhook-id", ""), found.get("webhook-timestamp", "")
    right = ""
    if at_s.isascii() and at_s.isdigit() and len(at_s) < 12:
        right = signature_of(key_in(secret), delivery_id, int(at_s), body.decode(errors="replace"))
    given = found.get("webhook-signature", "").split(" ")
    is_genuine = any(hmac.compare_digest(one.encode(), right.encode()) for one in given if right)
    return Arrived(delivery_id, body, is_genuine)
