"""Previews are small whatever the image is."""

from io import BytesIO
from random import Random

import pytest
from PIL import Image

from api.mcp.previews import MAX_BYTES, MAX_SIDE_PX, preview_of


def file_of(image: Image.Image, kind: str = "PNG") -> bytes:
    file = BytesIO()
    image.save(file, kind)
    return file.getvalue()


def noise(width_px: int, height_px: int) -> Image.Image:
    """What compresses worst."""
    return Image.frombytes("RGB", (width_px, height_px), Random(7).randbytes(width_px * height_px * 3))


def opened(file: bytes) -> Image.Image:
    return Image.open(BytesIO(file))


@pytest.mark.parametrize(
    ("size", "shown"), [((3000, 1500), (1568, 784)), ((16, 4000), (6, 1568)), ((64, 64), (64, 64))]
)
def test_a_large_image_is_scaled_down_and_a_small_one_is_not(
    size: tuple[int, int], shown: tuple[int, int]
) -> None:
    made = opened(preview_of(file_of(Image.new("RGB", size, "red"))))
    assert (made.format, made.size) == ("JPEG", shown)
    assert max(made.size) <= MAX_SIDE_PX


@pytest.mark.parametrize("limit_bytes", [MAX_BYTES, MAX_BYTES // 4, 5_000])
def test_noise_stays_within_the_bytes(limit_bytes: int) -> None:
    made = preview_of(file_of(noise(1600, 1200)), limit_bytes)
    assert len(made) <= limit_bytes
    width_px, height_px = opened(made).size
    assert width_px / height_px == pytest.approx(4 / 3, rel=0.05)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "L", "1"])
def test_every_mode_is_shown_and_what_is_transparent_is_white(mode: str) -> None:
    clear = Image.new("RGBA", (64, 64), (255, 0, 0, 0))
    image = clear.convert(mode)
    if mode == "P":
        image.info["transparency"] = image.getpixel((0, 0))
    shown = opened(preview_of(file_of(image)))
    assert shown.mode == "RGB"
    if mode in ("RGBA", "LA", "P"):
        assert shown.getpixel((32, 32)) == (255, 255, 255)


def test_what_is_no_image_is_refused() -> None:
    with pytest.raises(OSError, match="cannot identify"):
        preview_of(b"{}")
