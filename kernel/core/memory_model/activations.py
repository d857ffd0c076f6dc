"""How much memory one forward pass holds at its peak, from the layout of a network alone.

Each function walks through its network as diffusers runs it and yields moments: the elements alive at the
same time, kept for later (skip connections, inputs that callers still hold) or made by the current layer.
Results are in elements; the caller multiplies by bytes per element. docs/memory.md derives the factors and
compares the results with measurements.
"""

from collections.abc import Iterator
from typing import Final, NamedTuple

from kernel.protocol.memory import TextLayout, UNetLayout, VaeLayout

KERNEL: Final = 9
"""Weights of a 3 x 3 convolution kernel."""
FEED_FORWARD: Final = 21
"""Widths alive in a transformer's gated feed-forward: four inputs that callers hold, the last attention's
output, its norm, the projection to eight widths, the gate's activation and the product of four each; minus
those already freed (docs/memory.md counts them)."""
ATTENTION: Final = 12
"""Widths alive in self-attention without a score matrix: inputs, norm, query, key, value, result, copies."""
CONTROL_COPIES: Final = 2
"""A ControlNet's residual for each skip connection, and the sum of the two."""


class Moment(NamedTuple):
    """The elements alive at one point of a pass: for each row, and for all rows together."""

    of_row: int
    shared: int = 0


def unet_elements(
    layout: UNetLayout, height: int, width: int, rows: int, tokens: int, control_nets: int = 0
) -> int:
    """The peak of one UNet call. `height` and `width` are those of the latents."""
    moments = _unet_moments(layout, height, width, tokens, 1 + CONTROL_COPIES * control_nets)
    return max(rows * moment.of_row + moment.shared for moment in moments)


def vae_elements(layout: VaeLayout, height: int, width: int) -> int:
    """The peak of decoding one image. `height` and `width` are those of the latents."""
    return max(moment.of_row + moment.shared for moment in _vae_moments(layout, height, width))


def vae_encoding_elements(layout: VaeLayout, height: int, width: int) -> int:
    """The peak of encoding one image: at its full size, in the encoder's first level."""
    channels, cells = layout.channels[0], height * width * 4 ** (len(layout.channels) - 1)
    moments = _held(cells * channels, _resnet(cells, channels, channels))
    return max(moment.of_row + moment.shared for moment in moments)


def text_elements(layout: TextLayout, rows: int) -> int:
    """The peak of encoding prompts, with the hidden states of all layers kept."""
    return rows * layout.tokens * (layout.width * (layout.layers + ATTENTION) + 2 * layout.inner_width)


def _unet_moments(layout: UNetLayout, height: int, width: int, tokens: int, copies: int) -> Iterator[Moment]:
    """Down, through the middle and up again, where each level frees the skip connections that it has used."""
    skips = list(_skips(layout, height, width))
    kept = [0]
    for elements in skips:
        kept.append(kept[-1] + elements * copies)
    used = len(skips)
    yield from _down(layout, height, width, tokens, kept)
    last = len(layout.channels) - 1
    deepest, cells = layout.channels[last], _cells(height, width, last)
    yield from _held(kept[used], _resnet(cells, deepest, deepest))
    yield from _held(kept[used], _transformer(cells, deepest, layout.middle_depth, tokens))
    before = deepest
    for level in reversed(range(last + 1)):
        channels, cells = layout.channels[level], _cells(height, width, level)
        held = kept[used] + cells * before
        for number in range(layout.resnets_per_level + 1):
            used -= 1
            entering = (channels if number else before) + skips[used] // cells
            yield from _held(held, _resnet(cells, entering, channels))
        yield from _held(held, _transformer(cells, channels, layout.transformer_depths[level], tokens))
        if level > 0:
            larger = _cells(height, width, level - 1)
            yield from _held(held, _upsampling(cells, larger, channels))
        before = channels
    yield Moment(_cells(height, width, 0) * 3 * layout.channels[0])


def _skips(layout: UNetLayout, height: int, width: int) -> Iterator[int]:
    """Elements of each skip connection of one row, in the order in which they are made."""
    yield layout.channels[0] * _cells(height, width, 0)
    for level, channels in enumerate(layout.channels):
        for _ in range(layout.resnets_per_level):
            yield channels * _cells(height, width, level)
        if level < len(layout.channels) - 1:
            yield channels * _cells(height, width, level + 1)


def _down(layout: UNetLayout, height: int, width: int, tokens: int, kept: list[int]) -> Iterator[Moment]:
    before, made = layout.channels[0], 1
    for level, channels in enumerate(layout.channels):
        cells = _cells(height, width, level)
        for _ in range(layout.resnets_per_level):
            yield from _held(kept[made], _resnet(cells, before, channels))
            yield from _held(
                kept[made], _transformer(cells, channels, layout.transformer_depths[level], tokens)
            )
            before, made = channels, made + 1
        made += level < len(layout.channels) - 1


def _vae_moments(layout: VaeLayout, height: int, width: int) -> Iterator[Moment]:
    before, cells = layout.channels[-1], height * width
    yield from _resnet(cells, before, before)
    yield Moment(ATTENTION * cells * before)
    for level in reversed(range(len(layout.channels))):
        channels = layout.channels[level]
        yield from _resnet(cells, before, channels)
        # From here on the caller still holds the level's input.
        yield from _held(cells * before, _resnet(cells, channels, channels))
        if level > 0:
            yield from _held(cells * before, _upsampling(cells, 4 * cells, channels))
            cells *= 4
        before = channels


def _held(elements: int, moments: Iterator[Moment]) -> Iterator[Moment]:
    """The same moments while something else is held for each row."""
    return (Moment(elements + moment.of_row, moment.shared) for moment in moments)


def _cells(height: int, width: int, level: int) -> int:
    """Cells of one UNet level: each level halves both sides, rounded up."""
    scale = 1 << level
    return -(-height // scale) * -(-width // scale)


def _resnet(cells: int, entering: int, leaving: int) -> Iterator[Moment]:
    """A residual block; its input stays alive throughout."""
    for held, channels in ((2 * entering, entering), (entering + leaving, leaving)):
        yield from _held(cells * held, _convolution(cells, cells, channels, leaving))
    shortcut = leaving if entering != leaving else 0
    # At the end: input, shortcut, hidden states, their sum, the scaled sum.
    yield Moment(cells * (entering + shortcut + 3 * leaving))


def _upsampling(cells: int, larger: int, channels: int) -> Iterator[Moment]:
    """Upsampling by repeating cells, then a convolution."""
    return _held(cells * channels + larger * channels, _convolution(larger, larger, channels, channels))


def _convolution(cells: int, leaving_cells: int, entering: int, leaving: int) -> Iterator[Moment]:
    """A convolution besides its input: a copy of input and weights in another memory format, and the output;
    then the output twice, while it is converted back."""
    yield Moment(cells * entering + leaving_cells * leaving, KERNEL * entering * leaving)
    yield Moment(2 * leaving_cells * leaving, KERNEL * entering * leaving)


def _transformer(cells: int, channels: int, depth: int, tokens: int) -> Iterator[Moment]:
    """A transformer, its input included; empty if there is none."""
    if depth:
        yield Moment(FEED_FORWARD * cells * channels)
        yield Moment(ATTENTION * cells * channels + 2 * tokens * channels)
