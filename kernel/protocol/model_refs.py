"""References to the models that an image uses besides the checkpoint, and how they are applied."""

from typing import Annotated, Final

import msgspec
from msgspec import Meta, field

from kernel.protocol.enums import ControlType, ModelBase, ModelType, Variant
from kernel.protocol.ids import Count, ModelId, Pixels
from kernel.protocol.values import MAX_MODELS, MAX_REMOVERS, ColorValue, ControlScale, Fraction, LoraWeight

OWN_VAE: Final = ModelId("checkpoint")
"""In place of a VAE's id: the checkpoint's own VAE, whichever the engine has. No model has this id."""


class Preparation(msgspec.Struct, frozen=True, kw_only=True):
    """The input format of a background remover, as far as its owner set it; its file tells the rest."""

    input_size: tuple[Pixels, Pixels] | None = None
    """Width and height."""
    mean: tuple[ColorValue, ColorValue, ColorValue] | None = None
    """Of red, green and blue, for pixel values of 0 to 1."""
    std: tuple[ColorValue, ColorValue, ColorValue] | None = None
    """The standard deviation by which colors are divided, in the same unit."""


class ModelSource(msgspec.Struct, frozen=True, kw_only=True):
    """Where a worker finds a model: the registered source URI, never a path of the broker's."""

    model_id: ModelId
    name: str
    uri: str
    model_type: ModelType
    model_base: ModelBase | None = None
    variant: Variant | None = None
    sha256: str | None = None
    known_bytes: int | None = None
    """The size of a model that was inspected before: if it has not changed, only its headers are read."""
    size_bytes: int | None = None
    """Of all its files, as they were registered; None: not known."""
    beside: str | None = None
    """What its inspection found in a file beside it, which must still be so; None: not known."""
    control_type: ControlType | None = None
    """The maps that a ControlNet was trained on."""
    trigger_words: tuple[str, ...] = ()
    """For an embedding, the first one stands for it in prompts; without one, its name does."""
    preparation: Preparation | None = None
    """For a background remover."""
    revision: str | None = None
    """The commit or version that it was downloaded as before; None: the one that the source names now."""


class InputFile(msgspec.Struct, frozen=True, kw_only=True):
    """The description of an image file that comes with a job: the blob at the same index."""

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
    """None: that of the next of the job's `control_models`, else the engine's `control_net`."""
    scale: ControlScale = field(default=1.0, name="control_scale")
    start: Fraction = field(default=0.0, name="control_start")
    end: Fraction = field(default=1.0, name="control_end")
    is_preprocessed: bool = field(default=False, name="preprocessed")
    """True if the job's pose image already is the map."""


class Control(ControlUse, frozen=True, kw_only=True):
    """A resolved control: its type, and its ControlNet."""

    control_type: ControlType = field(name="type_pose")
    control_model: ModelId


LoraUses = Annotated[tuple[LoraUse, ...], Meta(max_length=MAX_MODELS)]
ModelIds = Annotated[tuple[ModelId, ...], Meta(max_length=MAX_MODELS)]
Removers = Annotated[tuple[ModelId, ...], Meta(max_length=MAX_REMOVERS)]
