"""What goes into a picture beside the checkpoint and the words: other models, and how they are used."""

from typing import Annotated, Final

import msgspec
from msgspec import Meta, field

from kernel.protocol.enums import ControlType, ModelBase, ModelType, Variant
from kernel.protocol.ids import Count, ModelId, Pixels
from kernel.protocol.values import MAX_MODELS, MAX_REMOVERS, ColorValue, ControlScale, Fraction, LoraWeight

OWN_VAE: Final = ModelId("checkpoint")
"""In place of a VAE's id: the checkpoint's own, whichever the engine has. No id of a model is like it."""


class Preparation(msgspec.Struct, frozen=True, kw_only=True):
    """How a background remover wants its pictures, as far as its owner says so; the file tells the rest."""

    input_size: tuple[Pixels, Pixels] | None = None
    """Width and height."""
    mean: tuple[ColorValue, ColorValue, ColorValue] | None = None
    """Of red, green and blue, where a pixel's value is 0 to 1."""
    std: tuple[ColorValue, ColorValue, ColorValue] | None = None
    """The deviation by which colours are divided, in the same measure."""


class ModelSource(msgspec.Struct, frozen=True, kw_only=True):
    """Where a worker finds a model: the address as the person gave it, never a path of the broker's."""

    model_id: ModelId
    name: str
    uri: str
    model_type: ModelType
    model_base: ModelBase | None = None
    variant: Variant | None = None
    sha256: str | None = None
    control_type: ControlType | None = None
    """Of a ControlNet: the maps that it was trained on."""
    trigger_words: tuple[str, ...] = ()
    """Of an embedding: the first is the word that stands for it in a prompt, else its name is."""
    preparation: Preparation | None = None
    """Of a background remover."""


class InputFile(msgspec.Struct, frozen=True, kw_only=True):
    """A picture file that comes with a job, as the sender describes it: the blob at the same place."""

    mime: str
    size_bytes: Count
    sha256: str


class LoraUse(msgspec.Struct, frozen=True, kw_only=True):
    """A LoRA and its weight: 1 as trained, 0 for no effect, negative for the opposite effect."""

    model_id: ModelId
    weight: LoraWeight = 1.0


class ControlUse(msgspec.Struct, frozen=True, kw_only=True):
    """A control of a job: its type, its scale, and the part of the steps that it applies to (0 to 1)."""

    control_type: ControlType | None = field(default=None, name="type_pose")
    """None: the engine's `control_net`."""
    scale: ControlScale = field(default=1.0, name="control_scale")
    start: Fraction = field(default=0.0, name="control_start")
    end: Fraction = field(default=1.0, name="control_end")
    is_preprocessed: bool = field(default=False, name="preprocessed")
    """The job's pose image is the map already."""


class Control(ControlUse, frozen=True, kw_only=True):
    """A control at work: its type, and the ControlNet that serves it."""

    control_type: ControlType = field(name="type_pose")
    control_model: ModelId


LoraUses = Annotated[tuple[LoraUse, ...], Meta(max_length=MAX_MODELS)]
ModelIds = Annotated[tuple[ModelId, ...], Meta(max_length=MAX_MODELS)]
Removers = Annotated[tuple[ModelId, ...], Meta(max_length=MAX_REMOVERS)]
