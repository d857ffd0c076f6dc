"""Pictures are compared byte by byte, and one of nothing is found out."""

from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from bench.product.checkpoint import Checkpoint
from bench.product.gate import References, check_different, check_picture, distance
from bench.product.job import numbered

JOB = numbered(0, 64, 8)


def png(image: Image.Image) -> bytes:
    file = BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def gradient(offset: int = 0, size_px: int = 64) -> bytes:
    grey = Image.linear_gradient("L").resize((size_px, size_px)).point(lambda value: value + offset)
    return png(Image.merge("RGB", (grey, grey, grey)))


def test_the_distance_of_two_pictures_is_that_of_their_furthest_bytes() -> None:
    image = Image.new("RGB", (64, 64), (10, 10, 10))
    other = image.copy()
    other.putpixel((3, 5), (10, 250, 10))
    assert distance(png(image), png(other)) == 240
    assert distance(png(image), png(image)) == 0


def test_pictures_of_two_sizes_are_as_far_apart_as_can_be() -> None:
    assert distance(gradient(), gradient(size_px=128)) == 255


def test_a_picture_of_something_in_its_size_is_right() -> None:
    check_picture(gradient(), JOB)


@pytest.mark.parametrize(
    "wrong", [gradient(size_px=128), png(Image.new("RGB", (64, 64)))], ids=["size", "black"]
)
def test_a_picture_of_another_size_or_of_nothing_is_wrong(wrong: bytes) -> None:
    with pytest.raises(SystemExit, match="gate failed"):
        check_picture(wrong, JOB)


def test_two_prompts_must_have_two_pictures() -> None:
    check_different(gradient(), gradient(40))
    with pytest.raises(SystemExit, match="gate failed"):
        check_different(gradient(), gradient())


def test_a_picture_may_be_one_of_255_from_its_reference(tmp_path: Path) -> None:
    references = References(Checkpoint(tmp_path))
    references.path(JOB).write_bytes(png(Image.new("RGB", (64, 64), (7, 7, 7))))
    references.check(png(Image.new("RGB", (64, 64), (8, 7, 6))), JOB)
    with pytest.raises(SystemExit, match="2 of 255"):
        references.check(png(Image.new("RGB", (64, 64), (9, 7, 7))), JOB)
