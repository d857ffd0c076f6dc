"""The data from which a model's memory need is computed, as read from headers; and reports of a shortage."""

from typing import Annotated, Final

import msgspec

from kernel.protocol.enums import MemoryRemedy, ModelPart
from kernel.protocol.ids import Count, EngineId

BATCH_SIZES: Final = {"cpu": 4, "cuda": 8}
"""The default number of images stepped together, by kind of device. With more, a step's time grows in
proportion. Both the engine and the Manager use it."""
Width = Annotated[int, msgspec.Meta(ge=1, le=65_536)]
"""Channels, or the width of a matrix. SDXL's largest is 5,120."""
Depth = Annotated[int, msgspec.Meta(ge=0, le=64)]
"""Layers, blocks or levels. SDXL's largest is 32."""
Levels = Annotated[tuple[Width, ...], msgspec.Meta(min_length=1, max_length=8)]
Depths = Annotated[tuple[Depth, ...], msgspec.Meta(min_length=1, max_length=8)]


class PartWeights(msgspec.Struct, frozen=True, kw_only=True):
    """The weights of one part of a model, as they are stored."""

    part: ModelPart
    parameters: Count
    stored_bytes: Count


class UNetLayout(msgspec.Struct, frozen=True, kw_only=True):
    """The dimensions that determine a UNet's activations. Levels go from the highest resolution to the
    lowest."""

    channels: Levels
    resnets_per_level: Depth
    transformer_depths: Depths
    """Transformer blocks per attention, per level; 0 where a level has none."""
    middle_depth: Depth
    context_width: Width


class VaeLayout(msgspec.Struct, frozen=True, kw_only=True):
    """The dimensions of a VAE; its decoder goes through the levels from the last to the first."""

    channels: Levels
    resnets_per_level: Depth
    latent_channels: Width


class TextLayout(msgspec.Struct, frozen=True, kw_only=True):
    """The dimensions of a CLIP text encoder."""

    tokens: Width
    width: Width
    inner_width: Width
    layers: Depth


class MemoryProfile(msgspec.Struct, frozen=True, kw_only=True):
    """All data from which a model's memory need is computed. Only checkpoints have layouts."""

    parts: tuple[PartWeights, ...]
    unet: UNetLayout | None = None
    vae: VaeLayout | None = None
    """None also for a checkpoint without one."""
    text_encoders: Annotated[tuple[TextLayout, ...], msgspec.Meta(max_length=4)] = ()

    @property
    def lacks_vae(self) -> bool:
        """True for a checkpoint that is used with the VAE of another file."""
        return self.unet is not None and self.vae is None


class Remedy(msgspec.Struct, frozen=True, kw_only=True):
    """A way to make an engine fit."""

    what: MemoryRemedy
    text: str
    """For a person, such as `stop engine portraits to free 5.1 GB`."""
    engine_id: EngineId | None = None
    frees_bytes: Count | None = None


class MemoryShortage(msgspec.Struct, frozen=True, kw_only=True):
    """The reason why an engine does not fit, in bytes. `device` is the one that lacks the least memory."""

    device: str
    needed_bytes: Count
    free_bytes: Count
    """Memory that is neither used nor reserved for another engine."""
    total_bytes: Count
    remedies: tuple[Remedy, ...] = ()
