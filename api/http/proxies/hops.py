"""Parses what proxies say of a request: `Forwarded` (RFC 7239) and the older `X-Forwarded-*`.

Each proxy appends to the list what it has seen, so the end of a list is the nearest proxy's, and its
beginning is the client's to write. Whether anything of it is believed, `api.http.proxies.sender` decides.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

from api.http.contract.errors import Malformed
from api.http.contract.host_header import MAX_PORT, host_in

STANDARD: Final = "FORWARDED"
FOR: Final = "X_FORWARDED_FOR"
PROTO: Final = "X_FORWARDED_PROTO"
HOST: Final = "X_FORWARDED_HOST"
OLDER: Final = (FOR, PROTO, HOST)
SCHEMES: Final = frozenset({"http", "https"})

_BLANKS: Final = " \t"
_PAIR: Final = re.compile(
    r"(?P<name>[!#$%&'*+\-.^_`|~0-9A-Za-z]+)="
    r"(?:(?P<token>[!#$%&'*+\-.^_`|~0-9A-Za-z]+)|\"(?P<quoted>(?:[^\"\\]|\\.)*)\")"
)
_NODE: Final = re.compile(
    r"(?P<v4>[0-9.]+)(?::(?P<port4>[0-9]{1,5}|_[\w.-]+))?"
    r"|\[(?P<v6>[0-9A-Fa-f]*:[0-9A-Fa-f:.]+)\](?::(?P<port6>[0-9]{1,5}|_[\w.-]+))?",
    re.ASCII,
)
_NAMELESS: Final = re.compile(r"unknown(?::.*)?|_[\w.-]+(?::.*)?", re.ASCII | re.IGNORECASE)
"""A client whose address its proxy does not know, or does not tell (RFC 7239 6.2, 6.3)."""


@dataclass(frozen=True, slots=True)
class Hop:
    """What one proxy says of the side that it was asked by; None: it does not say. Nothing is checked."""

    node: str | None = None
    """The address, perhaps with a port."""
    scheme: str | None = None
    host: str | None = None
    """The Host header that it was sent."""


def hops_in(headers: Mapping[str, str]) -> list[Hop]:
    """The hops in the headers, named as in `api.http.framework.request_head.Head`; the nearest is the last.

    Raises: Malformed, if `Forwarded` cannot be read, or both kinds of headers are there: a proxy writes one
    of them, and what it leaves of the other is the client's.
    """
    if STANDARD not in headers:
        return _older_hops(headers)
    if any(name in headers for name in OLDER):
        raise Malformed(
            "both Forwarded and X-Forwarded-* are there: the proxy must remove the one that it does not write"
        )
    return [_hop(pairs) for pairs in _elements(headers[STANDARD])]


def address_in(node: str) -> IPv4Address | IPv6Address | None:
    """The address of a hop, with or without a port; None, if the proxy does not tell.

    Raises: Malformed.
    """
    if _NAMELESS.fullmatch(node):
        return None
    found = _NODE.fullmatch(node)
    text = node if found is None else found["v4"] or found["v6"]
    port = "" if found is None else found["port4"] or found["port6"] or ""
    if "%" in text or (port.isdigit() and int(port) > MAX_PORT):
        raise Malformed("a forwarded address must be an IP address, optionally with a port")
    try:
        return plain(ip_address(text))
    except ValueError as error:
        raise Malformed("a forwarded address must be an IP address, optionally with a port") from error


def plain(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """An IPv4 address that is written as one of IPv6, as itself."""
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return address if mapped is None else mapped


def scheme_in(text: str) -> str:
    """Raises: Malformed."""
    if (scheme := text.lower()) not in SCHEMES:
        raise Malformed("the forwarded scheme must be http or https")
    return scheme


def checked_host(text: str) -> str:
    """Raises: Malformed."""
    if host_in(text) is None:
        raise Malformed("the forwarded host must be a host, optionally with a port")
    return text


def _older_hops(headers: Mapping[str, str]) -> list[Hop]:
    """Lists of one value are as old as the headers: then it is the nearest proxy's, for all hops."""
    nodes, schemes, hosts = (_values(headers.get(name, "")) for name in OLDER)
    count = max(len(nodes), 1 if schemes or hosts else 0)
    return [
        Hop(_back(nodes, back), _nearest(schemes, back), _nearest(hosts, back))
        for back in range(count, 0, -1)
    ]


def _values(text: str) -> list[str]:
    return [value for part in text.split(",") if (value := part.strip(_BLANKS))]


def _back(values: list[str], back: int) -> str | None:
    """The value that is so far from the end; the last one is 1 from it."""
    return values[-back] if back <= len(values) else None


def _nearest(values: list[str], back: int) -> str | None:
    return _back(values, min(back, len(values))) if values else None


def _hop(pairs: Mapping[str, str]) -> Hop:
    return Hop(pairs.get("for"), pairs.get("proto"), pairs.get("host"))


def _elements(text: str) -> list[dict[str, str]]:
    """The elements of a Forwarded header, each with its parameters. Raises: Malformed."""
    elements: list[dict[str, str]] = [{}]
    at = 0
    while at < len(text):
        if text[at] in _BLANKS:
            at += 1
        elif text[at] == ",":
            elements.append({})
            at += 1
        else:
            at = _parameter(text, at, elements[-1])
    return [one for one in elements if one]


def _parameter(text: str, at: int, element: dict[str, str]) -> int:
    """Read a parameter and the semicolon after it. Returns: where the next begins. Raises: Malformed."""
    found = _PAIR.match(text, at)
    if found is None or (name := found["name"].lower()) in element:
        raise Malformed("Forwarded must be a list as in RFC 7239, such as for=192.0.2.1;proto=https")
    token, quoted = found["token"], found["quoted"]
    element[name] = token if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
    end = found.end()
    while text[end : end + 1] in (" ", "\t"):
        end += 1
    if end < len(text) and text[end] not in ",;":
        raise Malformed("Forwarded must have a comma or a semicolon between its parameters")
    return end + 1 if text[end : end + 1] == ";" else end
