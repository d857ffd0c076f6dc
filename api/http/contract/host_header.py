"""Parses a Host header: a host, optionally with a port (RFC 9110 7.2, RFC 3986)."""

import re
from ipaddress import AddressValueError, IPv6Address
from typing import Final

MAX_HOST: Final = 255
"""Characters of a host name. Source: RFC 1035 2.3.4."""
MAX_PORT: Final = 65_535

_HOST: Final = re.compile(
    r"(?P<name>\[[0-9A-Fa-f:.]+\]|(?:[A-Za-z0-9._~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})+)(?::(?P<port>[0-9]*))?"
)


def host_in(text: str) -> str | None:
    """The host of `host[:port]` in lower case, an IPv6 address without its brackets; None, if it is
    malformed."""
    found = _HOST.fullmatch(text)
    if found is None or len(text) > MAX_HOST or not _is_port(found["port"]):
        return None
    name = found["name"].lower()
    if not name.startswith("["):
        return name.removesuffix(".") or None
    try:
        return str(IPv6Address(name[1:-1]))
    except AddressValueError:
        return None


def _is_port(digits: str | None) -> bool:
    return not digits or (len(digits) <= len(str(MAX_PORT)) and int(digits) <= MAX_PORT)
