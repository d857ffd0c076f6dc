"""Parses the head of a request strictly by RFC 9112, without anything that two parsers could read
differently.

A head that leaves open where a request ends, or which host it is for, is refused, and the connection closes:
a proxy in front may have read it otherwise. waitress is more lenient, so its parser of heads is not used.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final
from urllib.parse import unquote_to_bytes

from api.http.contract.errors import CodingNotSupported, Malformed, TooLarge, VersionNotSupported
from api.http.contract.host_header import host_in

MAX_HEAD_BYTES: Final = 64 << 10
MAX_FIELDS: Final = 100
MAX_LENGTH_DIGITS: Final = 15
REMEMBERED_BYTES: Final = 1_024
"""A client sends similar heads each time: short ones are cached, so that each is parsed once."""
REMEMBERED: Final = 128
SLASH: Final = "\x1f"
"""A slash within a segment of a path, as in the name owner/model: no name contains this character."""
LINE_END: Final = b"\r\n"
HEAD_END: Final = b"\r\n\r\n"

_TOKEN: Final = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_VERSION: Final = re.compile(rb"HTTP/[0-9]\.[0-9]")
_METHOD: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Z]{1,32}")
_TARGET: Final = re.compile(rb"[\x21\x22\x24-\x7e]+")
"""Visible ASCII; a fragment is never sent (RFC 9112 3.2)."""
_FIELD: Final = re.compile(rb"(" + _TOKEN + rb"):([\x21-\x7e\x80-\xff\t ]*)")
"""Blanks around the value are stripped afterwards: a regular expression would take quadratic time."""
_ESCAPED_SLASH: Final = re.compile("%2F", re.IGNORECASE)
_ABSOLUTE: Final = re.compile(r"https?://([^/?]*)(.*)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Head:
    """A request without its body. Names of headers are WSGI's: upper case, with underscores."""

    line: bytes
    method: str
    target: str
    path: str
    """Decoded to latin-1, as WSGI wants it; `%2F` is SLASH, so that it separates no segments."""
    query: str
    version: str
    headers: Mapping[str, str]
    length: int | None
    """Bytes of the body; None, if not declared."""
    is_chunked: bool
    is_last: bool
    """True if the connection closes after the response."""
    expects_continue: bool


class HeadReader:
    """Collects the bytes of one head, in linear time."""

    def __init__(self) -> None:
        self._bytes = bytearray()
        self._is_line_checked = False

    @property
    def received_bytes(self) -> int:
        return len(self._bytes)

    def take(self, data: bytes) -> tuple[int, Head | None]:
        """Take more bytes. Returns: how many of them belong to the head, and the head once it is complete.

        Raises: Malformed, VersionNotSupported, CodingNotSupported, TooLarge: as soon as it is certain.
        """
        before = len(self._bytes)
        if not before and (end := data.find(HEAD_END, 1, REMEMBERED_BYTES)) > 0 and data[0] not in LINE_END:
            self._bytes += data[:end]
            return end + len(HEAD_END), _remembered(data[:end])
        skipped = 0 if before else len(data) - len(data.lstrip(LINE_END))
        self._bytes += data[skipped : MAX_HEAD_BYTES + len(HEAD_END)]
        self._check_line(before)
        end = self._bytes.find(HEAD_END, max(0, before - len(HEAD_END)))
        if max(end, 0) > MAX_HEAD_BYTES or (end < 0 and len(self._bytes) > MAX_HEAD_BYTES):
            raise TooLarge(f"the head of a request must have at most {MAX_HEAD_BYTES} bytes")
        if end < 0:
            return len(data), None
        head = parse_head(bytes(self._bytes[:end]))
        return skipped + end + len(HEAD_END) - before, head

    def _check_line(self, before: int) -> None:
        """Check the first line as soon as it is there: it shows whether this is HTTP at all."""
        if self._is_line_checked or not self._bytes:
            return
        end = self._bytes.find(b"\n", before)
        if end >= 0:
            _check_request_line(bytes(self._bytes[: end + 1].removesuffix(LINE_END)))
            self._is_line_checked = True
        elif not _METHOD.match(self._bytes):
            raise Malformed("the first line must begin with a method, such as GET")


def parse_head(block: bytes) -> Head:
    """A complete head, without the empty line that ends it.

    Raises: Malformed, VersionNotSupported, CodingNotSupported, TooLarge.
    """
    line, *lines = block.split(LINE_END)
    method, target, version = _check_request_line(line)
    headers = _fields(lines)
    _check_host(headers.get("HOST", []), version)
    path, query, authority = _split(method, target)
    if authority is not None:  # it takes precedence over the header (RFC 9112 3.2.2)
        headers["HOST"] = [authority]
        _check_host([authority], version)
    length, is_chunked = _framing(headers, version)
    joined = {name: ", ".join(values) for name, values in headers.items()}
    return Head(
        line=line,
        method=method,
        target=target,
        path=unquote_to_bytes(_ESCAPED_SLASH.sub(SLASH, path)).decode("latin-1"),
        query=query,
        version=version,
        headers=joined,
        length=length,
        is_chunked=is_chunked,
        is_last=_is_last(version, _options(joined)),
        expects_continue=version == "1.1" and joined.get("EXPECT", "").lower() == "100-continue",
    )


_remembered: Final = lru_cache(maxsize=REMEMBERED)(parse_head)


def _is_last(version: str, options: set[str]) -> bool:
    return "close" in options or (version == "1.0" and "keep-alive" not in options)


def _check_request_line(line: bytes) -> tuple[str, str, str]:
    """Method, target and version. Raises: Malformed, VersionNotSupported."""
    parts = line.split(b" ")
    if len(parts) != 3 or not _METHOD.fullmatch(parts[0]) or not _TARGET.fullmatch(parts[1]):
        raise Malformed("the first line must be a method, a path and HTTP/1.1, separated by single spaces")
    if not _VERSION.fullmatch(parts[2]):
        raise Malformed("the first line must end with HTTP/1.1")
    version = parts[2].removeprefix(b"HTTP/").decode()
    if version not in ("1.0", "1.1"):
        raise VersionNotSupported
    return parts[0].decode(), parts[1].decode(), version


def _fields(lines: list[bytes]) -> dict[str, list[str]]:
    """The header fields, each with its values in order. Raises: Malformed, TooLarge."""
    if len(lines) > MAX_FIELDS:
        raise TooLarge(f"a request must have at most {MAX_FIELDS} header fields")
    found: dict[str, list[str]] = {}
    for line in lines:
        match = _FIELD.fullmatch(line)
        if match is None:
            raise Malformed("each header line must be a name, a colon and a value, without line folding")
        name, value = match.group(1, 2)
        if b"_" in name:
            continue  # WSGI could not tell it from the one with a hyphen
        key = name.decode().upper().replace("-", "_")
        found.setdefault(key, []).append(value.strip(b" \t").decode("latin-1"))
    return found


def _split(method: str, target: str) -> tuple[str, str, str | None]:
    """Path, query, and the authority of a target in absolute form. Raises: Malformed."""
    absolute = _ABSOLUTE.fullmatch(target)
    authority, rest = absolute.groups() if absolute else (None, target)
    path, _, query = rest.partition("?")
    if authority is not None and not path:
        path = "/"
    if not path.startswith("/") and (method, target) != ("OPTIONS", "*"):
        raise Malformed("the target must be a path that begins with /, or an absolute http:// URL")
    return path, query, authority


def _check_host(values: list[str], version: str) -> None:
    """Raises: Malformed."""
    if len(values) > 1 or (not values and version == "1.1"):
        raise Malformed("there must be exactly one Host header")
    if values and host_in(values[0]) is None:
        raise Malformed("the Host header must be a host, optionally with a port")


def _framing(headers: Mapping[str, list[str]], version: str) -> tuple[int | None, bool]:
    """The framing of the body: its length, and whether it is chunked (RFC 9112 6.1 to 6.3).

    Raises: Malformed, CodingNotSupported.
    """
    codings, lengths = headers.get("TRANSFER_ENCODING"), headers.get("CONTENT_LENGTH")
    if codings is None:
        return (None if lengths is None else _length(lengths)), False
    if lengths is not None:
        raise Malformed("send either Content-Length or Transfer-Encoding, not both")
    if version == "1.0":
        raise Malformed("HTTP/1.0 does not support Transfer-Encoding")
    if [coding.lower() for coding in codings] != ["chunked"]:
        raise CodingNotSupported
    return None, True


def _length(values: list[str]) -> int:
    """Raises: Malformed."""
    digits = values[0]
    if len(values) > 1 or not (digits.isascii() and digits.isdigit() and len(digits) <= MAX_LENGTH_DIGITS):
        raise Malformed("Content-Length must be sent once, as a decimal number of bytes")
    return int(digits)


def _options(headers: Mapping[str, str]) -> set[str]:
    """The options of the Connection header."""
    return {option.strip().lower() for option in headers.get("CONNECTION", "").split(",")}
