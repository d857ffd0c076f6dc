"""The device memory that an engine needs, by plan and by the number of images stepped together.

Pure arithmetic over the values that inspection read from headers. docs/memory.md derives it and compares it
with measurements; adr/0025 says why the plans are tried in this order, adr/0032 which parts the last plan
offloads.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from typing import Final

from kernel.core.memory_model import activations
from kernel.protocol.enums import NATIVE_SIZES_PX, Compilation, MemoryPlan, ModelBase, ModelPart, Variant
from kernel.protocol.ids import ModelId
from kernel.protocol.memory import BATCH_SIZES, MemoryProfile, PartWeights, VaeLayout
from kernel.protocol.model_refs import OWN_VAE
from kernel.protocol.rows import EngineRow, ModelRow

CPU: Final = "cpu"
UNMEASURED: Final = ("mps", "xpu")
"""Apple's and Intel's GPUs: only a worker knows whether there is one, and its memory."""
MAX_BATCH_SIZE: Final = 64
"""Larger batches are not considered: long before this size a step's time grows in proportion."""
MOST_BYTES: Final = 1 << 60
"""A limit, whatever headers say: messages and the database hold no larger number, and no device has as
much."""
PROCESS_BYTES: Final = {"cpu": 416 << 20, "cuda": 640 << 20}
"""Bytes before any weight: the worker's libraries; on a GPU the CUDA context with its libraries."""
MARGIN: Final = {"cpu": 1.05, "cuda": 1.12}
"""Overhead of allocators: fragments between the blocks that are in use."""
RETAINED_BYTES: Final = {"cpu": 512 << 20, "cuda": 0}
"""The most that malloc keeps of freed memory, for calls of other sizes; a GPU's allocator reuses it, and
returns it when it is needed."""
RETAINED_STEPS: Final = 2
"""malloc keeps the memory of this many steps: the blocks of decoded images are large enough to be
returned."""
WORKSPACE_BYTES: Final = 4 << 20
"""Buffers of the threads that compute attention."""
ROWS_PER_IMAGE: Final = 2
"""With guidance an image is two rows of the UNet's batch."""
PIXELS_PER_LATENT: Final = 8
TILE_LATENTS: Final = 64
"""A VAE tile is 512 pixels wide and high."""
OUTPUT_BYTES_PER_PIXEL: Final = 40
"""A finished image in float32, in bytes, and the conversions between the two."""
TILED_BYTES_PER_PIXEL: Final = 24
"""The tiles of one image, their blended rows, and the whole."""
LATENT_COPIES: Final = 8
"""Per image: its latents, its scheduler's history, and the noise."""

_DTYPE_BYTES: Final = {Variant.FP16: 2, Variant.BF16: 2, Variant.FP32: 4}
_USUAL_VAE: Final = VaeLayout(channels=(128, 256, 512, 512), resnets_per_level=2, latent_channels=4)
"""That of SD and SDXL."""
_UNFOLDED_BYTES: Final = 6
"""Bytes of an element in float16 on a CPU, where convolutions unfold their input to nine copies."""


@dataclass(frozen=True, slots=True)
class MemoryDemand:
    """All inputs to the need of one worker of an engine."""

    profile: MemoryProfile
    extras: tuple[PartWeights, ...]
    """Weights of the VAE, LoRAs, embeddings and ControlNets that the engine holds besides the checkpoint."""
    control_nets: int
    dtype: Variant | None
    width_px: int
    height_px: int
    max_batch: int | None
    compilation: Compilation = Compilation.OFF


@dataclass(frozen=True, slots=True)
class Need:
    """One way to run an engine on a device, and its need."""

    plan: MemoryPlan
    batch_size: int
    bytes: int


@dataclass(frozen=True, slots=True)
class _Visiting:
    """Weights that are on the device only while in use, in bytes; 0 for those that stay there."""

    texts: int = 0
    vae: int = 0
    """The largest VAE: one image is decoded at a time."""
    other_vaes: int = 0
    """All further VAEs: an image may be encoded by one VAE while another one decodes."""


@dataclass(frozen=True, slots=True)
class Reservation:
    """The part of a device's memory that a worker may use, from its launch to its end."""

    device: str
    need: Need
    weights_bytes: int
    """The predicted weights in it, without those that are offloaded between uses."""


def kind_of(device: str) -> str:
    """The kind of a device: `cpu`, or `cuda` for every GPU."""
    return CPU if device == CPU else "cuda"


def dtype_on(kind: str, dtype: Variant | None) -> Variant:
    """The precision of UNet and text encoders; None: the best one for this kind of device."""
    return dtype or (Variant.FP32 if kind == CPU else Variant.FP16)


def plans_for(kind: str) -> tuple[MemoryPlan, ...]:
    """The plans for a kind of device, in the order in which they are tried.

    Offloaded networks lie in the CPU's memory, so on the CPU nothing is gained by offloading.
    """
    return tuple(plan for plan in MemoryPlan if kind != CPU or plan is not MemoryPlan.SWAPPED)


def demand_of(
    row: EngineRow, models: Mapping[ModelId, ModelRow], compilation: Compilation = Compilation.OFF
) -> MemoryDemand:
    """The inputs to an engine's need. A model that is not inspected yet weighs nothing."""
    spec, checkpoint = row.spec, models[row.spec.checkpoint]
    native_px = checkpoint.native_size_px or NATIVE_SIZES_PX[checkpoint.model_base or ModelBase.SD]
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
    """The model's profile. One that an earlier version inspected has none: its weights count as a UNet's."""
    if row.memory is not None:
        return row.memory
    part = PartWeights(
        part=ModelPart.UNET, parameters=row.parameters or 0, stored_bytes=row.memory_bytes or 0
    )
    return MemoryProfile(parts=(part,))


def needs_of(demand: MemoryDemand, kind: str, plan: MemoryPlan) -> tuple[int, ...]:
    """The need in bytes for 1, 2, ... images together, up to the limit of the engine."""
    batch_size = range(1, min(demand.max_batch or BATCH_SIZES[kind], MAX_BATCH_SIZE) + 1)
    return tuple(need_bytes(demand, kind, plan, count) for count in batch_size)


def need_bytes(demand: MemoryDemand, kind: str, plan: MemoryPlan, batch_size: int) -> int:
    """The peak of one worker, in bytes: UNet calls, prompts and an image's decoding may coincide.

    The stepping thread encodes prompts and images or calls the UNet, the finishing thread decodes one image
    at a time; so the peak is the larger of the first two plus the third, on top of the weights. CUDA graphs
    keep the memory of a step, beside that of calls which are not captured. Weights that are offloaded between
    uses count with the work that needs them.
    """
    dtype = dtype_on(kind, demand.dtype)
    weights, visiting = resident_bytes(demand, kind, plan), _visiting(demand, kind, plan)
    stepping = _unet_bytes(demand, kind, dtype, batch_size)
    reading = visiting.texts + _text_bytes(demand, kind, dtype)
    encoding = visiting.other_vaes + _input_image_bytes(demand, kind, dtype)
    is_tiled = plan is not MemoryPlan.FAST
    finishing = visiting.vae + _vae_bytes(demand, kind, dtype, is_tiled=is_tiled)
    kept = _latents_bytes(demand, dtype, batch_size)
    recorded = stepping if kind != CPU and demand.compilation is Compilation.GRAPHS else 0
    passing = max(stepping, reading, encoding) + recorded + finishing + kept + WORKSPACE_BYTES
    retained = min(RETAINED_STEPS * stepping, RETAINED_BYTES[kind])
    return min(PROCESS_BYTES[kind] + ceil(MARGIN[kind] * (weights + passing)) + retained, MOST_BYTES)


def weights_bytes(demand: MemoryDemand, kind: str) -> dict[ModelPart, int]:
    """The weights of each part in the precision that it is computed in, in bytes."""
    found = dict.fromkeys(ModelPart, 0)
    for part in (*demand.profile.parts, *demand.extras):
        found[part.part] += _part_bytes(part, demand, kind)
    return found


def resident_bytes(demand: MemoryDemand, kind: str, plan: MemoryPlan) -> int:
    """The weights that stay on the device, in bytes."""
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
    """The parts that are in host memory between uses."""
    is_swapped = plan is MemoryPlan.SWAPPED and plan in plans_for(kind)
    return frozenset({ModelPart.TEXT_ENCODER, ModelPart.VAE} if is_swapped else ())


def _part_bytes(part: PartWeights, demand: MemoryDemand, kind: str) -> int:
    dtype = dtype_on(kind, demand.dtype)
    used = _vae_dtype(dtype, kind) if part.part is ModelPart.VAE else dtype
    return part.parameters * _DTYPE_BYTES[used]


def _vae_dtype(dtype: Variant, kind: str) -> Variant:
    """The VAE overflows in float16, so it runs in bfloat16 on a GPU and float32 on the CPU."""
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
    rows = ROWS_PER_IMAGE * batch_size
    elements = activations.unet_elements(layout, height, width, rows, tokens, demand.control_nets)
    return elements * _element_bytes(dtype, kind)


def _text_bytes(demand: MemoryDemand, kind: str, dtype: Variant) -> int:
    encoders = demand.profile.text_encoders
    elements = sum(activations.text_elements(encoder, ROWS_PER_IMAGE) for encoder in encoders)
    return elements * _element_bytes(dtype, kind)


def _vae_layout(profile: MemoryProfile) -> VaeLayout | None:
    """That of the checkpoint; the usual one if its engine uses the VAE of another file, which tells none."""
    return _USUAL_VAE if profile.lacks_vae else profile.vae


def _input_image_bytes(demand: MemoryDemand, kind: str, dtype: Variant) -> int:
    """An input image on its way to latents, in bytes."""
    layout = _vae_layout(demand.profile)
    if layout is None:
        return 0
    height, width = _latent_sides(demand)
    used = _element_bytes(_vae_dtype(dtype, kind), kind)
    return activations.vae_encoding_elements(layout, height, width) * used


def _vae_bytes(demand: MemoryDemand, kind: str, dtype: Variant, *, is_tiled: bool) -> int:
    layout = _vae_layout(demand.profile)
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


def _latents_bytes(demand: MemoryDemand, dtype: Variant, batch_size: int) -> int:
    """Bytes that images keep between steps: latents in float32, and their prompts' embeddings."""
    height, width = _latent_sides(demand)
    profile = demand.profile
    channels = profile.vae.latent_channels if profile.vae is not None else 4
    latents = LATENT_COPIES * channels * height * width * _DTYPE_BYTES[Variant.FP32]
    context = profile.unet.context_width if profile.unet is not None else 0
    tokens = max((encoder.tokens for encoder in profile.text_encoders), default=0)
    return batch_size * (latents + ROWS_PER_IMAGE * tokens * context * _DTYPE_BYTES[dtype])


def _latent_sides(demand: MemoryDemand) -> tuple[int, int]:
    return -(-demand.height_px // PIXELS_PER_LATENT), -(-demand.width_px // PIXELS_PER_LATENT)
