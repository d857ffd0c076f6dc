"""An internet of a few hosts: names and addresses as a test says, all of them served by one local site."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpcore

PUBLIC = "93.184.215.14"
OTHER = "151.101.1.6"


@dataclass
class Names:
    """A resolver. A name that has several answers gives one after the other, as one that rebinds does."""

    known: dict[str, list[tuple[str, ...]]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def resolve(self, host: str, port: int) -> Sequence[str]:
        self.asked.append(host)
        answers = self.known.get(host)
        if not answers:
            raise OSError("no such host")
        return answers.pop(0) if len(answers) > 1 else answers[0]


class _Stream(httpcore.NetworkStream):
    """A connection to the site that looks as if it led to another address."""

    def __init__(self, inner: httpcore.NetworkStream, address: str, port: int) -> None:
        self._inner = inner
        self._peer = (address, port)

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._inner.read(max_bytes, timeout)

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._inner.write(buffer, timeout)

    def close(self) -> None:
        self._inner.close()

    def start_tls(self, *args: Any, **kwargs: Any) -> httpcore.NetworkStream:
        return self  # tests speak in the open under both schemes

    def get_extra_info(self, info: str) -> Any:
        return self._peer if info == "server_addr" else self._inner.get_extra_info(info)


@dataclass
class Internet(httpcore.NetworkBackend):
    """Connects to the site whatever address is asked for, and remembers which."""

    site_port: int
    connected: list[str] = field(default_factory=list)
    really: dict[str, str] = field(default_factory=dict)
    """By address: who is at the other end in truth."""

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        self.connected.append(host)
        inner = httpcore.SyncBackend().connect_tcp("127.0.0.1", self.site_port, timeout)
        return _Stream(inner, self.really.get(host, host), port)
