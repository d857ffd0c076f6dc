"""The shapes of a checkpoint's networks: UNet, VAE, text encoders, ControlNet."""

from dataclasses import dataclass

from kernel.protocol.enums import ModelBase


@dataclass(frozen=True, slots=True)
class UNetShape:
    """The UNet. Levels go from the highest resolution to the lowest."""

    in_channels: int
    out_channels: int
    channels: tuple[int, ...]
    """Per level."""
    resnets_per_level: int
    transformer_depths: tuple[int, ...]
    """Transformer blocks per attention, per level; 0 for a level without attention."""
    middle_depth: int
    cross_attention_width: int
    """0 for a ControlNet without attention."""
    uses_linear_projection: bool
    added_width: int | None
    """Width of pooled embedding and size embeddings together (SDXL); None for SD."""
    time_cond_width: int | None = None
    """Width of the embedded guidance scale of a UNet with guidance distilled into it (LCM); else None."""


@dataclass(frozen=True, slots=True)
class VaeShape:
    """The VAE."""

    channels: tuple[int, ...]
    resnets_per_level: int
    latent_channels: int


@dataclass(frozen=True, slots=True)
class TextEncoderShape:
    """One CLIP text encoder."""

    vocabulary: int
    tokens: int
    """Positions: the maximum number of tokens, including start and end."""
    width: int
    layers: int
    inner_width: int
    projection_width: int | None
    """Width of the pooled embedding; None if the encoder has no projection."""


@dataclass(frozen=True, slots=True)
class ControlNetShape:
    """A ControlNet: the first half of a UNet, and the layers that read the control map."""

    half: UNetShape
    map_channels: int
    """3: red, green, blue."""
    map_widths: tuple[int, ...]
    """Channels of the layers that read the map, for each of its resolutions down to that of latents."""


@dataclass(frozen=True, slots=True)
class Architecture:
    """A complete checkpoint."""

    base: ModelBase
    unet: UNetShape
    vae: VaeShape | None
    """None for a checkpoint without one, whose engines need another."""
    text_encoders: tuple[TextEncoderShape, ...]
    prediction_type: str
    has_zero_terminal_snr: bool
    native_size_px: int
    is_for_few_steps: bool = False
    """Distilled for a few steps, which begin at the last timestep."""


def attention_heads(width: int) -> int:
    """The number of attention heads of CLIP and of the SDXL UNet: one per 64 channels, at least one.

    Tensor shapes do not contain it, but this rule holds for every released checkpoint.
    """
    return max(1, width // 64)
