"""The base that a model was made for, by the width of its cross-attention, which is that of the text
embeddings."""

from kernel.protocol.enums import ModelBase
from kernel.protocol.errors import ModelUnreadable

SD_TEXT_WIDTH = 768
SD2_TEXT_WIDTH = 1024
SDXL_TEXT_WIDTH = 2048

_BASES = {SD_TEXT_WIDTH: ModelBase.SD, SDXL_TEXT_WIDTH: ModelBase.SDXL}


def base_of_text_width(width: int | None) -> ModelBase | None:
    """The base with this width; None for a width of no released base, such as a small model's.

    Raises: ModelUnreadable, if it is Stable Diffusion 2.
    """
    if width == SD2_TEXT_WIDTH:
        raise stranger("a Stable Diffusion 2 model")
    return None if width is None else _BASES.get(width)


def stranger(what: str) -> ModelUnreadable:
    """The error for a valid but unsupported model."""
    return ModelUnreadable(
        f"this is {what}: only Stable Diffusion 1.5 (sd) and SDXL (sdxl) models are supported"
    )
