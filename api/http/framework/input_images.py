"""Input images: decoded from base64, and checked before any other code sees them.

They are read from memory only and never written again: a worker gets the client's own bytes.
"""

import binascii
import re
import struct
import zlib
from io import BytesIO
from typing import TYPE_CHECKING, Final, cast

from kernel.protocol.enums import MaskMode
from kernel.protocol.masks import MASK_THRESHOLD, Size

if TYPE_CHECKING:
    from PIL import Image
    from PIL.ImageFile import ImageFile

MIN_SIDE_PX: Final = 16
MAX_SIDE_PX: Final = 8_192
SPARE_FACTOR: Final = 4
"""An input image may have this many times the pixels of an output image: it is scaled down before anything is
computed, and a camera has 12 megapixels where 4 are drawn."""

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
"""Exceptions of Pillow's readers at truncated or maliciously damaged files."""
_MIMES: Final = (
    ("image/png", b"\x89PNG\r\n\x1a\n", b""),
    ("image/jpeg", b"\xff\xd8\xff", b""),
    ("image/webp", b"RIFF", b"WEBP"),
)
"""The media type, the file's first bytes, and the bytes at offset 8."""
MAX_SEGMENTS: Final = 1_000
"""Segments without pixels: texts, profiles, tables, thumbnails."""
MAX_IDATS: Final = 20_000
"""Pixel segments of a PNG: the smallest encoders write 8 kB each."""
MAX_SCANS: Final = 100
"""A progressive JPEG has about ten."""
_LYING: Final = (5, 6, 7, 8)
"""Exif 2.32, 4.6.4: orientations whose rows are columns of the image."""
_STRIP_PX: Final = 256
"""The height of a strip of a mask: at most 8 MB in RGBA."""
MAX_JUNK_BYTES: Final = 64 << 10
MOVING: Final = "must be a still image, not an animation"
_SOS: Final = b"\xff\xda"


def most_pixels(max_pixels: int) -> int:
    """The most pixels of an input image."""
    return SPARE_FACTOR * max_pixels


def from_base64(text: str) -> bytes:
    """The bytes of a base64 text, plain or as a data: URL, in either alphabet, with or without line breaks.

    Raises: ValueError, if it is invalid.
    """
    head = _DATA_URL.match(text)
    body = text[head.end() :] if head else text
    try:
        return binascii.a2b_base64(body, strict_mode=True)  # the usual form, decoded without a copy
    except ValueError:
        return _from_any_base64(body)


def _from_any_base64(text: str) -> bytes:
    try:
        plain = text.encode("ascii").translate(_ALPHABET, _BLANKS).rstrip(b"=")
        return binascii.a2b_base64(plain + b"=" * (-len(plain) % 4), strict_mode=True)
    except ValueError as error:
        raise ValueError(f"must be base64: {_in_a_line(error)}") from error


def mime_of(data: bytes) -> str | None:
    """The media type by the file's first bytes; None, if it is none of the three that are accepted."""
    return next(
        (mime for mime, start, inner in _MIMES if data.startswith(start) and data.startswith(inner, 8)),
        None,
    )


def fault_of(data: bytes, max_pixels: int) -> str | None:
    """The problem with an input image; None, if there is none.

    It must be one complete PNG, JPEG or WEBP image, of a size within the limits. The size is read from the
    header first, so an image that is too large is not decoded.
    """
    if mime_of(data) is None:
        return "must be a PNG, JPEG or WebP image"
    if (fault := _built_wrong(data)) is not None:
        return fault
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(BytesIO(data), formats=_FORMATS) as image:
            return _size_fault(image.width, image.height, max_pixels) or _unpack(image)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        return _too_many(max_pixels)
    except UnidentifiedImageError:
        return "is damaged: its header cannot be read"
    except _BROKEN as error:
        return f"is damaged: {_in_a_line(error)}"


def upright_size(data: bytes) -> Size:
    """The size of a checked image after its Exif orientation."""
    from PIL import ExifTags, Image

    with Image.open(BytesIO(data), formats=_FORMATS) as image:
        try:
            is_lying = image.getexif().get(ExifTags.Base.Orientation) in _LYING
        except _BROKEN:
            is_lying = False
        return (image.height, image.width) if is_lying else image.size


def is_empty_mask(data: bytes, mode: MaskMode) -> bool:
    """True if no pixel of a checked image is to be repainted. Looks at a strip at a time."""
    from PIL import Image

    with Image.open(BytesIO(data), formats=_FORMATS) as image:
        image.load()
        tops = range(0, image.height, _STRIP_PX)
        strips = ((0, top, image.width, min(top + _STRIP_PX, image.height)) for top in tops)
        return not any(_has_marks(image.crop(strip), mode) for strip in strips)


def _has_marks(strip: "Image.Image", mode: MaskMode) -> bool:
    """By the values that a worker computes: transparent is black."""
    from PIL import Image

    is_clear = strip.has_transparency_data
    if mode is MaskMode.ALPHA:
        return is_clear and _least_and_most(strip.convert("RGBA").getchannel("A"))[0] < MASK_THRESHOLD
    if is_clear:
        clear = strip.convert("RGBA")
        strip = Image.alpha_composite(Image.new("RGBA", strip.size, (0, 0, 0, 255)), clear).convert("RGB")
    least, most = (
        (value >> 8 for value in _least_and_most(strip))
        if strip.mode.startswith("I;16")
        else _least_and_most(strip.convert("RGB").convert("L"))
    )
    return least < MASK_THRESHOLD if mode is MaskMode.INVERTED else most >= MASK_THRESHOLD


def _least_and_most(channel: "Image.Image") -> tuple[int, int]:
    return cast("tuple[int, int]", channel.getextrema())


def _size_fault(width_px: int, height_px: int, max_pixels: int) -> str | None:
    size = f"has {width_px} x {height_px} pixels"
    if min(width_px, height_px) < MIN_SIDE_PX:
        return f"{size}: each side must be at least {MIN_SIDE_PX}"
    if max(width_px, height_px) > MAX_SIDE_PX:
        return f"{size}: each side must be at most {MAX_SIDE_PX}"
    return f"{size}: {_too_many(max_pixels)}" if width_px * height_px > max_pixels else None


def _too_many(max_pixels: int) -> str:
    return f"an input image must have at most {max_pixels} pixels: scale it down"


def _unpack(image: "ImageFile") -> str | None:
    """Decode the whole image, to see that it is complete. A JPEG is decoded at an eighth of its size."""
    is_moving: bool = image.format != "MPO" and getattr(image, "is_animated", False)
    if is_moving:
        return MOVING
    image.draft(image.mode, (1, 1))
    image.load()
    return None


def _in_a_line(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 200 else f"{text[:197]}..."


# Pillow and its decoders go through each segment of a file, and through a whole image for each scan of a
# progressive JPEG. Ordinary files have some hundred of them; a million of them, a few bytes each, take
# minutes. Their number is checked here, in linear time.


def _built_wrong(data: bytes) -> str | None:
    """The problem with the structure of a PNG, JPEG or WEBP; None, if there is none."""
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
    """Source: ITU T.81, annex B: a marker, followed in most cases by a length, with nothing between
    segments."""
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
