"""The only way out: every connection of a fetch worker is made here, to an address that the guard allows."""

from collections.abc import Iterable

import httpcore

from engine_worker.fetch.net.address_policy import AddressPolicy, Unreachable

SocketOption = tuple[int, int, int] | tuple[int, int, bytes | bytearray] | tuple[int, int, None, int]


class GuardedBackend(httpcore.NetworkBackend):
    """Connects to addresses, never to names, and looks who is at the other end of a connected socket."""

    def __init__(self, guard: AddressPolicy, inner: httpcore.NetworkBackend) -> None:
        self._guard = guard
        self._inner = inner

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[SocketOption] | None = None,
    ) -> httpcore.NetworkStream:
        """A connection to the first address of the host that answers.

        Raises: Unreachable; httpcore.ConnectError, httpcore.ConnectTimeout, if none answers.
        """
        failure: Exception | None = None
        for address in self._guard.addresses(host, port):
            try:
                stream = self._inner.connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
                continue
            self._check(host, port, stream)
            return stream
        raise failure or Unreachable(f"{host} has no address")

    def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,
        socket_options: Iterable[SocketOption] | None = None,
    ) -> httpcore.NetworkStream:
        """Raises: Unreachable, always."""
        raise Unreachable("models cannot be downloaded from a Unix socket")

    def _check(self, host: str, port: int, stream: httpcore.NetworkStream) -> None:
        """Source: getpeername(2), which tells what is connected, whatever was asked for."""
        peer = stream.get_extra_info("server_addr")
        if not self._guard.may_reach(host, port, str(peer[0])):
            stream.close()
            raise Unreachable(f"{host} resolved to an address that is not allowed")
