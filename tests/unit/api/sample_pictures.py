"""Small picture files for the tests of what comes in."""

from base64 import b64encode
from io import BytesIO

from PIL import Image

SIDE_PX = 24


def picture(kind: str = "PNG", width_px: int = SIDE_PX, height_px: int = SIDE_PX, **how: object) -> bytes:
    """A picture whose pixels differ, as a file of this kind."""
    image = Image.linear_gradient("L").resize((width_px, height_px)).convert("RGB")
    file = BytesIO()
    image.save(file, kind, **how)
    return file.getvalue()


def moving(kind: str) -> bytes:
    """Two pictures in one file."""
    frames = [Image.new("RGB", (SIDE_PX, SIDE_PX), colour) for colour in ("red", "blue")]
    file = BytesIO()
    frames[0].save(file, kind, save_all=True, append_images=frames[1:])
    return file.getvalue()


def as_text(file: bytes) -> str:
    return b64encode(file).decode()


PNG = picture("PNG")
JPEG = picture("JPEG", quality=90)
WEBP = picture("WEBP")
PNG_TEXT = as_text(PNG)
