"""Decodes untrusted input images and scales them to the size of the job.

A file may be malicious, so its size is checked before any pixel is decoded, only a few formats are accepted,
and every defect becomes the same kind of error.
"""

import struct
import zlib
from io import BytesIO
from typing import Final

import numpy as np
from PIL import Image, ImageOps

from kernel.protocol.enums import ImageFit
from kernel.protocol.errors import JobRejected

MAX_INPUT_PIXELS: Final = 64 << 20
"""8192 x 8192, which take 256 MiB decoded; more than any phone's camera produces."""

_FORMATS: Final = ("PNG", "JPEG", "WEBP")
_DEEP_GRAY: Final = ("I;16", "I;16L", "I;16B", "I;16N")
_WHITE: Final = (255, 255, 255, 255)
_BLACK: Final = (0, 0, 0, 255)
# The exceptions of Pillow's decoders for truncated, inconsistent or malformed files.
_BROKEN: Final = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    EOFError,
    OverflowError,
    struct.error,
    zlib.error,
)


def decode_image(data: bytes, name: str, max_pixels: int = MAX_INPUT_PIXELS) -> Image.Image:
    """Decode an image to RGB, upright; transparent parts become white.

    `name` is used in error messages, such as "reference image".
    Raises: JobRejected, if it is not a PNG, JPEG or WEBP file, is damaged, or has too many pixels.
    """
    return _laid_on(_decode(data, name, max_pixels), _WHITE)


def decode_mask(data: bytes, name: str, max_pixels: int = MAX_INPUT_PIXELS) -> Image.Image:
    """Decode an image to one channel (L), upright: 255 where it is white, 0 where it is black or transparent.

    Raises: JobRejected, as `decode_image`.
    """
    return _laid_on(_decode(data, name, max_pixels), _BLACK).convert("L")


def fit(image: Image.Image, width_px: int, height_px: int, how: ImageFit) -> Image.Image:
    """Scale an image to that size; the bars of `pad` are black."""
    size = (width_px, height_px)
    if image.size == size:
        return image
    match how:
        case ImageFit.CROP:
            return ImageOps.fit(image, size, Image.Resampling.LANCZOS)
        case ImageFit.PAD:
            return ImageOps.pad(image, size, Image.Resampling.LANCZOS)
        case ImageFit.STRETCH:
            return image.resize(size, Image.Resampling.LANCZOS)


def _decode(data: bytes, name: str, max_pixels: int) -> Image.Image:
    """Upright, in RGB, or RGBA if any of it may be transparent."""
    try:
        image = Image.open(BytesIO(data), formats=_FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise JobRejected(f"the {name} is too large; the limit is {max_pixels:,} pixels") from error
    except _BROKEN as error:
        raise JobRejected(f"the {name} is not a PNG, JPEG or WebP file") from error
    if image.width * image.height > max_pixels:
        raise JobRejected(
            f"the {name} is too large: {image.width} x {image.height}; the limit is {max_pixels:,} pixels"
        )
    try:
        image.load()
        return _eight_bits(_upright(image))
    except _BROKEN as error:
        raise JobRejected(f"the {name} is a damaged {image.format} file: {error}") from error


def _upright(image: Image.Image) -> Image.Image:
    """Rotated by its Exif orientation; unchanged if its Exif block cannot be read."""
    try:
        return ImageOps.exif_transpose(image)
    except _BROKEN:
        return image


def _eight_bits(image: Image.Image) -> Image.Image:
    if image.mode in _DEEP_GRAY:
        # Pillow clips here instead of scaling, in some versions.
        image = Image.fromarray((np.asarray(image, dtype=np.uint16) >> 8).astype(np.uint8))
    return image.convert("RGBA" if image.has_transparency_data else "RGB")


def _laid_on(image: Image.Image, color: tuple[int, int, int, int]) -> Image.Image:
    if image.mode != "RGBA":
        return image
    return Image.alpha_composite(Image.new("RGBA", image.size, color), image).convert("RGB")
