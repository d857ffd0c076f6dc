"""What of a reference image is repainted, from which pixels, and what is kept around it.

The mask is laid on the reference before anything is fitted or cut, so that both always go the same way. What
is drawn has the size of the job; it is pasted over the original, which so stays as it was outside the blurred
mask, to the byte.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from PIL import Image, ImageChops, ImageFilter

from engine_worker.engine.images.input_image import fit
from engine_worker.engine.images.output_file import Pixels
from kernel.protocol.enums import InpaintArea, InpaintFill, MaskMode
from kernel.protocol.errors import JobRejected
from kernel.protocol.masks import MASK_THRESHOLD, NO_MARKS, Size, fault_of_size
from kernel.protocol.specs import JobSpec

Box = tuple[int, int, int, int]
"""Left, top, right, bottom in pixels; right and bottom are outside."""

# From far to near: what is close counts, and where nothing is close, what is further away.
_FILL_RADII_PX: Final = (256, 64, 16, 4, 2)
_NO_COLOR: Final = 128.0


@dataclass(frozen=True, slots=True)
class Region:
    """The part of the reference image that is drawn, and its place on what is drawn."""

    box: Box
    """In the reference image."""
    size: Size
    """Of what is drawn: the job's."""
    placed: Box
    """On what is drawn: all of it, unless the reference is too narrow for the job's aspect ratio."""

    def cut(self, image: Image.Image) -> Image.Image:
        """The region of an image that lies on the reference, at the size to draw; its edges fill the rest."""
        left, top, right, bottom = self.placed
        part = _scaled(image.crop(self.box), (right - left, bottom - top))
        if part.size == self.size:
            return part
        width_px, height_px = self.size
        pixels = np.asarray(part)
        beside = ((top, height_px - bottom), (left, width_px - right), (0, 0))
        return Image.fromarray(np.pad(pixels, beside[: pixels.ndim], mode="edge"))


@dataclass(frozen=True, slots=True)
class Overlay:
    """The original over what is drawn, where it is kept."""

    original: Image.Image
    """RGB."""
    mask: Image.Image
    """One channel (L), of the same size: 255 is drawn, 0 is kept."""
    region: Region

    def over(self, pixels: Pixels) -> Pixels:
        """The original with what was drawn for its region.

        Shapes: (height_px, width_px, 3), of the region's size; the result has that of the original.
        """
        box = self.region.box
        size = (box[2] - box[0], box[3] - box[1])
        drawn = _scaled(Image.fromarray(pixels).crop(self.region.placed), size)
        image = self.original.copy()
        image.paste(drawn, box, self.mask.crop(box))
        return np.asarray(image)


@dataclass(frozen=True, slots=True)
class Inpainting:
    """The pixels to begin with, the mask (L, 0 or 255) of what is repainted, both of the job's size, and what
    is kept."""

    image: Image.Image
    mask: Image.Image
    overlay: Overlay
    warnings: tuple[str, ...] = ()


def inpainting(reference: Image.Image, mask: Image.Image, spec: JobSpec) -> Inpainting:
    """Decide what is repainted. `mask` is one channel (L): 255 is to be repainted.

    Raises: JobRejected, if the mask does not lie on the reference image, or leaves nothing to repaint.
    """
    mask = laid_on_reference(mask, reference.size, "mask")
    size = (spec.width_px, spec.height_px)
    if spec.inpaint_area is not InpaintArea.MASKED:
        assert spec.image_fit is not None, "it has an input image"
        reference, mask = (fit(one, *size, spec.image_fit) for one in (reference, mask))
    mask = _hard(mask)
    soft = softened(mask, spec.mask_blur or 0)
    box = soft.getbbox()
    if box is None:
        raise JobRejected(f"the mask marks nothing to change: {_why_empty(spec)}")
    region = Region((0, 0, *size), size, (0, 0, *size))
    if spec.inpaint_area is InpaintArea.MASKED:
        region = region_around(box, spec.inpaint_padding or 0, size, reference.size)
    image, drawn_mask = region.cut(reference), _hard(region.cut(mask))
    if spec.inpaint_fill is InpaintFill.FILL:
        image = filled(image, drawn_mask)
    is_all = mask.getextrema() == (255, 255)
    warnings = ("the mask marks the whole image: all of it is repainted",) if is_all else ()
    return Inpainting(image, drawn_mask, Overlay(reference, soft, region), warnings)


def laid_on_reference(image: Image.Image, size: Size, name: str) -> Image.Image:
    """An image of the same aspect ratio as the reference image, scaled to its size.

    Raises: JobRejected, if it has another one, naming both sizes.
    """
    if (fault := fault_of_size(image.size, size, name)) is not None:
        raise JobRejected(f"the {name} {fault}")
    return _scaled(image, size)


def softened(mask: Image.Image, blur_px: int) -> Image.Image:
    """A mask (L, 0 or 255) that fades outward from its edge; nothing of what it marks is lost.

    `blur_px` is the deviation of a Gaussian. At a straight edge that is half: doubled, it fades from there.
    """
    blurred = mask.filter(ImageFilter.GaussianBlur(blur_px)).point(lambda value: min(255, 2 * value))
    return ImageChops.lighter(mask, blurred)


def region_around(box: Box, padding_px: int, drawn: Size, size: Size) -> Region:
    """The region of an image of that size around a box and its padding, in the aspect ratio that is drawn.

    It grows along one side, and moves where it would leave the image. Where the image is too short
    for that, it covers only the middle of what is drawn.
    """
    left, right = max(0, box[0] - padding_px), min(size[0], box[2] + padding_px)
    top, bottom = max(0, box[1] - padding_px), min(size[1], box[3] + padding_px)
    width_px, height_px = drawn
    wide_px, high_px = right - left, bottom - top
    wanted_wide_px = max(wide_px, -(-high_px * width_px // height_px))
    wanted_high_px = max(high_px, -(-wide_px * height_px // width_px))
    left, right = _grown(left, right, wanted_wide_px, size[0])
    top, bottom = _grown(top, bottom, wanted_high_px, size[1])
    across = _covered(width_px, size[0], wanted_wide_px)
    down = _covered(height_px, size[1], wanted_high_px)
    return Region((left, top, right, bottom), drawn, (across[0], down[0], across[1], down[1]))


def filled(image: Image.Image, mask: Image.Image) -> Image.Image:
    """An image (RGB) with the colors around a mask (L, 0 or 255) spread under it, more blurred further in."""
    kept = np.asarray(mask)[..., np.newaxis] == 0
    pixels = np.asarray(image, dtype=np.float32)
    known = Image.fromarray(np.where(kept, np.asarray(image), 0).astype(np.uint8))
    weight = mask.point(lambda value: 255 - value)
    found = np.full_like(pixels, _NO_COLOR)
    if kept.any():
        found[:] = pixels[kept[..., 0]].mean(axis=0)
    for radius_px in _FILL_RADII_PX:
        blur = ImageFilter.GaussianBlur(radius_px)
        share = np.asarray(weight.filter(blur), dtype=np.float32)[..., np.newaxis] / 255
        color = np.asarray(known.filter(blur), dtype=np.float32) / np.maximum(share, 1 / 255)
        found += share * (np.minimum(color, 255) - found)
    return Image.fromarray(np.where(kept, pixels, found).round().astype(np.uint8))


def _grown(low: int, high: int, length: int, limit: int) -> tuple[int, int]:
    """The span of that length around another, within 0 and the limit; all of it, if it is too short."""
    begin = low - (length - (high - low)) // 2
    begin = max(0, min(begin, limit - length))
    return begin, min(begin + length, limit)


def _covered(side_px: int, length: int, wanted: int) -> tuple[int, int]:
    """The middle of a side of what is drawn, as much of it as the image has of the wanted length."""
    covered = side_px if length >= wanted else max(1, round(side_px * length / wanted))
    begin = (side_px - covered) // 2
    return begin, begin + covered


def _why_empty(spec: JobSpec) -> str:
    why = NO_MARKS[spec.mask_mode or MaskMode.LUMINANCE]
    if spec.inpaint_area is InpaintArea.MASKED:
        return why
    return f"{why} within the {spec.width_px} x {spec.height_px} pixels of image_fit {spec.image_fit}"


def _hard(mask: Image.Image) -> Image.Image:
    return mask.point(lambda value: 255 if value >= MASK_THRESHOLD else 0)


def _scaled(image: Image.Image, size: Size) -> Image.Image:
    return image if image.size == size else image.resize(size, Image.Resampling.LANCZOS)
