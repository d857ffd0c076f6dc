"""Pictures that come in: out of base64, and looked at before anything else sees them.

They are read from memory only and never written again: what a worker gets are the client's own bytes.
"""

import binascii
import re
import struct
import zlib
from io import BytesIO
from typing import TYPE_CHECKING, Final

from api.http.framework.image_file_check import MOVING, built_wrong

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile

MIN_SIDE_PX: Final = 16
MAX_SIDE_PX: Final = 8_192
SPARE_FACTOR: Final = 4
"""A picture that comes in may have so many times the pixels of one that is drawn: it is scaled down before
anything is computed, and a camera's 12 megapixels go in where 4 come out."""

_FORMATS: Final = ("PNG", "JPEG", "WEBP")
_DATA_URL: Final = re.compile(r"\s*data:[^,]{0,200};base64,", re.IGNORECASE)
_ALPHABET: Final = bytes.maketrans(b"-_", b"+/")
_BLANKS: Final = b" \t\n\v\f\r"
_BROKEN: Final = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    LookupError,
    TypeError,
    struct.error,
    zlib.error,
)
"""What Pillow's readers raise at files that are cut off or were damaged with care."""
_MIMES: Final = (
    ("image/png", b"\x89PNG\r\n\x1a\n", b""),
    ("image/jpeg", b"\xff\xd8\xff", b""),
    ("image/webp", b"RIFF", b"WEBP"),
)
"""The media type, how such a file begins, and what stands at its eighth byte."""


def most_pixels(max_pixels: int) -> int:
    """How many pixels a picture may have that comes in."""
    return SPARE_FACTOR * max_pixels


def from_base64(text: str) -> bytes:
    """The bytes of a base64 text, plain or as a data: URL; in either alphabet, over several lines or not.

    Raises: ValueError, if it is none.
    """
    head = _DATA_URL.match(text)
    body = text[head.end() :] if head else text
    try:
        return binascii.a2b_base64(body, strict_mode=True)  # as most write it, and without a copy of it
    except ValueError:
        return _from_any_base64(body)


def _from_any_base64(text: str) -> bytes:
    try:
        plain = text.encode("ascii").translate(_ALPHABET, _BLANKS).rstrip(b"=")
        return binascii.a2b_base64(plain + b"=" * (-len(plain) % 4), strict_mode=True)
    except ValueError as error:
        raise ValueError(f"must be base64: {_in_a_line(error)}") from error


def mime_of(data: bytes) -> str | None:
    """The media type that the file's first bytes tell; None: it is none of the three that are taken."""
    return next(
        (mime for mime, start, inner in _MIMES if data.startswith(start) and data.startswith(inner, 8)),
        None,
    )


def fault_of(data: bytes, max_pixels: int) -> str | None:
    """What is wrong with a picture that comes in; None: nothing.

    It must be one PNG, JPEG or WEBP picture by its header, of a size within the limits, and whole. Its size
    is read from the header first: nothing of a picture that is too large is unpacked.
    """
    if mime_of(data) is None:
        return "must be a PNG, JPEG or WebP image"
    if (fault := built_wrong(data)) is not None:
        return fault
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(BytesIO(data), formats=_FORMATS) as picture:
            return _size_fault(picture.width, picture.height, max_pixels) or _unpack(picture)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        return _too_many(max_pixels)
    except UnidentifiedImageError:
        return "is damaged: its header cannot be read"
    except _BROKEN as error:
        return f"is damaged: {_in_a_line(error)}"


def _size_fault(width_px: int, height_px: int, max_pixels: int) -> str | None:
    size = f"has {width_px} x {height_px} pixels"
    if min(width_px, height_px) < MIN_SIDE_PX:
        return f"{size}: each side must be at least {MIN_SIDE_PX}"
    if max(width_px, height_px) > MAX_SIDE_PX:
        return f"{size}: each side must be at most {MAX_SIDE_PX}"
    return f"{size}: {_too_many(max_pixels)}" if width_px * height_px > max_pixels else None


def _too_many(max_pixels: int) -> str:
    return f"an input image must have at most {max_pixels} pixels: scale it down"


def _unpack(picture: "ImageFile") -> str | None:
    """Read all of it, to see that it is whole. A JPEG is read to its end at an eighth of its size."""
    is_moving: bool = picture.format != "MPO" and getattr(picture, "is_animated", False)
    if is_moving:
        return MOVING
    picture.draft(picture.mode, (1, 1))
    picture.load()
    return None


def _in_a_line(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 200 else f"{text[:197]}..."
