"""Who has sent a request, and how: the connection's other end, or what the owner's proxies say of it.

Anybody can send such headers, so they count only from the addresses in `server.trusted_proxies`. In a chain
of proxies each address is believed as far as the one that reports it is trusted, from the nearest on, so the
first that is not trusted is the client. From everybody, the headers end here: nothing behind reads them.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import lru_cache
from ipaddress import ip_address, ip_network
from typing import Final

from msgspec import Struct

from api.http.framework.request_head import Head
from api.http.proxies.hops import OLDER, STANDARD, address_in, checked_host, hops_in, plain, scheme_in

PLAIN: Final = "http"
"""The scheme of what arrives here without a proxy."""
_HEADERS: Final = frozenset({STANDARD, *OLDER})


class Sender(Struct, frozen=True):
    """The client of a request."""

    address: str
    scheme: str = PLAIN
    """Which the client has used: `http` or `https`."""


class Proxies:
    """Those that the owner trusts."""

    def __init__(self, networks: Iterable[str], check_host: Callable[[str], None]) -> None:
        """`networks`: of trusted addresses. `check_host` raises the refusal of a Host header."""
        self._networks = tuple(ip_network(one) for one in networks)
        self._check_host = check_host
        self._trusts = lru_cache(maxsize=1_024)(self._is_trusted)

    def seen(self, head: Head, peer: str) -> tuple[Head, Sender]:
        """A head that came from a peer's address, as its client has sent it, and the client.

        The Host that the peer itself was sent is checked as well: a page could add these headers to requests
        of a browser on the machine of the proxy.

        Raises: Malformed, if a trusted proxy sends what cannot be read; as `check_host`.
        """
        if _HEADERS.isdisjoint(head.headers):
            return head, Sender(peer)
        headers = {name: value for name, value in head.headers.items() if name not in _HEADERS}
        if not self._trusts(peer):
            return replace(head, headers=headers), Sender(peer)
        sender, host = self._believed(head.headers, peer)
        if host is not None:
            self._check_host(headers.get("HOST", ""))
            headers["HOST"] = host
        return replace(head, headers=headers), sender

    def _believed(self, headers: Mapping[str, str], peer: str) -> tuple[Sender, str | None]:
        """The client, and the Host header that it has sent."""
        address, scheme, host = peer, PLAIN, None
        for hop in reversed(hops_in(headers)):
            scheme = scheme if hop.scheme is None else scheme_in(hop.scheme)
            host = host if hop.host is None else checked_host(hop.host)
            found = None if hop.node is None else address_in(hop.node)
            if found is None:
                break
            address = str(found)
            if not self._trusts(address):
                break
        return Sender(address, scheme), host

    def _is_trusted(self, address: str) -> bool:
        try:
            found = plain(ip_address(address))
        except ValueError:
            return False
        return any(found in network for network in self._networks)
