"""Decides whether an IP address is public, in whatever notation it is written."""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final

_NOT_PUBLIC_V4: Final = tuple(
    map(
        IPv4Network,
        (
            "0.0.0.0/8",
            "10.0.0.0/8",
            "100.64.0.0/10",  # carrier-grade NAT; also some clouds' metadata
            "127.0.0.0/8",
            "168.63.129.16/32",  # Azure's platform services, the same for every machine there
            "169.254.0.0/16",  # link-local, and the metadata services of clouds
            "172.16.0.0/12",
            "192.0.0.0/24",
            "192.0.2.0/24",
            "192.88.99.0/24",  # 6to4 relays
            "192.168.0.0/16",
            "198.18.0.0/15",
            "198.51.100.0/24",
            "203.0.113.0/24",
            "224.0.0.0/4",
            "240.0.0.0/4",
        ),
    )
)
"""Source: the IANA registry of special IPv4 addresses, and multicast."""
_GLOBAL_V6: Final = IPv6Network("2000::/3")
_NOT_PUBLIC_V6: Final = tuple(
    map(
        IPv6Network,
        (
            "2001::/23",  # Teredo, ORCHID, benchmarks
            "2001:db8::/32",
            "2002::/16",  # 6to4, which leads to any IPv4 address
            "3fff::/20",
        ),
    )
)
"""Source: the IANA registry of special IPv6 addresses, as far as it lies in the global range."""
_NAT64: Final = IPv6Network("64:ff9b::/96")
"""RFC 6052: how IPv6-only hosts reach IPv4. The embedded address decides."""


def is_public(address: str) -> bool:
    """True if this can be a public server's address. False also for text that is not an address."""
    try:
        found = ip_address(address)
    except ValueError:
        return False
    if isinstance(found, IPv4Address):
        return not any(found in network for network in _NOT_PUBLIC_V4)
    return found.scope_id is None and _is_public_v6(found)


def _is_public_v6(address: IPv6Address) -> bool:
    """Only global unicast: excludes ::1, ::, mapped IPv4, private, link-local and multicast."""
    if address in _NAT64:
        return is_public(str(IPv4Address(address.packed[-4:])))
    is_isatap = address.packed[8:12] in (b"\x00\x00\x5e\xfe", b"\x02\x00\x5e\xfe")
    return address in _GLOBAL_V6 and not is_isatap and not any(address in one for one in _NOT_PUBLIC_V6)
