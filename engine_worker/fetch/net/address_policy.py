"""The hosts that this server may contact: public addresses, and private hosts that the owner allowed."""

import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from engine_worker.fetch.net.addresses import is_public
from kernel.protocol.errors import DownloadFailed

Resolve = Callable[[str, int], Sequence[str]]
"""The addresses of a host and port. Raises: OSError, if there are none."""


def resolve_by_system(host: str, port: int) -> Sequence[str]:
    """The addresses from the system's resolver.

    Raises: OSError.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return tuple(dict.fromkeys(str(entry[4][0]) for entry in found))


class Unreachable(DownloadFailed):
    """The host is unknown or not allowed: from outside the two look alike."""


@dataclass(frozen=True, slots=True)
class AddressPolicy:
    """Resolves names once per connection; the connection goes to the addresses that were checked here."""

    allow_hosts: frozenset[str] = frozenset()
    """`name` or `name:port`, in lower case."""
    resolve: Resolve = resolve_by_system
    setting: str = "models.allow_hosts"
    """Where the owner allows hosts, for messages."""

    def addresses(self, host: str, port: int) -> list[str]:
        """The allowed addresses of a host, in the resolver's order.

        Raises: Unreachable, if there are none. The message does not reveal whether this network knows the
        name.
        """
        try:
            found = self.resolve(host, port)
        except (OSError, UnicodeError):
            found = ()
        allowed = [address for address in found if self.may_reach(host, port, address)]
        if not allowed:
            raise Unreachable(
                f"{host} is unknown or has no public address: check its spelling and whether this server is "
                f"online; list a host of your own network in {self.setting}"
            )
        return allowed

    def may_reach(self, host: str, port: int, address: str) -> bool:
        """True if a connection to this name may lead to this address."""
        return self.is_own(host, port) or is_public(address)

    def is_own(self, host: str, port: int) -> bool:
        """True if the owner allowed this host."""
        name = host.lower().strip("[]").removesuffix(".")
        return name in self.allow_hosts or f"{name}:{port}" in self.allow_hosts
