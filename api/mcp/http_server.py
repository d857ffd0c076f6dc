"""Serves MCP by Streamable HTTP, from this process."""

import socket
from collections.abc import Sequence
from ipaddress import ip_address
from types import TracebackType
from typing import Final

import uvicorn
from mcp.server.transport_security import TransportSecuritySettings

from api.mcp.server import SpoonMcp

PATH: Final = "/mcp"
_GOODBYE_S: Final = 5
"""For the answers that are being given when this process is to end."""


class Listener:
    """An address that is taken, before anything is served there."""

    def __init__(self, host: str, port: int) -> None:
        """Raises: OSError, if the address is not of this machine or somebody has it."""
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        self._socket = socket.create_server(address[:2], family=family)

    def __enter__(self) -> "Listener":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        return ip_address(self._socket.getsockname()[0]).is_loopback

    @property
    def url(self) -> str:
        """The URL for clients."""
        host, port = self._socket.getsockname()[:2]
        return f"http://{f'[{host}]' if ':' in host else host}:{port}{PATH}"

    def serve(self, server: SpoonMcp, allowed_hosts: Sequence[str]) -> None:
        """Serve until a signal ends the process. `allowed_hosts`: further names of this machine."""
        app = server.streamable_http_app(
            streamable_http_path=PATH, transport_security=self._guard(allowed_hosts)
        )
        config = uvicorn.Config(app, log_config=None, access_log=False, timeout_graceful_shutdown=_GOODBYE_S)
        uvicorn.Server(config).run(sockets=[self._socket])

    def _guard(self, allowed_hosts: Sequence[str]) -> TransportSecuritySettings:
        """Other sites' names for this address, and their pages, are refused (DNS rebinding)."""
        host, port = self._socket.getsockname()[:2]
        own = {host, "127.0.0.1", "localhost", "::1"}
        names = {f"[{name}]" if ":" in name else name for name in own}
        hosts = sorted({f"{name}:{port}" for name in names} | {*allowed_hosts})
        hosts += [f"{name}:{port}" for name in allowed_hosts]
        return TransportSecuritySettings(
            allowed_hosts=hosts,
            allowed_origins=[f"{scheme}://{one}" for one in hosts for scheme in ("http", "https")],
        )
