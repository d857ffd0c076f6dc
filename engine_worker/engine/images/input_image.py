"""Decodes untrusted input images and scales them to the size of the job.

A file may be malicious, so its size is checked before any pixel is decoded, only a few formats are accepted,
and every defect becomes the same kind of error.
"""

import struct
import zlib
from dataclasses import dataclass
from io import BytesIO
from typing import Final

import numpy as np
from PIL import Image, ImageChops, ImageCms, ImageOps

from kernel.protocol.enums import ImageFit, MaskMode
from kernel.protocol.errors import JobRejected

MAX_INPUT_PIXELS: Final = 64 << 20
"""8192 x 8192, which take 256 MiB decoded; more than any phone's camera produces."""

_FORMATS: Final = ("PNG", "JPEG", "WEBP")
_DEEP_GRAY: Final = ("I;16", "I;16L", "I;16B", "I;16N")
_OPAQUE: Final = 255
MAX_PROFILE_BYTES: Final = 4 << 20
"""A color profile of a printing process has 0.5 to 2 MB."""
_PROFILED_MODES: Final = {"CMYK": "CMYK", **dict.fromkeys(("1", "L", "LA", *_DEEP_GRAY), "L")}
"""The mode in which a profile applies, by the mode of the file; else RGB."""
_SPACES: Final = {"CMYK": "CMYK", "L": "GRAY", "RGB": "RGB"}
"""The names of color spaces in profiles (ICC.1, table 19), by the mode."""
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


@dataclass(frozen=True, slots=True)
class Reference:
    """A reference image: RGB in sRGB, upright, transparent parts over white."""

    image: Image.Image
    alpha: Image.Image | None
    """One channel (L), 0 where it is transparent; None if nothing is."""
    warnings: tuple[str, ...] = ()


def decode_image(data: bytes, name: str, max_pixels: int = MAX_INPUT_PIXELS) -> Image.Image:
    """Decode an image to RGB, upright; transparent parts become white.

    `name` is used in error messages, such as "reference image".
    Raises: JobRejected, if it is not a PNG, JPEG or WEBP file, is damaged, or has too many pixels.
    """
    return _laid_on(_eight_bits(_decode(data, name, max_pixels)), _WHITE)


def decode_reference(data: bytes, name: str, max_pixels: int = MAX_INPUT_PIXELS) -> Reference:
    """Decode an image whose colors matter: an embedded color profile is converted to sRGB, or if it cannot be
    used, ignored with a warning.

    Raises: JobRejected, as `decode_image`.
    """
    decoded = _decode(data, name, max_pixels)
    image, warnings = _eight_bits(decoded), list[str]()
    try:
        image = _in_srgb(decoded, image)
    except (*_BROKEN, ImageCms.PyCMSError) as error:
        warnings.append(f"the color profile of the {name} was ignored: {error}")
    alpha = image.getchannel("A") if image.mode == "RGBA" else None
    if alpha is not None and alpha.getextrema()[0] == _OPAQUE:
        alpha = None
    return Reference(_laid_on(image, _WHITE), alpha, tuple(warnings))


def decode_mask(
    data: bytes, name: str, mode: MaskMode = MaskMode.LUMINANCE, max_pixels: int = MAX_INPUT_PIXELS
) -> Image.Image:
    """Decode a mask to one channel (L), upright: 255 where it is to be repainted.

    Raises: JobRejected, as `decode_image`.
    """
    image = _eight_bits(_decode(data, name, max_pixels))
    match mode:
        case MaskMode.LUMINANCE:
            return _laid_on(image, _BLACK).convert("L")
        case MaskMode.INVERTED:
            return ImageChops.invert(_laid_on(image, _BLACK).convert("L"))
        case MaskMode.ALPHA:
            return ImageChops.invert(image.convert("RGBA").getchannel("A"))


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
    """Upright, in the mode of the file."""
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
        return _upright(image)
    except _BROKEN as error:
        raise JobRejected(f"the {name} is a damaged {image.format} file: {error}") from error


def _upright(image: Image.Image) -> Image.Image:
    """Rotated by its Exif orientation; unchanged if its Exif block cannot be read."""
    try:
        return ImageOps.exif_transpose(image)
    except _BROKEN:
        return image


def _eight_bits(image: Image.Image) -> Image.Image:
    """In RGB, or RGBA if any of it may be transparent."""
    if image.mode in _DEEP_GRAY:
        # Pillow clips here instead of scaling, in some versions.
        image = Image.fromarray((np.asarray(image, dtype=np.uint16) >> 8).astype(np.uint8))
    return image.convert("RGBA" if image.has_transparency_data else "RGB")


def _in_srgb(image: Image.Image, plain: Image.Image) -> Image.Image:
    """`plain`, which is the image in RGB or RGBA, with its colors as the image's own profile means them.

    Raises: ValueError, PyCMSError and those of `_BROKEN`, if the profile cannot be used.
    """
    data = image.info.get("icc_profile")
    if not data:
        return plain
    if len(data) > MAX_PROFILE_BYTES:
        raise ValueError(f"it has more than {MAX_PROFILE_BYTES} bytes")
    profile = ImageCms.ImageCmsProfile(BytesIO(data))
    if ImageCms.getProfileDescription(profile).startswith("sRGB"):
        return plain
    space, mode = profile.profile.xcolor_space.strip(), _PROFILED_MODES.get(image.mode, "RGB")
    if space != _SPACES[mode]:
        raise ValueError(f"it is for {space}, the image is {_SPACES[mode]}")
    colors = image if image.mode == mode else plain.convert(mode)
    converted = ImageCms.profileToProfile(colors, profile, ImageCms.createProfile("sRGB"), outputMode="RGB")
    assert converted is not None, "it is not converted in place"
    if plain.mode == "RGBA":
        converted.putalpha(plain.getchannel("A"))
    return converted


def _laid_on(image: Image.Image, color: tuple[int, int, int, int]) -> Image.Image:
    if image.mode != "RGBA":
        return image
    return Image.alpha_composite(Image.new("RGBA", image.size, color), image).convert("RGB")
