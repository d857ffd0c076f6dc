"""The input format of a background remover: its image size, and the mean and deviation for normalization.

A model's file seldom contains them. The owner's registration counts first, then the file's metadata, the size
that its input is fixed to, and the defaults of the family in its name; else ImageNet's values, which most
removers use.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from kernel.protocol.errors import ModelUnreadable
from kernel.protocol.model_refs import Preparation

Color = tuple[float, float, float]
"""Red, green, blue, for pixel values from 0 to 1."""
Size = tuple[int, int]
"""Width and height in pixels."""

IMAGENET_MEAN: Final[Color] = (0.485, 0.456, 0.406)
IMAGENET_DEVIATION: Final[Color] = (0.229, 0.224, 0.225)
_HALF: Final[Color] = (0.5, 0.5, 0.5)
_ONE: Final[Color] = (1.0, 1.0, 1.0)

# Keys in the metadata; the second of each are those of transformers' preprocessors.
_SIZE_WORDS: Final = ("input_size", "size")
_MEAN_WORDS: Final = ("mean", "image_mean")
_DEVIATION_WORDS: Final = ("std", "image_std")
_MAX_SIDE_PX: Final = 4096
NOTHING_SAID: Final = Preparation()


@dataclass(frozen=True, slots=True)
class InputFormat:
    """The input format of a remover. `size` is None if it accepts any."""

    size: Size | None
    mean: Color
    deviation: Color


# From the inference code of each family. The first family with a word in the name applies.
_FAMILIES: Final[tuple[tuple[tuple[str, ...], InputFormat], ...]] = (
    (("birefnet", "rmbg2"), InputFormat((1024, 1024), IMAGENET_MEAN, IMAGENET_DEVIATION)),
    (("isnetanime",), InputFormat((1024, 1024), IMAGENET_MEAN, _ONE)),
    (("isnet", "rmbg"), InputFormat((1024, 1024), _HALF, _ONE)),
    (("u2net", "silueta"), InputFormat((320, 320), IMAGENET_MEAN, IMAGENET_DEVIATION)),
)
_UNKNOWN: Final = InputFormat(None, IMAGENET_MEAN, IMAGENET_DEVIATION)


def find_input_format(
    metadata: Mapping[str, str], fixed: Size | None, names: Sequence[str], said: Preparation = NOTHING_SAID
) -> InputFormat:
    """The input format of a remover, from its owner's registration, its metadata, its fixed input size, and
    its names.

    Raises: ModelUnreadable, if the registration contradicts the input, or the metadata are not numbers.
    """
    family = _family(names)
    size = said.input_size or _size(metadata)
    if None not in (size, fixed) and size != fixed:
        source = "its registration sets" if said.input_size else "its metadata sets"
        raise ModelUnreadable(f"{source} the input size to {size}, but its input is fixed at {fixed}")
    return InputFormat(
        size=size or fixed or family.size,
        mean=said.mean or _color(metadata, _MEAN_WORDS) or family.mean,
        deviation=said.std or _color(metadata, _DEVIATION_WORDS, lowest=1e-6) or family.deviation,
    )


def _family(names: Sequence[str]) -> InputFormat:
    plain = ["".join(letter for letter in name.lower() if letter.isalnum()) for name in names]
    for words, traits in _FAMILIES:
        if any(word in name for word in words for name in plain):
            return traits
    return _UNKNOWN


def _size(metadata: Mapping[str, str]) -> Size | None:
    """Written as one side, `[width, height]`, or an object with `width` and `height`."""
    numbers = _numbers(metadata, _SIZE_WORDS)
    if numbers is None:
        return None
    if len(numbers) not in (1, 2) or not all(1 <= side <= _MAX_SIDE_PX for side in numbers):
        raise ModelUnreadable(f"the size in its metadata must be one or two sides in pixels, not {numbers}")
    return int(numbers[0]), int(numbers[-1])


def _color(metadata: Mapping[str, str], words: Sequence[str], lowest: float = 0.0) -> Color | None:
    """Written as one number for all channels, or a list of three."""
    numbers = _numbers(metadata, words)
    if numbers is None:
        return None
    if len(numbers) not in (1, 3) or not all(lowest <= number <= 1 for number in numbers):
        raise ModelUnreadable(
            f"the {words[0]} in its metadata must be three numbers from 0 to 1, not {numbers}"
        )
    return numbers[0], numbers[len(numbers) // 2], numbers[-1]


def _numbers(metadata: Mapping[str, str], words: Sequence[str]) -> list[float] | None:
    text = next((metadata[word] for word in words if word in metadata), None)
    if text is None:
        return None
    try:
        told = json.loads(text)
    except (ValueError, RecursionError):
        told = None
    if isinstance(told, dict):
        told = [told.get("width"), told.get("height")]
    found = told if isinstance(told, list) else [told]
    if not all(isinstance(one, int | float) and math.isfinite(one) for one in found):
        raise ModelUnreadable(f"the {words[0]} in its metadata must be JSON numbers, not {text[:80]!r}")
    return [float(one) for one in found]
