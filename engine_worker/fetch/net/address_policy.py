"""Whom this server may ask: public addresses, and the hosts of their own that the owner named."""

import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from engine_worker.fetch.net.addresses import is_public
from kernel.protocol.errors import DownloadFailed

Resolve = Callable[[str, int], Sequence[str]]
"""The addresses of a host and port. Raises: OSError, if there are none."""


def resolve_by_system(host: str, port: int) -> Sequence[str]:
    """What the system's resolver says.

    Raises: OSError.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return tuple(dict.fromkeys(str(entry[4][0]) for entry in found))


class Unreachable(DownloadFailed):
    """The host is unknown, or may not be asked: from outside the two look alike."""


@dataclass(frozen=True, slots=True)
class AddressPolicy:
    """Names are resolved here, once for each connection, and what is connected is what was looked at."""

    allow_hosts: frozenset[str] = frozenset()
    """`name` or `name:port`, in lower case."""
    resolve: Resolve = resolve_by_system

    def addresses(self, host: str, port: int) -> list[str]:
        """The addresses at which this host may be asked, in the resolver's order.

        Raises: Unreachable, if there are none. Nobody learns here which names this network knows.
        """
        try:
            found = self.resolve(host, port)
        except (OSError, UnicodeError):
            found = ()
        allowed = [address for address in found if self.may_reach(host, port, address)]
        if not allowed:
            raise Unreachable(
                f"{host} is unknown or has no public address: check its spelling and whether this server is "
                "online; list a host of your own network in models.allow_hosts"
            )
        return allowed

    def may_reach(self, host: str, port: int, address: str) -> bool:
        """May a connection that was asked for under this name lead to this address?"""
        return self.is_own(host, port) or is_public(address)

    def is_own(self, host: str, port: int) -> bool:
        """Did the owner name this host?"""
        name = host.lower().strip("[]").removesuffix(".")
        return name in self.allow_hosts or f"{name}:{port}" in self.allow_hosts
