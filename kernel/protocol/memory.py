"""The data from which a model's memory need is computed, as read from headers; and whether an engine fits."""

from typing import Annotated, Final

import msgspec

from kernel.protocol.enums import MemoryPlan, MemoryRemedy, ModelPart
from kernel.protocol.ids import Count, EngineId

BATCH_SIZES: Final = {"cpu": 4, "cuda": 8}
"""The default number of images stepped together, by kind of device; `cuda` stands for every GPU. With more, a
step's time grows in proportion. Both the engine and the Manager use it."""
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


class DeviceFit(msgspec.Struct, frozen=True, kw_only=True):
    """How an engine would fit on a device at this moment, in bytes."""

    device: str
    name: str
    total_bytes: Count
    promised_bytes: Count
    """To workers of other engines."""
    free_bytes: Count
    """What another engine could get: neither used, nor promised, nor kept free."""
    needed_bytes: Count
    """The least that it needs: one image at a time under the most frugal plan."""
    fits: bool
    """Without closing any engine."""
    plan: MemoryPlan | None = None
    """How it would run; None, like the next two, if it does not fit."""
    images: Count | None = None
    """That it would step together."""
    taken_bytes: Count | None = None
    """What it would be promised."""


class EngineValid(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The engine would be created, and this is whether it could start now."""

    fits: bool
    """Also if idle engines would be closed for it."""
    closes: tuple[EngineId, ...] = ()
    """The idle engines that would be closed for it."""
    devices: tuple[DeviceFit, ...] = ()
    """Those that it may run on; none, if nothing is known of them."""
    detail: str | None = None
    """Why it does not fit, and what would help; None, if it fits."""
    shortage: MemoryShortage | None = None
    """The same in numbers, if memory is what is missing."""
