"""Picture files: what they hold, and that no recipe is too long for one."""

from io import BytesIO

import numpy as np
import pytest
from PIL import ExifTags, Image

from engine_worker.engine.images.output_file import MIMES, color_of, encode, laid_on
from kernel.protocol.enums import ImageFileType

PIXELS = np.arange(8 * 16 * 3, dtype=np.uint8).reshape(8, 16, 3)


def test_a_png_holds_the_very_pixels_and_the_recipe_in_any_script() -> None:
    image = Image.open(BytesIO(encode(PIXELS, ImageFileType.PNG, 90, "ein Fuchs 🦊\nSteps: 1")))
    assert np.array_equal(np.array(image), PIXELS)
    assert image.info["parameters"] == "ein Fuchs 🦊\nSteps: 1"


@pytest.mark.parametrize("file_type", [ImageFileType.JPEG, ImageFileType.WEBP])
def test_quality_decides_the_size_of_the_file(file_type: ImageFileType) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    assert len(encode(noise, file_type, 20, "")) < len(encode(noise, file_type, 95, ""))


@pytest.mark.parametrize("file_type", list(ImageFileType), ids=str)
def test_a_recipe_of_any_length_finds_room(file_type: ImageFileType) -> None:
    image = Image.open(BytesIO(encode(PIXELS, file_type, 90, "word " * 40_000)))
    assert Image.MIME[image.format or ""] == MIMES[file_type]
    if file_type is not ImageFileType.PNG:
        comment = image.getexif().get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.UserComment]
        assert comment[8:].decode("utf-16-be").startswith("word word")


def test_a_recipe_that_is_cut_ends_with_a_whole_letter() -> None:
    image = Image.open(BytesIO(encode(PIXELS, ImageFileType.JPEG, 90, "x" + "🦊" * 40_000)))
    comment = image.getexif().get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.UserComment]
    assert set(comment[8:].decode("utf-16-be")) == {"x", "🦊"}


@pytest.mark.parametrize("file_type", [ImageFileType.PNG, ImageFileType.WEBP], ids=str)
def test_transparency_stays(file_type: ImageFileType) -> None:
    alpha = np.zeros((8, 16, 1), dtype=np.uint8)
    alpha[:, 4:] = 255
    pixels = np.concatenate([PIXELS, alpha], axis=2)
    image = Image.open(BytesIO(encode(pixels, file_type, 90, "")))
    assert image.mode == "RGBA"
    assert np.array_equal(np.array(image)[:, :, 3:], alpha)


def test_half_of_a_colour_is_laid_on_another() -> None:
    pixels = np.array([[[200, 100, 0, 0], [200, 100, 0, 255], [200, 100, 0, 51]]], dtype=np.uint8)
    assert laid_on(pixels, color_of("#0000ff")).tolist() == [[[0, 0, 255], [200, 100, 0], [40, 20, 204]]]
