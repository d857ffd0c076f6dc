"""Makes a small copy of an image: pixels alone, without the texts that tell how it was made."""

import struct
import zlib
from io import BytesIO
from pathlib import Path
from typing import Final

MOST_PIXELS: Final = 8_192 * 8_192
QUALITY: Final = 80
_FORMATS: Final = ("PNG", "JPEG", "WEBP")
_BROKEN: Final = (SyntaxError, ValueError, EOFError, LookupError, TypeError, struct.error, zlib.error)
"""Exceptions of Pillow's readers at damaged files, beside OSError."""


class UnreadableImage(Exception):
    """The file is not an image, damaged, or too large to be decoded."""


def thumbnail_of(file: Path, side_px: int) -> bytes:
    """A WebP whose longest side has at most `side_px` pixels; a smaller image keeps its size.

    Raises: FileNotFoundError; UnreadableImage.
    """
    from PIL import Image

    data = file.read_bytes()
    try:
        with Image.open(BytesIO(data), formats=_FORMATS) as image:
            if image.width * image.height > MOST_PIXELS:
                raise UnreadableImage("it has too many pixels")
            image.draft("RGB", (side_px, side_px))  # a JPEG is decoded no larger than needed
            has_alpha = "A" in image.getbands() or "transparency" in image.info
            small = image.convert("RGBA" if has_alpha else "RGB")
        small.thumbnail((side_px, side_px), Image.Resampling.LANCZOS, reducing_gap=2.0)
        made = BytesIO()
        small.save(made, "WEBP", quality=QUALITY, method=4)
    except (OSError, Image.DecompressionBombError, Image.DecompressionBombWarning, *_BROKEN) as error:
        raise UnreadableImage(f"{type(error).__name__}: {error}") from error
    return made.getvalue()
