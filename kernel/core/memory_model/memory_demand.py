"""What an engine needs of a device's memory, by plan and by the number of pictures that it steps together.

Pure arithmetic over what inspection read from headers. docs/memory.md derives it and says how well it
agrees with what was measured; adr/0025 says why the plans are tried in this order, adr/0032 what rests under
the last one.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from typing import Final

from kernel.core.memory_model import activations
from kernel.protocol.enums import Compilation, MemoryPlan, ModelBase, ModelPart, Variant
from kernel.protocol.ids import ModelId
from kernel.protocol.memory import BATCH_SIZES, MemoryProfile, PartWeights
from kernel.protocol.model_refs import OWN_VAE
from kernel.protocol.rows import EngineRow, ModelRow

CPU: Final = "cpu"
MAX_BATCH_SIZE: Final = 64
"""More are not reckoned with: long before that a step takes as much longer as it makes more."""
MOST_BYTES: Final = 1 << 60
"""Whatever headers say: a message and the database hold no more, and no device has as much."""
PROCESS_BYTES: Final = {"cpu": 416 << 20, "cuda": 640 << 20}
"""Before any weight: the libraries of the worker's process; on a GPU the CUDA context with its libraries."""
MARGIN: Final = {"cpu": 1.05, "cuda": 1.12}
"""What allocators lose between the blocks that they hand out."""
RETAINED_BYTES: Final = {"cpu": 512 << 20, "cuda": 0}
"""What malloc keeps at most of what was given back to it, for calls of other sizes; a GPU's allocator gives
it out again, and back where it is needed."""
RETAINED_STEPS: Final = 2
"""It keeps as much as so many steps need: blocks of pictures that are decoded are large enough to be given
back."""
WORKSPACE_BYTES: Final = 4 << 20
"""Buffers of the threads that compute attention."""
ROWS_PER_PICTURE: Final = 2
"""With guidance a picture is two rows of the UNet's batch."""
PIXELS_PER_LATENT: Final = 8
TILE_LATENTS: Final = 64
"""A tile of the VAE is 512 pixels wide and high."""
OUTPUT_BYTES_PER_PIXEL: Final = 40
"""A finished picture in single precision, in bytes, and on its way between the two."""
TILED_BYTES_PER_PIXEL: Final = 24
"""The tiles of one picture, their blended rows, and the whole."""
LATENT_COPIES: Final = 8
"""Of each picture: its latents, what its scheduler remembers of the last steps, and the noise."""

_NATIVE_SIZES_PX: Final = {ModelBase.SD: 512, ModelBase.SDXL: 1024}
_DTYPE_BYTES: Final = {Variant.FP16: 2, Variant.BF16: 2, Variant.FP32: 4}
_UNFOLDED_BYTES: Final = 6
"""An element in float16 on a CPU, where convolutions unfold their input to nine copies."""


@dataclass(frozen=True, slots=True)
class MemoryDemand:
    """All that the need of one worker of an engine follows from."""

    profile: MemoryProfile
    extras: tuple[PartWeights, ...]
    """Of the VAE, LoRAs, embeddings and ControlNets that the engine holds beside the checkpoint."""
    control_nets: int
    dtype: Variant | None
    width_px: int
    height_px: int
    max_batch: int | None
    compilation: Compilation = Compilation.OFF


@dataclass(frozen=True, slots=True)
class Need:
    """One way to run an engine on a device, and what it takes."""

    plan: MemoryPlan
    batch_size: int
    bytes: int


@dataclass(frozen=True, slots=True)
class _Visiting:
    """Weights that are on the device only while they are used, in bytes; 0 for those that stay there."""

    texts: int = 0
    vae: int = 0
    """Of the largest VAE: one picture is decoded at a time."""
    other_vaes: int = 0
    """Of all further ones: a picture may be encoded by another VAE than the one that decodes beside it."""


@dataclass(frozen=True, slots=True)
class Reservation:
    """The part of a device that a worker may use, from its launch to its end."""

    device: str
    need: Need
    weights_bytes: int
    """What of it the weights are predicted to take, those that come and go left out."""


def kind_of(device: str) -> str:
    """`cpu` or `cuda`."""
    return CPU if device == CPU else "cuda"


def plans_for(kind: str) -> tuple[MemoryPlan, ...]:
    """The plans that an engine may run under on a kind of device, in the order in which they are tried.

    The CPU's memory is where networks rest: there nothing is gained by bringing them.
    """
    return tuple(plan for plan in MemoryPlan if kind != CPU or plan is not MemoryPlan.SWAPPED)


def demand_of(
    row: EngineRow, models: Mapping[ModelId, ModelRow], compilation: Compilation = Compilation.OFF
) -> MemoryDemand:
    """What an engine's need follows from. A model that nobody has looked into weighs nothing yet."""
    spec, checkpoint = row.spec, models[row.spec.checkpoint]
    native_px = checkpoint.native_size_px or _NATIVE_SIZES_PX[checkpoint.model_base or ModelBase.SD]
    vae = () if spec.vae == OWN_VAE else (spec.vae,)
    others = (*vae, *(use.model_id for use in spec.loras), *spec.embeddings, *spec.control_models)
    extras = [part for other in others for part in _profile(models[other]).parts if other in models]
    return MemoryDemand(
        profile=_profile(checkpoint),
        extras=tuple(extras),
        control_nets=len(spec.control_models),
        dtype=spec.dtype,
        width_px=spec.width_px or native_px,
        height_px=spec.height_px or native_px,
        max_batch=spec.max_batch,
        compilation=compilation,
    )


def _profile(row: ModelRow) -> MemoryProfile:
    """A model that an earlier version inspected has no profile: its weights are taken for a UNet's."""
    if row.memory is not None:
        return row.memory
    part = PartWeights(
        part=ModelPart.UNET, parameters=row.parameters or 0, stored_bytes=row.memory_bytes or 0
    )
    return MemoryProfile(parts=(part,))


def needs_of(demand: MemoryDemand, kind: str, plan: MemoryPlan) -> tuple[int, ...]:
    """In bytes: of one picture at a time, of two together, and so on up to as many as are wanted."""
    batch_size = range(1, min(demand.max_batch or BATCH_SIZES[kind], MAX_BATCH_SIZE) + 1)
    return tuple(need_bytes(demand, kind, plan, count) for count in batch_size)


def need_bytes(demand: MemoryDemand, kind: str, plan: MemoryPlan, batch_size: int) -> int:
    """The peak of one worker: UNet calls, prompts and a picture's decoding may fall together.

    The stepping thread encodes prompts and pictures or calls the UNet, the finishing thread decodes one
    picture at a time; so the peak is the larger of the first two and the third, over the weights. Recorded
    calls keep the memory of a step, beside that of calls which were not recorded. Weights that come and go
    count with the work that they come for.
    """
    dtype = demand.dtype or (Variant.FP32 if kind == CPU else Variant.FP16)
    weights, visiting = resident_bytes(demand, kind, plan), _visiting(demand, kind, plan)
    stepping = _unet_bytes(demand, kind, dtype, batch_size)
    reading = visiting.texts + _text_bytes(demand, kind, dtype)
    encoding = visiting.other_vaes + _picture_in_bytes(demand, kind, dtype)
    is_tiled = plan is not MemoryPlan.FAST
    finishing = visiting.vae + _vae_bytes(demand, kind, dtype, is_tiled=is_tiled)
    kept = _pictures_bytes(demand, dtype, batch_size)
    recorded = stepping if kind != CPU and demand.compilation is Compilation.GRAPHS else 0
    passing = max(stepping, reading, encoding) + recorded + finishing + kept + WORKSPACE_BYTES
    retained = min(RETAINED_STEPS * stepping, RETAINED_BYTES[kind])
    return min(PROCESS_BYTES[kind] + ceil(MARGIN[kind] * (weights + passing)) + retained, MOST_BYTES)


def weights_bytes(demand: MemoryDemand, kind: str) -> dict[ModelPart, int]:
    """The weights of each part in the precision that it is computed in."""
    found = dict.fromkeys(ModelPart, 0)
    for part in (*demand.profile.parts, *demand.extras):
        found[part.part] += _part_bytes(part, demand, kind)
    return found


def resident_bytes(demand: MemoryDemand, kind: str, plan: MemoryPlan) -> int:
    """The weights that the device holds all the time."""
    resting = _resting(plan, kind)
    return sum(size for part, size in weights_bytes(demand, kind).items() if part not in resting)


def _visiting(demand: MemoryDemand, kind: str, plan: MemoryPlan) -> _Visiting:
    parts = (*demand.profile.parts, *demand.extras)
    coming = [part for part in parts if part.part in _resting(plan, kind)]
    sizes = [(part.part, _part_bytes(part, demand, kind)) for part in coming]
    vaes = [size for part, size in sizes if part is ModelPart.VAE]
    largest = max(vaes, default=0)
    texts = sum(size for part, size in sizes if part is ModelPart.TEXT_ENCODER)
    return _Visiting(texts, largest, sum(vaes) - largest)


def _resting(plan: MemoryPlan, kind: str) -> frozenset[ModelPart]:
    """The parts that are in the host's memory between uses."""
    is_swapped = plan is MemoryPlan.SWAPPED and plan in plans_for(kind)
    return frozenset({ModelPart.TEXT_ENCODER, ModelPart.VAE} if is_swapped else ())


def _part_bytes(part: PartWeights, demand: MemoryDemand, kind: str) -> int:
    dtype = demand.dtype or (Variant.FP32 if kind == CPU else Variant.FP16)
    used = _vae_dtype(dtype, kind) if part.part is ModelPart.VAE else dtype
    return part.parameters * _DTYPE_BYTES[used]


def _vae_dtype(dtype: Variant, kind: str) -> Variant:
    """In float16 the VAE overflows: bfloat16 on a GPU, float32 on the CPU instead."""
    if dtype is not Variant.FP16:
        return dtype
    return Variant.FP32 if kind == CPU else Variant.BF16


def _element_bytes(dtype: Variant, kind: str) -> int:
    return _UNFOLDED_BYTES if kind == CPU and dtype is Variant.FP16 else _DTYPE_BYTES[dtype]


def _unet_bytes(demand: MemoryDemand, kind: str, dtype: Variant, batch_size: int) -> int:
    layout = demand.profile.unet
    if layout is None:
        return 0
    height, width = _latent_sides(demand)
    tokens = max((encoder.tokens for encoder in demand.profile.text_encoders), default=0)
    rows = ROWS_PER_PICTURE * batch_size
    elements = activations.unet_elements(layout, height, width, rows, tokens, demand.control_nets)
    return elements * _element_bytes(dtype, kind)


def _text_bytes(demand: MemoryDemand, kind: str, dtype: Variant) -> int:
    encoders = demand.profile.text_encoders
    elements = sum(activations.text_elements(encoder, ROWS_PER_PICTURE) for encoder in encoders)
    return elements * _element_bytes(dtype, kind)


def _picture_in_bytes(demand: MemoryDemand, kind: str, dtype: Variant) -> int:
    """A picture that a job starts from, on its way to latents."""
    layout = demand.profile.vae
    if layout is None:
        return 0
    height, width = _latent_sides(demand)
    used = _element_bytes(_vae_dtype(dtype, kind), kind)
    return activations.vae_encoding_elements(layout, height, width) * used


def _vae_bytes(demand: MemoryDemand, kind: str, dtype: Variant, *, is_tiled: bool) -> int:
    layout = demand.profile.vae
    if layout is None:
        return 0
    height, width = _latent_sides(demand)
    pixels = demand.width_px * demand.height_px
    assembled = TILED_BYTES_PER_PIXEL * pixels if is_tiled else 0
    if is_tiled:
        height, width = min(height, TILE_LATENTS), min(width, TILE_LATENTS)
    elements = activations.vae_elements(layout, height, width)
    used = _element_bytes(_vae_dtype(dtype, kind), kind)
    return elements * used + assembled + OUTPUT_BYTES_PER_PIXEL * pixels


def _pictures_bytes(demand: MemoryDemand, dtype: Variant, batch_size: int) -> int:
    """What each picture keeps between steps: latents in single precision, and its prompts' embeddings."""
    height, width = _latent_sides(demand)
    profile = demand.profile
    channels = profile.vae.latent_channels if profile.vae is not None else 4
    latents = LATENT_COPIES * channels * height * width * _DTYPE_BYTES[Variant.FP32]
    context = profile.unet.context_width if profile.unet is not None else 0
    tokens = max((encoder.tokens for encoder in profile.text_encoders), default=0)
    return batch_size * (latents + ROWS_PER_PICTURE * tokens * context * _DTYPE_BYTES[dtype])


def _latent_sides(demand: MemoryDemand) -> tuple[int, int]:
    return -(-demand.height_px // PIXELS_PER_LATENT), -(-demand.width_px // PIXELS_PER_LATENT)
