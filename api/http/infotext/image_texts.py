"""Reads the texts in an image file: the text chunks of a PNG, and the Exif of a JPEG, a WebP or a PNG.

Nothing is decoded but texts, and nothing is searched for: each format is a list of pieces with their lengths,
which is walked once. A file may have only so many of them, and its texts may have only so many bytes, also
when they are decompressed. Damage ends the walk; what was found before it counts.

Sources: PNG (W3C), sections 5.3 and 11.3; ITU T.81, annex B; RFC 9649 (WebP); Exif 2.32 and TIFF 6.0.
"""

import zlib
from collections.abc import Iterator
from typing import Final

MAX_TEXT_BYTES: Final = 2 << 20
"""One text: a large workflow of ComfyUI has a tenth of it."""
MAX_ALL_BYTES: Final = 4 << 20
MAX_PIECES: Final = 50_000
"""Chunks, segments, or entries of an Exif directory."""
MAX_ENTRIES: Final = 1_000

_PNG: Final = b"\x89PNG\r\n\x1a\n"
_JPEG: Final = b"\xff\xd8\xff"
_EXIF: Final = b"Exif\x00\x00"
_NO_LENGTH: Final = frozenset({0x01, *range(0xD0, 0xDA)})
_SCAN: Final = 0xDA
_KEYWORD_BYTES: Final = 80
_DESCRIPTION, _MAKER, _MODEL, _EXIF_IFD, _COMMENT = 0x010E, 0x010F, 0x0110, 0x8769, 0x9286
_TEXT_TYPES: Final = frozenset({1, 2, 7})
"""TIFF's types of one byte each: BYTE, ASCII, UNDEFINED."""
USER_COMMENT: Final = "UserComment"
INFOTEXT: Final = "parameters"
"""The keyword of a PNG's text."""

Texts = dict[str, str]
"""Texts by their keyword or, in Exif, by the name of the field."""


def is_image(data: bytes) -> bool:
    """True for a file that `texts_in` reads."""
    return data.startswith((_PNG, _JPEG)) or (data.startswith(b"RIFF") and data.startswith(b"WEBP", 8))


def texts_in(data: bytes) -> Texts:
    """The texts of an image file, the first one of each name.

    Raises: ValueError, if they are too many or too long.
    """
    found: Texts = {}
    size_bytes = 0
    for name, text in _all_texts(data):
        size_bytes += len(text)
        if size_bytes > MAX_ALL_BYTES:
            raise ValueError(f"its texts must have at most {MAX_ALL_BYTES} bytes")
        found.setdefault(name, text)
    return found


def infotext_in(data: bytes) -> str:
    """The infotext in an image file; empty, if there is none. Raises: as `texts_in`."""
    texts = texts_in(data)
    return texts.get(INFOTEXT) or texts.get(USER_COMMENT, "")


def _all_texts(data: bytes) -> Iterator[tuple[str, str]]:
    if data.startswith(_PNG):
        return _of_png(data)
    return _of_jpeg(data) if data.startswith(_JPEG) else _of_webp(data)


def _counted(pieces: int) -> int:
    if pieces >= MAX_PIECES:
        raise ValueError("has too many parts")
    return pieces + 1


def _of_png(data: bytes) -> Iterator[tuple[str, str]]:
    at, pieces = len(_PNG), 0
    while at + 8 <= len(data):
        pieces = _counted(pieces)
        size, kind = int.from_bytes(data[at : at + 4]), data[at + 4 : at + 8]
        body = memoryview(data)[at + 8 : at + 8 + size]
        match kind:
            case b"tEXt" | b"zTXt" | b"iTXt":
                found = _png_text(kind, body)
                if found is not None:
                    yield found
            case b"eXIf":
                yield from _of_exif(bytes(body[:MAX_TEXT_BYTES]))
            case b"IEND":
                return
        at += 12 + size


def _png_text(kind: bytes, body: memoryview) -> tuple[str, str] | None:
    """The keyword and the text of a chunk; None, if it is damaged."""
    keyword, mark, _ = bytes(body[:_KEYWORD_BYTES]).partition(b"\x00")
    if not mark:
        return None
    start = len(keyword) + 1
    is_utf8, is_packed = kind == b"iTXt", kind == b"zTXt"
    if is_packed:
        start += 1  # the method, which is always deflate
    if is_utf8:
        is_packed = bytes(body[start : start + 1]) == b"\x01"
        head = bytes(body[start + 2 : start + 2 + 2 * _KEYWORD_BYTES])
        parts = head.split(b"\x00", 2)  # the language, the translated keyword
        if len(parts) < 3:
            return None
        start += 2 + len(parts[0]) + 1 + len(parts[1]) + 1
    data = _unpacked(body[start:]) if is_packed else _bounded(body[start:])
    text = data.decode("utf-8" if is_utf8 else "latin-1", errors="replace")
    return keyword.decode("latin-1"), text


def _bounded(data: memoryview) -> bytes:
    if len(data) > MAX_TEXT_BYTES:
        raise ValueError(f"a text must have at most {MAX_TEXT_BYTES} bytes")
    return bytes(data)


def _unpacked(data: memoryview) -> bytes:
    """Decompress a text, never further than it may be long."""
    unpacking = zlib.decompressobj()
    try:
        text = unpacking.decompress(_bounded(data), MAX_TEXT_BYTES + 1)
    except zlib.error:
        return b""
    return _bounded(memoryview(text))


def _of_jpeg(data: bytes) -> Iterator[tuple[str, str]]:
    at, pieces = 2, 0
    while at + 4 <= len(data) and data[at] == 0xFF:
        pieces = _counted(pieces)
        marker = data[at + 1]
        if marker == _SCAN:
            return
        size = 0 if marker in _NO_LENGTH else max(2, int.from_bytes(data[at + 2 : at + 4]))
        if marker == 0xE1 and data.startswith(_EXIF, at + 4):
            yield from _of_exif(data[at + 10 : at + 2 + size])
        at += 2 + size


def _of_webp(data: bytes) -> Iterator[tuple[str, str]]:
    at, pieces = 12, 0
    while at + 8 <= len(data):
        pieces = _counted(pieces)
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        if data.startswith(b"EXIF", at):
            yield from _of_exif(data[at + 8 : at + 8 + min(size, MAX_TEXT_BYTES)].removeprefix(_EXIF))
        at += 8 + size + size % 2


def _of_exif(data: bytes) -> Iterator[tuple[str, str]]:
    """The texts of the first directory and of the Exif directory that it refers to."""
    if data[:4] not in (b"II*\x00", b"MM\x00*"):
        return
    is_little = data.startswith(b"II")
    order = "little" if is_little else "big"

    def number(at: int, size: int) -> int:
        return int.from_bytes(data[at : at + size], "little" if is_little else "big")

    def entries(at: int) -> Iterator[tuple[int, bytes, int]]:
        """Tag, bytes of its text, and its number."""
        for entry in range(at + 2, at + 2 + 12 * min(number(at, 2), MAX_ENTRIES), 12):
            kind, count = number(entry + 2, 2), number(entry + 4, 4)
            where = entry + 8 if count <= 4 else number(entry + 8, 4)
            text = data[where : where + count] if kind in _TEXT_TYPES else b""
            yield number(entry, 2), text, number(entry + 8, 4)

    for tag, text, value in entries(number(4, 4)):
        if tag in (_DESCRIPTION, _MAKER, _MODEL):
            # ComfyUI writes `prompt:{...}` and `workflow:{...}` into fields that mean something else.
            name, _, rest = text.rstrip(b"\x00").decode("utf-8", errors="replace").partition(":")
            yield name.lower(), rest
        elif tag == _EXIF_IFD:
            for inner, comment, _ in entries(value):
                if inner == _COMMENT:
                    yield USER_COMMENT, _comment(comment, order)


def _comment(data: bytes, order: str) -> str:
    """A UserComment: eight bytes name its code. UTF-16 is found in either order of bytes."""
    code, text = data[:8], data[8:]
    if code != b"UNICODE\x00":
        return text.rstrip(b"\x00").decode("utf-8", errors="replace")
    zeros_first, zeros_second = text[0::2].count(0), text[1::2].count(0)
    if zeros_first != zeros_second:
        order = "big" if zeros_first > zeros_second else "little"
    return text.decode("utf-16-be" if order == "big" else "utf-16-le", errors="replace").rstrip("\x00")
