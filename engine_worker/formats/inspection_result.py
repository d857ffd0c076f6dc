"""The result of inspecting names and shapes, and the base that a model was made for, before the rest is
read."""

from collections.abc import Iterable
from dataclasses import dataclass
from operator import methodcaller

from engine_worker.formats.safetensors_header import Entry, Header
from kernel.protocol.enums import ControlType, ModelBase, ModelType, Variant
from kernel.protocol.errors import ModelUnreadable
from kernel.protocol.memory import MemoryProfile

_SMALLEST_PX, _LARGEST_PX, _CELL_PX = 64, 4096, 8
_VARIANTS = {"F16": Variant.FP16, "F32": Variant.FP32, "BF16": Variant.BF16}
SD_TEXT_WIDTH = 768
SD2_TEXT_WIDTH = 1024
SDXL_TEXT_WIDTH = 2048
_BASES = {SD_TEXT_WIDTH: ModelBase.SD, SDXL_TEXT_WIDTH: ModelBase.SDXL}


@dataclass(frozen=True, slots=True)
class InspectionResult:
    """One model. `weights` are the tensors that a worker would load."""

    model_type: ModelType
    model_base: ModelBase | None
    weights: tuple[Entry, ...]
    prediction_type: str | None = None
    native_size_px: int | None = None
    memory: MemoryProfile | None = None
    trigger_words: tuple[str, ...] = ()
    control_type: ControlType | None = None
    warnings: tuple[str, ...] = ()
    """What its owner should know although it can be used."""
    beside: str = ""
    """What decides its images but is in a file beside it: the file's name, and what it says."""
    leftovers: tuple[str, ...] = ()
    """The tensors that are known to be useless, for the log."""


def believable_size_px(size_px: int) -> int | None:
    """The native size, or None if no image can have this size."""
    return size_px if _SMALLEST_PX <= size_px <= _LARGEST_PX and size_px % _CELL_PX == 0 else None


def has_prefix(header: Header, *prefixes: str) -> bool:
    """True if any tensor's name has one of these prefixes."""
    return any(map(methodcaller("startswith", prefixes), header.tensors))


def has_suffix(header: Header, *suffixes: str) -> bool:
    """True if any tensor's name has one of these suffixes."""
    return any(map(methodcaller("endswith", suffixes), header.tensors))


def width_of(header: Header, *suffixes: str) -> int | None:
    """The number of inputs of the first matrix whose name has one of these suffixes; None if there is
    none."""
    for name, entry in header.tensors.items():
        if name.endswith(suffixes) and len(entry.shape) >= 2:
            return entry.shape[1]
    return None


def variant_of(weights: Iterable[Entry]) -> Variant | None:
    """The precision of most parameters; None if it is not a supported one."""
    counts: dict[str, int] = {}
    for entry in weights:
        counts[entry.dtype] = counts.get(entry.dtype, 0) + entry.parameters
    return _VARIANTS.get(max(counts, key=lambda dtype: counts[dtype])) if counts else None


def base_of_text_width(width: int | None) -> ModelBase | None:
    """The base with this width of cross-attention, which is that of the text embeddings; None for a width of
    no released base, such as a small model's.

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
