"""Finds a network's parameters in a model's files, and judges the tensors that no network uses.

Registration does it with the tables of `network_parameters`, loading once more with the modules it has built.
"""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Final

from engine_worker.formats.checkpoint_layout import Network, NetworkPlan
from engine_worker.formats.ldm_keys import THIRDS, Form, Stored
from engine_worker.formats.network_parameters import Parameters, Shape, parameters_of
from engine_worker.formats.safetensors_header import Entry, Header
from kernel.protocol.errors import ModelUnreadable

FLOATS: Final = frozenset({"F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2"})
"""The types of numbers that a network's tensors may be stored in."""
_NAMES_SHOWN: Final = 3
_MAX_NAME_SHOWN: Final = 120

_LEFTOVERS: Final = re.compile(
    # State of the training, beside the networks.
    r"^(model_ema|optimizer\w*|lr_schedulers?|callbacks|loops|denoiser|ema|embedding_manager|safety_checker"
    r"|feature_extractor)\."
    r"|(^|\.)(loss|discriminator|quantize|model_ema|embedding_manager|vision_model|visual|visual_projection)\."
    # Buffers of the noise schedule, and numbers of which inference needs none.
    r"|^(model\.)?(betas|alphas_cumprod(_prev)?|log_one_minus_alphas_cumprod|logvar|lvlb_weights|posterior_\w+"
    r"|sqrt_\w+|scale_factor|global_step|step|epoch|v_pred|ztsnr|scaled_fp8)$"
    r"|(^|\.)(position_ids|logit_scale|attn_mask|num_batches_tracked|scaled_fp8)$"
    # The projection of a text encoder that is used without one.
    r"|(^|\.)text_projection(\.weight)?$"
)
"""Tensors that released files are known to contain, and that change no image."""
_CHECKPOINT: Final = re.compile(r"^(model\.diffusion_model|first_stage_model|cond_stage_model|conditioner)\.")
"""The checkpoint that a ControlNet or VAE was trained with, in the same file."""
_CHANGING: Final[Mapping[str, str]] = {
    r"motion_modules|temporal_|time_stack|time_mixer": "layers for video (AnimateDiff or SVD)",
    r"ip_adapter|to_[kqv]_ip": "an IP-Adapter",
    r"fuser\.|position_net": "GLIGEN's layers",
    r"lora_(up|down|A|B)\b|\.hada_w|\.lokr_w": "a LoRA that was not merged",
    r"add_embedding|encoder_hid_proj|class_emb|label_emb|aug_emb": "conditions that jobs do not give",
    r"norm_[qk]\b|adapter\.|attn3": "further attention layers",
}
"""Tensors of a UNet by which it would draw other images, by what they are."""


@dataclass(frozen=True, slots=True)
class Place:
    """The location of one parameter in a file."""

    header: Header
    entry: Entry
    stored: Stored


@dataclass(frozen=True, slots=True)
class TensorUse:
    """The tensors of a model's files that networks use, and the names of the others."""

    weights: Mapping[Network, tuple[Entry, ...]]
    leftovers: tuple[str, ...]
    """Known to be harmless."""
    unknown: tuple[str, ...]

    def all_weights(self) -> tuple[Entry, ...]:
        """The tensors of all networks."""
        return tuple(entry for entries in self.weights.values() for entry in entries)

    def warnings(self) -> tuple[str, ...]:
        """What the owner of the model should know."""
        if not self.unknown:
            return ()
        return (f"tensors that no network uses are ignored: {listed(self.unknown)}",)


def check_networks(plans: Sequence[NetworkPlan]) -> TensorUse:
    """Check that the files of these networks have all of their parameters, in the right shapes, and nothing
    that would change them.

    Raises: ModelUnreadable.
    """
    return find_use([(plan, find_places(parameters_of(plan.network, plan.config), plan)) for plan in plans])


def find_places(parameters: Parameters, plan: NetworkPlan) -> Mapping[str, Place]:
    """The location of each of a network's parameters.

    Raises: ModelUnreadable, if some are missing, or are stored in another shape or as no floats.
    """
    owners = {key: header for header in plan.files for key in header.tensors}
    places: dict[str, Place] = {}
    missing: list[str] = []
    for name in parameters:
        candidates = plan.locate(name)
        found = next((stored for stored in candidates if stored.key in owners), None)
        if found is None:
            missing.append(candidates[0].key)
        else:
            owner = owners[found.key]
            places[name] = Place(owner, owner.tensors[found.key], found)
    if missing:
        raise ModelUnreadable(f"the {plan.network.value} lacks {listed(missing)}")
    for name, place in places.items():
        _check(place, parameters[name])
    return places


def find_use(found: Sequence[tuple[NetworkPlan, Mapping[str, Place]]]) -> TensorUse:
    """Which tensors in the networks' files are their parameters, and which are not.

    Raises: ModelUnreadable, if one would change what a network does.
    """
    files = {header.path: header for plan, _ in found for header in plan.files}
    taken = {(place.header.path, place.stored.key) for _, places in found for place in places.values()}
    surplus = [key for path, header in files.items() for key in header.tensors if (path, key) not in taken]
    alone = len(found) == 1
    harmless = {key for key in surplus if _LEFTOVERS.search(key) or (alone and _CHECKPOINT.match(key))}
    unknown = tuple(key for key in surplus if key not in harmless)
    for plan, places in found:
        _check_strange(plan, [place.stored.key for place in places.values()], unknown)
    weights = {
        plan.network: tuple({place.stored.key: place.entry for place in places.values()}.values())
        for plan, places in found
    }
    return TensorUse(weights, tuple(sorted(harmless)), unknown)


def listed(names: Sequence[str]) -> str:
    """Some of the names, for a message."""
    shown = ", ".join(printable(name) for name in names[:_NAMES_SHOWN])
    more = len(names) - _NAMES_SHOWN
    if more > 0:
        return f"{shown} and {more} more tensors"
    return f"the tensor {shown}" if len(names) == 1 else f"the tensors {shown}"


def printable(name: str) -> str:
    """A tensor's name for a message: short, and without the codes of a terminal."""
    return "".join(letter if letter.isprintable() else "?" for letter in name[:_MAX_NAME_SHOWN])


def _check(place: Place, wanted: Shape) -> None:
    """Raises: ModelUnreadable."""
    key, entry = place.stored.key, place.entry
    if entry.dtype not in FLOATS:
        raise ModelUnreadable(
            f"{printable(key)} is stored as {entry.dtype}: quantized models are not supported, use one with "
            "fp16, bf16 or fp32 weights"
        )
    if _formed(entry.shape, place.stored.form) != wanted:
        raise ModelUnreadable(
            f"{printable(key)} has the shape {list(entry.shape)}, which does not fit {list(wanted)}"
        )


def _formed(shape: Shape, form: Form) -> Shape | None:
    """The shape of the parameter that is stored in this form; None if it cannot be one."""
    match form:
        case Form.SAME:
            return shape
        case Form.TRANSPOSED:
            return shape[::-1]
        case Form.CONV_1X1:
            return (shape[0], prod(shape[1:])) if len(shape) > 1 else None
        case _:
            return (shape[0] // len(THIRDS), *shape[1:]) if shape and not shape[0] % len(THIRDS) else None


def _check_strange(plan: NetworkPlan, taken: Sequence[str], unknown: Iterable[str]) -> None:
    """Check that no unknown tensor belongs to a module of this network.

    Raises: ModelUnreadable.
    """
    root = _root_of(taken)
    modules = {key.removeprefix(root).partition(".")[0] for key in taken}
    inside = [key for key in unknown if key.startswith(root)]
    if plan.network in (Network.UNET, Network.CONTROLNET):
        _check_changing(plan.network, inside)
    strange = [key for key in inside if key.removeprefix(root).partition(".")[0] in modules]
    if strange:
        raise ModelUnreadable(
            f"the {plan.network.value} has layers that are unknown: {listed(strange)}. Its architecture is "
            "none of Stable Diffusion 1.5 and SDXL"
        )


def _check_changing(network: Network, inside: Iterable[str]) -> None:
    for key in inside:
        for pattern, what in _CHANGING.items():
            if re.search(pattern, key):
                raise ModelUnreadable(
                    f"the {network.value} contains {what} ({printable(key)}), which is not supported"
                )


def _root_of(keys: Collection[str]) -> str:
    """The longest path of modules that all keys begin with."""
    first, last = min(keys), max(keys)
    shared = next(
        (number for number, (one, other) in enumerate(zip(first, last, strict=False)) if one != other), 0
    )
    return first[: first.rfind(".", 0, shared) + 1]
