"""Looks at an image with plain image processing and says which scene it shows: shape, colours, place,
size, each with a confidence.

It knows nothing of models: the background is what the border shows, the shape is the largest patch that
differs from
it, and the patch's outline is compared with the smallest circle, rectangle and triangle around it.
"""

from dataclasses import dataclass
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from training.captions import Attribute
from training.scenes import CENTRE, RADIUS, RGB, Colour, Place, Scene, Shape, Size

Pixels: TypeAlias = NDArray[np.uint8]
"""(height, width, 3), RGB, 0..255."""
Mask: TypeAlias = NDArray[np.uint8]
"""(height, width), 0 or 1."""
Lab: TypeAlias = NDArray[np.float32]
"""(height, width, 3) or (pixels, 3), CIE Lab."""

SIDE_PX = 256
"""Every image is looked at in this size: corners of small shapes then show, and lengths mean the same."""
BORDER_PX = 8
"""Width of the border that shows the background."""
SPECK_PX = 5
"""What is narrower is no shape."""
LEAST_DIFFERENCE = 12.0
"""In CIE Lab: less is the unevenness of one colour. The nearest names, blue and purple, are 34 apart."""
LEAST_AREA = 0.004
"""In areas of the image; the smallest shape covers 0.026."""
WHOLE_SHARE = 0.8
"""Of all that differs lies in one patch, unless the shape is in pieces."""
GAP_PX = 23
"""The widest gap between two pieces."""
STRIPE_PX = 64
"""From one stripe to the next; a quarter of it is a stripe's."""
BESIDE_PX = (16, 22)
"""From the left and right side: inside a frame, and where a shape reaches on one side at most."""
STRIPED = 20.0
"""The least `stripe_strength` of stripes; without them it is less than 5."""
FRAME_PX = 10
"""Width along the image's sides that a frame covers."""
INSIDE_PX = (22, 32)
"""From the image's sides: beyond a frame, and where no shape reaches."""
FRAMED = 20.0
"""The least `frame_strength` of a frame; without one its place is less than 5 from what lies inside."""
GREY = 4.0
"""The most `mean_chroma` of a grey image; half precision leaves a trace of colour."""
STAR_SOLIDITY = 0.83
"""A star covers 0.66 of its convex hull, the others all of it."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the image shows, and how sure that is, from 0 (a guess) to 1 (beyond doubt)."""

    scene: Scene
    confidence: dict[Attribute, float]

    def agrees(self, asked: Scene) -> dict[Attribute, bool]:
        """Compare with the scene that was asked for, attribute by attribute."""
        return {
            attribute: getattr(self.scene, attribute.value) is getattr(asked, attribute.value)
            for attribute in Attribute
        }


class NothingThere(LookupError):
    """The image shows no shape: nothing differs enough from the background."""


def judge(image: Pixels) -> Verdict:
    """Say what the image shows.

    Raises: NothingThere, if there is no patch that differs from the background.
    """
    lab = _lab(image)
    border = _border(lab)
    background, background_sure = _name(border)
    patch = find_patch(image)
    colour, colour_sure = _name(lab[_inner(patch, find_difference(image)) == 1])
    shape, shape_sure = _shape(patch)
    place, place_sure = _place(patch)
    size, size_sure = _size(patch)
    sure = (shape_sure, colour_sure, background_sure, place_sure, size_sure)
    return Verdict(Scene(shape, colour, background, place, size), dict(zip(Attribute, sure, strict=True)))


def find_patch(image: Pixels) -> Mask:
    """Find the largest patch that differs from the border; its holes belong to it.

    Raises: NothingThere, if there is none.
    """
    differs = find_difference(image)
    whole = _largest(differs)
    if whole.sum() < WHOLE_SHARE * differs.sum():
        whole = _largest(_reshaped(differs, cv2.MORPH_CLOSE, GAP_PX))
    if whole.sum() < LEAST_AREA * differs.size:
        raise NothingThere("no patch differs from the background")
    return _filled(whole)


def find_difference(image: Pixels) -> Mask:
    """Mark the pixels that differ from the border, without specks."""
    lab = _lab(image)
    apart = np.linalg.norm(lab - np.median(_border(lab), axis=0), axis=2)
    limit = max(LEAST_DIFFERENCE, _between_two_levels(apart))
    differs: Mask = (apart > limit).astype(np.uint8)
    return _reshaped(differs, cv2.MORPH_OPEN, SPECK_PX)


def stripe_strength(image: Pixels) -> float:
    """Measure how far the colour of stripes across the background is from the colour between them, in CIE
    Lab: of that stripe that shows least."""
    lab, (start, end) = _lab(image), BESIDE_PX
    sides = [np.median(seen[:, start:end], axis=1) for seen in (lab, lab[:, ::-1])]
    middles = range(STRIPE_PX * 5 // 8, SIDE_PX, STRIPE_PX)
    return min(max(_apart(side, middle) for side in sides) for middle in middles)


def frame_strength(image: Pixels) -> float:
    """Measure how far the colour along the image's sides is from the background inside, in CIE Lab: on that
    of its four sides where it shows least."""
    lab = _lab(image)
    turned = [np.rot90(lab, quarter) for quarter in range(4)]
    return min(float(np.linalg.norm(_band(side, 0, FRAME_PX) - _band(side, *INSIDE_PX))) for side in turned)


def inside_frame(image: Pixels) -> Pixels:
    """Cut a frame off."""
    height, width = image.shape[:2]
    y, x = height * INSIDE_PX[0] // SIDE_PX, width * INSIDE_PX[0] // SIDE_PX
    return image[y : height - y, x : width - x]


def mean_chroma(image: Pixels) -> float:
    """Measure how colourful the image is, in CIE Lab; grey has 0."""
    return float(np.linalg.norm(_lab(image)[:, :, 1:], axis=2).mean())


def mean_warmth(image: Pixels) -> float:
    """Measure how yellow (above 0) or blue (below 0) the image is, in CIE Lab."""
    return float(_lab(image)[:, :, 2].mean())


def _band(lab: Lab, start_px: int, end_px: int) -> Lab:
    """Give the typical colour of a band along the upper side. Shapes: (3,)."""
    band: Lab = np.median(lab[start_px:end_px, start_px : SIDE_PX - start_px].reshape(-1, 3), axis=0)
    return band


def _apart(rows: Lab, middle: int) -> float:
    """Compare the rows in the middle of a stripe with those between it and the next, or the one before."""
    between = middle + STRIPE_PX // 2 if middle + STRIPE_PX // 2 < SIDE_PX else middle - STRIPE_PX // 2
    reach = STRIPE_PX // 16
    here, there = (np.median(rows[at - reach : at + reach], axis=0) for at in (middle, between))
    return float(np.linalg.norm(here - there))


def _largest(differs: Mask) -> Mask:
    """Keep the largest of the patches; nothing, if there is none."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(differs)
    if count < 2:
        return np.zeros_like(differs)
    largest: Mask = (labels == 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())).astype(np.uint8)
    return largest


def _reshaped(mask: Mask, operation: int, reach: int) -> Mask:
    """Open or close a mask by a square."""
    reshaped: Mask = cv2.morphologyEx(mask, operation, np.ones((reach, reach), np.uint8))
    return reshaped


def _shape(patch: Mask) -> tuple[Shape, float]:
    """Name the outline by what it fills best."""
    outline = _outline(patch)
    area = cv2.contourArea(outline)
    solidity = area / max(cv2.contourArea(cv2.convexHull(outline)), 1.0)
    if solidity < STAR_SOLIDITY:
        return Shape.STAR, _sure((STAR_SOLIDITY - solidity) / (STAR_SOLIDITY - 0.66))
    _, radius = cv2.minEnclosingCircle(outline)
    _, sides, _ = cv2.minAreaRect(outline)
    triangle_area, _ = cv2.minEnclosingTriangle(outline)
    fills = {
        Shape.CIRCLE: area / (np.pi * radius**2),
        Shape.SQUARE: area / max(sides[0] * sides[1], 1.0),
        Shape.TRIANGLE: area / max(triangle_area, 1.0),
    }
    best, second = sorted(fills, key=lambda shape: -fills[shape])[:2]
    return best, _sure((fills[best] - fills[second]) / 0.15)


def _place(patch: Mask) -> tuple[Place, float]:
    """Name the place whose centre is nearest to the middle of the patch's bounding circle."""
    (x, y), _ = cv2.minEnclosingCircle(_outline(patch))
    height, width = patch.shape
    away = {
        place: float(np.hypot(x / width - at_x, y / height - at_y)) for place, (at_x, at_y) in CENTRE.items()
    }
    best, second = sorted(away, key=lambda place: away[place])[:2]
    return best, _sure(1 - away[best] / away[second])


def _size(patch: Mask) -> tuple[Size, float]:
    """Name the size by the radius of the disc of the same area, against the mean of the two ratios."""
    radius = float(np.sqrt(patch.mean() / np.pi))
    limit = float(np.sqrt(RADIUS[Size.SMALL] * RADIUS[Size.LARGE]))
    ratio = radius / limit
    return (Size.LARGE if ratio > 1 else Size.SMALL), _sure(abs(float(np.log(ratio))) / 0.3)


def _name(lab: Lab) -> tuple[Colour, float]:
    """Name the middle colour of some pixels by the nearest name. Shapes: (pixels, 3)."""
    middle = np.median(lab.reshape(-1, 3), axis=0)
    names = _converted(np.array([[RGB[colour] for colour in Colour]], dtype=np.uint8))[0]
    apart = np.linalg.norm(names - middle, axis=1)
    best, second = np.argsort(apart)[:2]
    return list(Colour)[int(best)], _sure(1 - float(apart[best] / apart[second]))


def _sure(value: float) -> float:
    return float(np.clip(value, 0, 1))


def _lab(image: Pixels) -> Lab:
    """Convert to CIE Lab, where distances are what eyes see, in the size that everything is looked at in."""
    way = cv2.INTER_AREA if len(image) > SIDE_PX else cv2.INTER_LINEAR
    return _converted(cv2.resize(image, (SIDE_PX, SIDE_PX), interpolation=way))


def _converted(image: Pixels) -> Lab:
    lab: Lab = cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    return lab


def _border(
    lab: Lab,
) -> Lab:
    """Give the pixels along the four sides. Shapes: (pixels, 3)."""
    ring = np.ones(lab.shape[:2], dtype=bool)
    ring[BORDER_PX:-BORDER_PX, BORDER_PX:-BORDER_PX] = False
    border: Lab = lab[ring]
    return border


def _between_two_levels(apart: Lab) -> float:
    """Split background from shape where the two are best told apart (N. Otsu, 1979)."""
    top = float(apart.max()) or 1.0
    level, _ = cv2.threshold((apart / top * 255).astype(np.uint8), 0, 255, cv2.THRESH_OTSU)
    return float(level) / 255 * top


def _filled(patch: Mask) -> Mask:
    """Fill the patch's holes."""
    filled: Mask = cv2.drawContours(np.zeros_like(patch), [_outline(patch)], -1, 1, cv2.FILLED)
    return filled


def _inner(patch: Mask, differs: Mask) -> Mask:
    """Keep the half of the patch that is farthest from its edge, and so from a blurred edge and from an
    outline.

    Where the background shows through it, that is left out too.
    """
    depth = cv2.distanceTransform(patch, cv2.DIST_L2, 5)
    inner: Mask = (depth > 0.5 * depth.max()).astype(np.uint8)
    return inner & differs if (inner & differs).any() else inner


def _outline(patch: Mask) -> NDArray[np.int32]:
    outlines, _ = cv2.findContours(patch, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    outline: NDArray[np.int32] = max(outlines, key=cv2.contourArea)
    return outline
