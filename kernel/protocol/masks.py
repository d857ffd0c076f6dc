"""Whether a mask can be used with its reference image: the same rules where both come in and where they are
used."""

from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Final

from kernel.protocol.enums import InputKind, MaskMode

Size = tuple[int, int]
"""Width and height in pixels, upright."""

MASK_VALUES: Final = ("mask_mode", "mask_blur", "inpaint_area", "inpaint_padding", "inpaint_fill")
"""The values of a job that say nothing without a mask."""
MASK_THRESHOLD: Final = 128
"""A pixel of a mask is repainted from this value on, of 255."""
NO_MARKS: Final[Mapping[MaskMode, str]] = MappingProxyType(
    {
        MaskMode.LUMINANCE: "no pixel is white (mask_mode luminance)",
        MaskMode.INVERTED: "no pixel is black (mask_mode inverted)",
        MaskMode.ALPHA: "no pixel is transparent (mask_mode alpha)",
    }
)
"""What is wrong with an empty mask."""


def has_mask(inputs: Collection[InputKind], mode: MaskMode | None) -> bool:
    """True if only a part of the reference image is repainted: by a mask, or by its own alpha channel."""
    return InputKind.MASK in inputs or (InputKind.REFERENCE in inputs and mode is MaskMode.ALPHA)


def fault_of_size(size: Size, reference: Size, what: str = "mask") -> str | None:
    """Why an image does not lie on a reference image without a doubt; None, if it does."""
    if _is_scaled(size, reference):
        return None
    sizes = f"has {size[0]} x {size[1]} pixels, the reference image {reference[0]} x {reference[1]}"
    return f"{sizes}: send a {what} of the same size or aspect ratio"


def _is_scaled(size: Size, reference: Size) -> bool:
    """True if one is the other, scaled: some factor misses the smaller one by less than a pixel."""
    (width, height), (wide, high) = sorted((size, reference))
    return (width - 1) * high < (height + 1) * wide and (height - 1) * wide < (width + 1) * high
