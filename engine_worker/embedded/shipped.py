"""The models that ship with the project: a small Stable Diffusion family that draws simple scenes.

They are trained by `training/` and lie in `models/` beside this file. They need no download and no GPU, and
what they draw can be judged: for trying the server, and for tests that look whether an image is right.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from kernel.protocol.enums import ModelBase, ModelType

MODELS: Final = Path(__file__).with_name("models")


@dataclass(frozen=True, slots=True)
class Shipped:
    """One model: what it is called, what it is, and what one sees of it."""

    name: str
    model_type: ModelType
    base: ModelBase | None
    """None for what works with every base."""
    file: str
    effect: str

    @property
    def path(self) -> Path:
        """Where it lies: a file, or a folder of diffusers."""
        return MODELS / self.file


SHIPPED: Final = (
    Shipped(
        "scenes-sd", ModelType.CHECKPOINT, ModelBase.SD, "scenes-sd.safetensors",
        "draws a circle, square, triangle or star in eight colors",
    ),
    Shipped(
        "scenes-sdxl", ModelType.CHECKPOINT, ModelBase.SDXL, "scenes-sdxl.safetensors",
        "the same in the layout of SDXL",
    ),
    Shipped(
        "stripes-sd", ModelType.LORA, ModelBase.SD, "lora-striped-sd-kohya.safetensors",
        "stripes across the background",
    ),
    Shipped(
        "stripes-sdxl", ModelType.LORA, ModelBase.SDXL, "lora-striped-sdxl-kohya.safetensors",
        "stripes across the background",
    ),
    Shipped(
        "frame-sd", ModelType.LORA, ModelBase.SD, "lora-framed-sd-diffusers.safetensors",
        "a frame around the image",
    ),
    Shipped(
        "frame-sdxl", ModelType.LORA, ModelBase.SDXL, "lora-framed-sdxl-diffusers.safetensors",
        "a frame around the image",
    ),
    Shipped(
        "dusk-sd", ModelType.EMBEDDING, ModelBase.SD, "embedding-dusk-sd.safetensors",
        "a word that means orange before purple",
    ),
    Shipped(
        "dusk-sdxl", ModelType.EMBEDDING, ModelBase.SDXL, "embedding-dusk-sdxl.safetensors",
        "a word that means orange before purple",
    ),
    Shipped("grey-sd", ModelType.VAE, ModelBase.SD, "vae-grey-sd.safetensors", "decodes without color"),
    Shipped(
        "grey-sdxl", ModelType.VAE, ModelBase.SDXL, "vae-grey-sdxl.safetensors", "decodes without color"
    ),
    Shipped(
        "canny-sd", ModelType.CONTROLNET, ModelBase.SD, "controlnet-canny-sd",
        "the shape follows a map of edges",
    ),
    Shipped(
        "depth-sd", ModelType.CONTROLNET, ModelBase.SD, "controlnet-depth-sd",
        "the shape follows a map of depth",
    ),
    Shipped("remover", ModelType.BACKGROUND, None, "remover.onnx", "cuts the shape out"),
)  # fmt: skip


def shipped(name: str) -> Shipped:
    """Find a model by its name. Raises: KeyError, if none is called that."""
    return {model.name: model for model in SHIPPED}[name]


def bases_of(name: str) -> list[ModelBase]:
    """Say for which bases a model called so and `-` and the base ships."""
    return [base for base in ModelBase if any(model.name == f"{name}-{base}" for model in SHIPPED)]
