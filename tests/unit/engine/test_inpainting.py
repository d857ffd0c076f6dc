"""Inpainting: mask and reference go the same way, and what is not masked stays as it is, to the byte."""

from math import exp

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from engine_worker.engine.images.inpainting import Inpainting, filled, inpainting, region_around, softened
from engine_worker.engine.images.input_image import fit
from kernel.protocol.enums import ImageFit, InpaintArea, InpaintFill, MaskMode, Scheduler
from kernel.protocol.errors import JobRejected
from kernel.protocol.specs import JobSpec

Array = npt.NDArray[np.generic]


def job(
    size: tuple[int, int] = (64, 64),
    *,
    area: InpaintArea = InpaintArea.WHOLE,
    blur: int = 4,
    padding: int | None = None,
    fill: InpaintFill = InpaintFill.ORIGINAL,
    image_fit: ImageFit | None = ImageFit.CROP,
) -> JobSpec:
    return JobSpec(
        seed=1,
        steps=1,
        guidance_scale=1.0,
        scheduler=Scheduler.EULER,
        width_px=size[0],
        height_px=size[1],
        image_fit=None if area is InpaintArea.MASKED else image_fit,
        mask_mode=MaskMode.LUMINANCE,
        mask_blur=blur,
        inpaint_area=area,
        inpaint_padding=padding,
        inpaint_fill=fill,
    )


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def mask_of(size: tuple[int, int], *boxes: tuple[int, int, int, int]) -> Image.Image:
    """White in these boxes (right and bottom are outside)."""
    mask = Image.new("L", size)
    for left, top, right, bottom in boxes:
        ImageDraw.Draw(mask).rectangle((left, top, right - 1, bottom - 1), 255)
    return mask


def drawn_for(found: Inpainting, seed: int = 9) -> Array:
    """What an engine might draw: noise of the job's size."""
    return np.asarray(noise(*found.image.size, seed))


def distance_to(mask: Image.Image) -> Array:
    """Of each pixel to the nearest marked one, along the longer axis."""
    ys, xs = np.nonzero(np.asarray(mask))
    y, x = np.indices(np.asarray(mask).shape)
    return np.min([np.maximum(abs(y - b), abs(x - a)) for b, a in zip(ys, xs, strict=True)], axis=0)


@pytest.mark.parametrize("blur", [0, 1, 4, 9])
@pytest.mark.parametrize("area", list(InpaintArea))
def test_outside_the_mask_and_its_blur_every_byte_is_the_references(area: InpaintArea, blur: int) -> None:
    reference, mask = noise(96, 80), mask_of((96, 80), (30, 20, 50, 44))
    found = inpainting(
        reference,
        mask,
        job((96, 80) if area is InpaintArea.WHOLE else (64, 64), area=area, blur=blur, padding=8),
    )
    pixels = found.overlay.over(drawn_for(found))
    changed = (pixels != np.asarray(reference)).any(axis=2)
    reach = distance_to(mask)
    assert pixels.shape == (80, 96, 3)
    assert not changed[reach > 3 * blur].any()
    assert changed[reach == 0].mean() > 0.95, "noise is seldom the same"


def test_without_blur_all_of_the_mask_is_what_was_drawn() -> None:
    reference, mask = noise(64, 64), mask_of((64, 64), (8, 8, 40, 24))
    found = inpainting(reference, mask, job(blur=0))
    drawn = drawn_for(found)
    expected = np.where(np.asarray(mask)[..., None] > 0, drawn, np.asarray(reference))
    assert np.array_equal(found.overlay.over(drawn), expected)


def gaussian(mask: Array, deviation: float) -> Array:
    """Written out: the sum over all neighbors within four deviations; the edge is repeated."""
    reach = int(4 * deviation)
    weights = np.array([exp(-(offset**2) / (2 * deviation**2)) for offset in range(-reach, reach + 1)])
    weights /= weights.sum()
    found = mask.astype(float)
    for axis in (0, 1):
        wide = np.pad(found, [(reach, reach) if axis == one else (0, 0) for one in (0, 1)], mode="edge")
        found = sum(
            weight * np.take(wide, range(offset, offset + mask.shape[axis]), axis)
            for offset, weight in enumerate(weights)
        )
    return found


@pytest.mark.parametrize("blur", [2, 4, 8])
def test_the_edge_of_a_mask_fades_as_a_gaussian(blur: int) -> None:
    mask = mask_of((96, 96), (24, 30, 70, 60))
    plain = np.asarray(mask)
    expected = np.maximum(plain, np.minimum(255, 2 * gaussian(plain, blur)))
    found = np.asarray(softened(mask, blur)).astype(float)
    assert abs(found - expected).max() < 14, "Pillow's is one of three box filters"
    assert abs(found - expected).mean() < 1.5


def test_only_the_masked_area_is_cut_drawn_and_pasted_as_written_out() -> None:
    reference, mask = noise(200, 120), mask_of((200, 120), (100, 40, 120, 70))
    found = inpainting(reference, mask, job((64, 64), area=InpaintArea.MASKED, blur=0, padding=5))
    # 30 x 40 with the padding; to be square it grows by 5 to the left and to the right.
    box = (90, 35, 130, 75)
    assert found.overlay.region.box == box
    assert np.array_equal(found.image, reference.crop(box).resize((64, 64), Image.Resampling.LANCZOS))
    cut = np.asarray(mask.crop(box).resize((64, 64), Image.Resampling.LANCZOS))
    assert np.array_equal(found.mask, np.where(cut >= 128, 255, 0))
    drawn = drawn_for(found)
    back = np.asarray(Image.fromarray(drawn).resize((40, 40), Image.Resampling.LANCZOS))
    expected = np.asarray(reference).copy()
    expected[40:70, 100:120] = back[5:35, 10:30]
    assert np.array_equal(found.overlay.over(drawn), expected)


@pytest.mark.parametrize(
    ("box", "padding", "drawn", "size", "region", "placed"),
    [
        ((10, 10, 20, 20), 0, (64, 64), (100, 100), (10, 10, 20, 20), (0, 0, 64, 64)),
        ((10, 10, 20, 20), 4, (64, 64), (100, 100), (6, 6, 24, 24), (0, 0, 64, 64)),
        # It grows along the side that is too short, and moves away from the edge.
        ((0, 10, 10, 30), 0, (64, 64), (100, 100), (0, 10, 20, 30), (0, 0, 64, 64)),
        ((90, 10, 100, 30), 0, (64, 64), (100, 100), (80, 10, 100, 30), (0, 0, 64, 64)),
        ((40, 40, 50, 50), 0, (128, 64), (100, 100), (35, 40, 55, 50), (0, 0, 128, 64)),
        # The image is too low for a square as wide as the box: half of what is drawn is beside it.
        ((0, 0, 100, 20), 0, (64, 64), (100, 50), (0, 0, 100, 50), (0, 16, 64, 48)),
        ((5, 0, 10, 8000), 0, (8192, 64), (16, 8000), (0, 0, 16, 8000), (4095, 0, 4096, 64)),
    ],
)
def test_the_region_has_the_aspect_ratio_that_is_drawn(
    box: tuple[int, int, int, int],
    padding: int,
    drawn: tuple[int, int],
    size: tuple[int, int],
    region: tuple[int, int, int, int],
    placed: tuple[int, int, int, int],
) -> None:
    found = region_around(box, padding, drawn, size)
    assert (found.box, found.placed) == (region, placed)


@given(
    size=st.tuples(st.integers(16, 300), st.integers(16, 300)),
    corners=st.tuples(*[st.floats(0, 1)] * 4),
    padding=st.integers(0, 80),
    drawn=st.tuples(st.integers(8, 40), st.integers(8, 40)),
)
def test_a_region_is_inside_the_image_and_has_all_of_the_box(
    size: tuple[int, int], corners: tuple[float, ...], padding: int, drawn: tuple[int, int]
) -> None:
    (left, right), (top, bottom) = (sorted((int(a * (n - 1)), int(b * (n - 1)))) for a, b, n in (
        (corners[0], corners[1], size[0]), (corners[2], corners[3], size[1]),
    ))  # fmt: skip
    found = region_around((left, top, right + 1, bottom + 1), padding, drawn, size)
    assert 0 <= found.box[0] <= max(0, left - padding)
    assert 0 <= found.box[1] <= max(0, top - padding)
    assert size[0] >= found.box[2] >= min(size[0], right + 1 + padding)
    assert size[1] >= found.box[3] >= min(size[1], bottom + 1 + padding)
    assert found.cut(noise(*size)).size == drawn
    wide, high = found.box[2] - found.box[0], found.box[3] - found.box[1]
    across, down = found.placed[2] - found.placed[0], found.placed[3] - found.placed[1]
    rounded = max(wide, high) + max(drawn)  # a pixel of the image, and half of one on what is drawn
    assert abs(wide * down - high * across) <= rounded


def test_beside_an_image_that_is_too_short_its_edge_is_repeated_and_nothing_of_it_comes_back() -> None:
    reference, mask = noise(100, 50), mask_of((100, 50), (0, 0, 100, 50))
    found = inpainting(reference, mask, job((64, 64), area=InpaintArea.MASKED, blur=0, padding=0))
    pixels = np.asarray(found.image)
    assert np.array_equal(pixels[:16], np.repeat(pixels[16:17], 16, axis=0))
    drawn = drawn_for(found)
    middle = Image.fromarray(drawn[16:48]).resize((100, 50), Image.Resampling.LANCZOS)
    assert np.array_equal(found.overlay.over(drawn), middle)


@pytest.mark.parametrize("how", list(ImageFit), ids=str)
@pytest.mark.parametrize("mask_size", [(100, 60), (200, 120), (50, 30), (33, 20)])
def test_a_mask_of_another_size_stays_where_it_is_on_the_reference(
    how: ImageFit, mask_size: tuple[int, int]
) -> None:
    """The reference shows its own mask: after any fitting both show the same."""
    scale = mask_size[0] / 100
    mask = mask_of(mask_size, (round(40 * scale), round(20 * scale), round(70 * scale), round(45 * scale)))
    reference = mask_of((100, 60), (40, 20, 70, 45)).convert("RGB")
    found = inpainting(reference, mask, job((64, 64), blur=0, image_fit=how))
    shown = np.asarray(found.image)[..., 0] >= 128
    assert (shown != (np.asarray(found.mask) > 0)).mean() < 0.03


def test_a_mask_of_another_aspect_ratio_is_refused_with_both_sizes() -> None:
    with pytest.raises(JobRejected, match="64 x 64 pixels, the reference image 100 x 60"):
        inpainting(noise(100, 60), mask_of((64, 64), (0, 0, 9, 9)), job())


@pytest.mark.parametrize("area", list(InpaintArea))
def test_a_mask_that_marks_nothing_is_refused(area: InpaintArea) -> None:
    with pytest.raises(JobRejected, match="nothing to change: no pixel is white"):
        inpainting(noise(64, 64), Image.new("L", (64, 64), 127), job(area=area, padding=3))


def test_a_mask_that_the_fitting_cuts_off_is_refused_with_the_reason() -> None:
    with pytest.raises(JobRejected, match=r"within the 64 x 64 pixels of image_fit crop"):
        inpainting(noise(200, 64), mask_of((200, 64), (0, 0, 20, 64)), job())


def test_a_mask_of_everything_is_told() -> None:
    assert inpainting(noise(64, 64), Image.new("L", (64, 64), 255), job()).warnings
    assert not inpainting(noise(64, 64), mask_of((64, 64), (0, 0, 63, 64)), job()).warnings


def test_fill_spreads_the_colors_around_under_the_mask() -> None:
    image = Image.new("RGB", (96, 64), (200, 30, 30))
    image.paste((20, 20, 220), (48, 0, 96, 64))
    image.paste((0, 255, 0), (20, 20, 76, 44))
    mask = mask_of((96, 64), (20, 20, 76, 44))
    found = np.asarray(filled(image, mask)).astype(int)
    kept = np.asarray(mask) == 0
    assert np.array_equal(found[kept], np.asarray(image)[kept])
    assert found[~kept][:, 1].max() < 60, "nothing green is left"
    assert found[32, 22, 0] > 150 > 60 > found[32, 22, 2]
    assert found[32, 73, 2] > 150 > 60 > found[32, 73, 0]


def test_fill_without_anything_around_is_gray() -> None:
    found = filled(noise(32, 32), Image.new("L", (32, 32), 255))
    assert found.getextrema() == ((128, 128),) * 3


def test_fill_is_what_is_drawn_from_and_not_what_is_kept() -> None:
    reference, mask = noise(64, 64), mask_of((64, 64), (16, 16, 48, 48))
    found = inpainting(reference, mask, job(fill=InpaintFill.FILL))
    assert np.array_equal(found.image, filled(reference, mask))
    assert np.array_equal(found.overlay.original, reference)


def test_what_is_fitted_is_kept_as_it_was_fitted() -> None:
    reference, mask = noise(128, 64), mask_of((128, 64), (60, 20, 70, 30))
    found = inpainting(reference, mask, job(blur=2))
    assert np.array_equal(found.overlay.original, fit(reference, 64, 64, ImageFit.CROP))
