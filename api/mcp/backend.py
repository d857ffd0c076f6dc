"""The server that the tools work on: whose key a request of a host has, and how its repetitions are told."""

import hashlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from mcp.server.mcpserver import Context

from api.cli.client.rest import Rest
from kernel.protocol.errors import KeyMissing

_BEARER: Final = "bearer"
_SESSION: Final = "mcp-session-id"


@dataclass(frozen=True, slots=True)
class Backend:
    """`key` is this process's own. It counts on stdio alone: over HTTP every client sends its key, so that
    nobody who reaches the port acts in the name of whoever started the process."""

    url: Callable[[], str]
    key: str | None = None
    folders: tuple[Path, ...] = ()
    """Local files may be read in these, on stdio."""
    process: str = field(default_factory=lambda: secrets.token_hex(16))

    def rest(self, context: Context) -> Rest:
        """A client of the REST API with the key of this request, to be closed. Raises: KeyMissing."""
        headers = context.headers
        return Rest(self.url(), key=self.key if headers is None else bearer(headers.get("authorization")))

    def idempotency_key(self, context: Context) -> str:
        """The same for a request that a host sends again within its session, and for no other.

        Newer hosts have no sessions over HTTP, and count their requests from 1 like all others: then it only
        covers what this process sends again itself.
        """
        headers = context.headers
        session = self.process if headers is None else headers.get(_SESSION)
        if session is None:
            return f"mcp-{secrets.token_hex(16)}"
        digest = hashlib.sha256(f"{session}:{context.request_id}".encode()).hexdigest()
        return f"mcp-{digest[:32]}"


def bearer(header: str | None) -> str | None:
    """The API key in an Authorization header. Raises: KeyMissing, if it has another scheme or no key."""
    if header is None:
        return None
    scheme, _, key = header.strip().partition(" ")
    if scheme.lower() != _BEARER or not (key.isascii() and key.isprintable() and " " not in key and key):
        raise KeyMissing("the Authorization header must be: Bearer KEY, with an API key of the server")
    return key
