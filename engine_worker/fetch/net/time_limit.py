"""Limits how long all of a connection may take: connecting, each byte that is sent and each that comes.

The timeouts of an HTTP library are per operation: a server that sends a byte every few seconds is never late.
"""

import ssl
import time
from collections.abc import Callable, Iterable

import httpcore

from engine_worker.fetch.net.http_client import SocketOption

Clock = Callable[[], float]
"""Monotonic seconds."""


class TimeLimit(httpcore.NetworkBackend):
    """Makes connections that end at one moment, whatever they do."""

    def __init__(self, inner: httpcore.NetworkBackend, limit_s: float, clock: Clock = time.monotonic) -> None:
        self._inner, self._clock = inner, clock
        self._until_s = clock() + limit_s

    def left_s(self, timeout: float | None) -> float:
        """How long the next operation may take: at most `timeout`. Not positive: no time is left."""
        left_s = self._until_s - self._clock()
        return left_s if timeout is None else min(timeout, left_s)

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[SocketOption] | None = None,
    ) -> httpcore.NetworkStream:
        """Raises: httpcore.ConnectTimeout, httpcore.ConnectError."""
        if (left_s := self.left_s(timeout)) <= 0:
            raise httpcore.ConnectTimeout("no time is left")
        stream = self._inner.connect_tcp(host, port, left_s, local_address, socket_options)
        return _LimitedStream(stream, self)


class _LimitedStream(httpcore.NetworkStream):
    def __init__(self, inner: httpcore.NetworkStream, limit: TimeLimit) -> None:
        self._inner, self._limit = inner, limit

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        if (left_s := self._limit.left_s(timeout)) <= 0:
            raise httpcore.ReadTimeout("no time is left")
        return self._inner.read(max_bytes, left_s)

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        if (left_s := self._limit.left_s(timeout)) <= 0:
            raise httpcore.WriteTimeout("no time is left")
        self._inner.write(buffer, left_s)

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        if (left_s := self._limit.left_s(timeout)) <= 0:
            raise httpcore.ConnectTimeout("no time is left")
        return _LimitedStream(self._inner.start_tls(ssl_context, server_hostname, left_s), self._limit)

    def get_extra_info(self, info: str) -> object:
        return self._inner.get_extra_info(info)
