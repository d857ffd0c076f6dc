"""Makes an image small enough for a model to look at: hosts count its base64 as text."""

from io import BytesIO
from typing import Final

from PIL import Image

MAX_SIDE_PX: Final = 1_568
"""Claude scales larger images down. Source: Anthropic's documentation on vision."""
MAX_BYTES: Final = 450_000
"""Of all previews of one answer: in base64 they stay below the megabyte at which hosts cut answers."""
_QUALITIES: Final = (85, 70, 50)
_LEAST_SIDE_PX: Final = 64
MIME: Final = "image/jpeg"


def preview_of(file: bytes, limit_bytes: int = MAX_BYTES) -> bytes:
    """The image as a JPEG of at most MAX_SIDE_PX and `limit_bytes`; what is transparent becomes white.

    Raises: OSError, if it is no image.
    """
    with Image.open(BytesIO(file)) as image:
        small = _opaque(image)
    side_px = MAX_SIDE_PX
    while True:
        small.thumbnail((side_px, side_px))
        for quality in _QUALITIES:
            made = _jpeg(small, quality)
            if len(made) <= limit_bytes:
                return made
        if side_px <= _LEAST_SIDE_PX:
            return made
        side_px = max(small.size) * 3 // 4


def _opaque(image: Image.Image) -> Image.Image:
    if not image.has_transparency_data:
        return image.convert("RGB")
    clear = image.convert("RGBA")
    white = Image.new("RGBA", clear.size, "white")
    return Image.alpha_composite(white, clear).convert("RGB")


def _jpeg(image: Image.Image, quality: int) -> bytes:
    file = BytesIO()
    image.save(file, "JPEG", quality=quality, optimize=True)
    return file.getvalue()
