"""What goes into a picture beside the checkpoint and the words: other models, and how they are used."""

from typing import Final

import msgspec

from kernel.protocol.enums import ControlType, ModelBase, ModelType, Variant
from kernel.protocol.ids import Count, ModelId, Pixels

OWN_VAE: Final = ModelId("checkpoint")
"""In place of a VAE's id: the checkpoint's own, whichever the engine has. No id of a model is like it."""


class Preparation(msgspec.Struct, frozen=True, kw_only=True):
    """How a background remover wants its pictures, as far as its owner says so; the file tells the rest."""

    input_size: tuple[Pixels, Pixels] | None = None
    """Width and height."""
    mean: tuple[float, float, float] | None = None
    """Of red, green and blue, where a pixel's value is 0 to 1."""
    std: tuple[float, float, float] | None = None
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
    """A LoRA and how strongly it works: 0 not at all, 1 as it was trained; below 0 it works backwards."""

    model_id: ModelId
    weight: float = 1.0


class ControlUse(msgspec.Struct, frozen=True, kw_only=True):
    """One ControlNet at work: the type of its map, how strongly, and in which part of the steps (0 to 1)."""

    control_type: ControlType
    scale: float = 1.0
    start: float = 0.0
    end: float = 1.0
    is_preprocessed: bool = False
    """The job's pose image is the map already."""
