"""How a picture's file is built, looked at before a library reads it: a few bytes can mean a lot of work.

Pillow and its decoders go through each segment of a file, and through a whole picture for each scan of a
progressive JPEG. Some hundred of them are in a file that a program made; a million of them, a few bytes each,
are minutes of work. Their number is bounded here, in time that is linear in it.
"""

from typing import Final

MAX_SEGMENTS: Final = 1_000
"""Of what is no pixel: texts, profiles, tables, thumbnails."""
MAX_IDATS: Final = 20_000
"""Pieces of the pixels of a PNG: one of 8 kB each is what the smallest encoders write."""
MAX_SCANS: Final = 100
"""A progressive JPEG has about ten."""
MAX_JUNK_BYTES: Final = 64 << 10
MOVING: Final = "must be a still image, not an animation"
_SOS: Final = b"\xff\xda"


def built_wrong(data: bytes) -> str | None:
    """What is wrong with how a PNG, JPEG or WEBP is built; None: nothing that shows from outside."""
    if data.startswith(b"\x89PNG"):
        return _png_fault(data)
    if data.startswith(b"\xff\xd8"):
        return _jpeg_fault(data)
    return MOVING if data.count(b"ANMF") > 1 and data.startswith(b"VP8X", 12) else None


def _png_fault(data: bytes) -> str | None:
    """Source: PNG (W3C), section 5.3: length, type, data, CRC."""
    at, pieces, others = 8, 0, 0
    while at + 8 <= len(data):
        kind = data[at + 4 : at + 8]
        if kind == b"acTL" and int.from_bytes(data[at + 8 : at + 12]) > 1:
            return MOVING
        pieces, others = (pieces + 1, others) if kind == b"IDAT" else (pieces, others + 1)
        if pieces > MAX_IDATS or others > MAX_SEGMENTS:
            return "has too many parts"
        at += 12 + int.from_bytes(data[at : at + 4])
    return None


def _jpeg_fault(data: bytes) -> str | None:
    """Source: ITU T.81, annex B: a marker, and behind most of them a length. Between them is nothing."""
    at, segments, junk = 2, 0, 0
    while at + 4 <= len(data):
        marker = data[at + 1]
        if data[at] != 0xFF or marker in (0x00, 0xFF):
            at, junk = at + 1, junk + 1
        elif marker == _SOS[1]:
            return "has too many scans" if data.count(_SOS, at) > MAX_SCANS else None
        else:
            has_length = marker != 0x01 and not 0xD0 <= marker <= 0xD9
            at += 2 + (int.from_bytes(data[at + 2 : at + 4]) if has_length else 0)
            segments += 1
        if segments > MAX_SEGMENTS or junk > MAX_JUNK_BYTES:
            return "has too many parts"
    return None
