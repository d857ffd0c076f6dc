"""Parses the keys of a LoRA file: the network and layer of each tensor, and its part of the change."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import lru_cache
from typing import Final

from engine_worker.formats.architecture import UNetShape
from engine_worker.formats.checkpoint_layout import Network
from engine_worker.formats.ldm_keys import unet_key
from engine_worker.formats.safetensors_header import Header
from engine_worker.formats.tensor_places import printable
from kernel.protocol.errors import ModelUnreadable

BUNDLE_PREFIX: Final = "bundle_emb."
"""Embeddings that come with the LoRA (pivotal tuning), as A1111 and OneTrainer write them."""
LORA_FILES: Final = ("adapter_model.safetensors", "pytorch_lora_weights.safetensors")
"""The names that peft and diffusers give a LoRA in a folder of its own."""


class Part(Enum):
    """The parts of one layer's change; those of LyCORIS' kinds have LyCORIS' names."""

    # That of Enum is a function in Python; a LoRA's parts are looked up 20,000 times.
    __hash__ = object.__hash__

    DOWN = "lora_down"
    UP = "lora_up"
    UP_BIAS = "lora_up.bias"
    CORE = "lora_mid"
    ALPHA = "alpha"
    DORA_SCALE = "dora_scale"
    """Magnitudes of rows, or of columns, depending on its shape."""
    MAGNITUDES = "lora_magnitude_vector"
    """Magnitudes of rows."""
    HADA_A1 = "hada_w1_a"
    HADA_B1 = "hada_w1_b"
    HADA_A2 = "hada_w2_a"
    HADA_B2 = "hada_w2_b"
    HADA_CORE1 = "hada_t1"
    HADA_CORE2 = "hada_t2"
    LOKR_1 = "lokr_w1"
    LOKR_A1 = "lokr_w1_a"
    LOKR_B1 = "lokr_w1_b"
    LOKR_2 = "lokr_w2"
    LOKR_A2 = "lokr_w2_a"
    LOKR_B2 = "lokr_w2_b"
    LOKR_CORE2 = "lokr_t2"
    DIFF = "diff"
    """Added to the weight; of a norm, `w_norm` is the same."""
    DIFF_B = "diff_b"
    """Added to the bias; of a norm, `b_norm` is the same."""
    GLORA_A1 = "a1"
    GLORA_A2 = "a2"
    GLORA_B1 = "b1"
    GLORA_B2 = "b2"
    OFT_BLOCKS = "oft_blocks"
    RESCALE = "rescale"
    IA3 = "weight beside on_input"
    ON_INPUT = "on_input"


# kohya's names, those of older diffusers, and peft's (which may contain the adapter's name).
_ADAPTER: Final = r"(?:\.(?P<adapter>[^.]+))?"
_WAYS: Final = (
    r"(?:[._]lora_{way}|[._]lora\.{way}|\.lora_linear_layer\.{way}|\.lora_{letter}" + _ADAPTER + r")\.{end}"
)
_ENDS: Final[tuple[tuple[re.Pattern[str], Part | None], ...]] = tuple(
    (re.compile(f"(?:{pattern})$"), part)
    for pattern, part in (
        (_WAYS.format(way="down", letter="A", end="weight"), Part.DOWN),
        (_WAYS.format(way="up", letter="B", end="weight"), Part.UP),
        (_WAYS.format(way="up", letter="B", end="bias"), Part.UP_BIAS),
        (r"\.lora_mid\.weight", Part.CORE),
        (r"(?:[._]lora)?\.alpha", Part.ALPHA),
        (r"\.dora_scale", Part.DORA_SCALE),
        (rf"\.lora_magnitude_vector(?:\.weight|{_ADAPTER}(?:\.weight)?)", Part.MAGNITUDES),
        (rf"\.(?P<lycoris>(?:hada|lokr)_[wt][12](?:_[ab])?){_ADAPTER}", None),
        (r"\.(?:diff|w_norm)", Part.DIFF),
        (r"\.(?:diff_b|b_norm)", Part.DIFF_B),
        (r"\.(?P<glora>[ab][12])\.weight", None),
        (r"\.oft_blocks", Part.OFT_BLOCKS),
        (r"\.rescale", Part.RESCALE),
        (r"\.on_input", Part.ON_INPUT),
    )
)
_MARK: Final = re.compile(
    r"lora|[.](?:(?:hada|lokr)_[^.]+(?:[.][^.]+)?|alpha|dora_scale|diff|diff_b|w_norm|b_norm|[ab][12][.]weight"
    r"|oft_blocks|rescale|on_input)$"
)
"""What every key of a LoRA has, so that the keys of a checkpoint are passed over quickly."""
_PARTS: Final[Mapping[str, Part]] = {part.value: part for part in Part}
_COMPANIONS: Final = frozenset({Part.ALPHA, Part.RESCALE, Part.DORA_SCALE})
"""Parts that other kinds of files may have as well, so that they alone make no LoRA."""

UNSUPPORTED: Final[tuple[tuple[re.Pattern[str], str], ...]] = tuple(
    (re.compile(pattern), kind)
    for pattern, kind in (
        (r"\.oft_(?:diag$|R\b|r\b|s$)", "OFT in the form of peft or of LyCORIS 1"),
        (r"\.boft_[RrSs]\b", "BOFT in the form of peft"),
        (r"\.ia3_l\b", "IA3 in the form of peft"),
        (r"\.bm\.weight$", "GLoRA with cores"),
        (r"\.(?:q_layer|p_layer)\.weight$|\.lambda_layer$", "T-LoRA"),
        (r"\.(?:set|reshape)_weight$", "replaced weights"),
        (r"\.lora_embedding_[AB]\b", "LoRA of an embedding table"),
        (r"\.lora_[EM]\b|\.ranknum\b", "AdaLoRA"),
        (r"\.lokr_t1\b", "LoKr with two cores"),
        (r"\.vera_lambda_[bd]\b", "VeRA"),
        (r"\.hra_u\b", "HRA"),
        (r"\.(?:fourierft|waveft)_spectrum\b", "FourierFT"),
        (r"\.(?:bone|miss)_block\b", "MiSS"),
        (r"\.randlora_\w+\b", "RandLoRA"),
        (
            r"\.(?:c3a_kernel|shira_weight|road_theta|delora_\w+|gralora_\w+|psoft_\w+)\b",
            "a rare method of peft",
        ),
        (r"\.modules_to_save\b", "whole modules that were trained with a LoRA"),
    )
)
"""Kinds of adapters that are refused by name, by the ends of keys."""
_ANY_UNSUPPORTED: Final = re.compile("|".join(pattern.pattern for pattern, _ in UNSUPPORTED))

# The longest one counts. None is a wrapper around the names of any network.
_PREFIXES: Final[Mapping[str, Network | None]] = {
    "lora_unet_": Network.UNET,
    "lycoris_unet_": Network.UNET,
    "oft_unet_": Network.UNET,
    "unet_": Network.UNET,
    "model_diffusion_model_": Network.UNET,
    "diffusion_model_": Network.UNET,
    "lycoris_": None,
    "base_model_model_": None,
    "text_encoders_": None,
    "cond_stage_model_transformer_": Network.TEXT_ENCODER,
    "conditioner_embedders_0_transformer_": Network.TEXT_ENCODER,
    **dict.fromkeys(
        (
            "lora_te_",
            "lora_te1_",
            "te_",
            "te1_",
            "text_encoder_",
            "text_encoder_1_",
            "clip_l_",
            "lora_clip_l_",
        ),
        Network.TEXT_ENCODER,
    ),
    **dict.fromkeys(
        ("lora_te2_", "te2_", "text_encoder_2_", "clip_g_", "lora_clip_g_"), Network.PROJECTING_TEXT_ENCODER
    ),
}
_BY_LENGTH: Final = tuple(sorted(_PREFIXES, key=len, reverse=True))
_TEXT_MODEL: Final = "text_model."
_TEXT_WRAPPER: Final = "transformer_"
"""Around the names of a text encoder in ComfyUI's files."""
# diffusers before 0.22 inserted the attention processor, and omitted the index of its last layer.
_PROCESSOR: Final = ".processor."
_PROCESSOR_OUT: Final = ".to_out"
_NAMES_SHOWN: Final = 3
_NAMES_KEPT: Final = 8_192
"""Parsed names, which most LoRAs share: a LoRA of every layer has 2,500 keys."""
_END_LENGTH: Final = 200
"""The end of a key that is searched for its part. Keys come with the file, so no work may grow with their
length."""
_MAX_PREFIXES: Final = 4
"""Wrappers around each other: `text_encoders.clip_l`, `unet.base_model.model`."""


@dataclass(slots=True)
class LoraKeys:
    """The keys of a file, sorted."""

    layers: dict[str, dict[Part, str]] = field(default_factory=dict)
    """The keys of each layer's parts, by the layer's name in the file."""
    bundled: list[str] = field(default_factory=list)
    """Those of embeddings that come with the LoRA."""
    others: list[str] = field(default_factory=list)
    """Those that are none of a LoRA's."""


def is_lora(header: Header) -> bool:
    """True if the file contains a change of a layer, of any kind."""
    for key in header.tensors:
        split = _split(key)
        if (split is not None and split[1] not in _COMPANIONS) or _ANY_UNSUPPORTED.search(key):
            return True
    return False


def parts_by_layer(header: Header) -> LoraKeys:
    """The keys of the file by layer. A layer that has only an alpha is left out.

    Raises: ModelUnreadable, if there is an adapter of an unsupported kind, or more than one adapter.
    """
    found = LoraKeys()
    adapters: set[str] = set()
    scaled = {key.removesuffix(".on_input") for key in header.tensors if key.endswith(".on_input")}
    for key in header.tensors:
        _check_supported(key)
        if key.startswith(BUNDLE_PREFIX):
            found.bundled.append(key)
        elif key.removesuffix(".weight") in scaled and key.endswith(".weight"):
            found.layers.setdefault(key.removesuffix(".weight"), {})[Part.IA3] = key
        elif (split := _split(key)) is None:
            found.others.append(key)
        else:
            layer, part, adapter = split
            adapters.add(adapter)
            if found.layers.setdefault(layer, {}).setdefault(part, key) != key:
                raise ModelUnreadable(
                    f"two of its tensors are the {part.value} of {layer}{_several(adapters)}"
                )
    for layer in [name for name, parts in found.layers.items() if parts.keys() <= {Part.ALPHA}]:
        del found.layers[layer]
    return found


@lru_cache(_NAMES_KEPT)
def locate(name: str) -> tuple[Network, str]:
    """The network that a layer's name in a file belongs to, and the rest of the name, as the file writes it.

    Some formats replace dots by underscores, so prefixes are compared in that form. A name without a prefix
    belongs to the UNet, unless it begins as only those of a text encoder do.
    """
    key, start, network = name.replace(".", "_"), 0, None
    for _ in range(_MAX_PREFIXES):
        prefix = next((one for one in _BY_LENGTH if key.startswith(one, start)), "")
        network, start = network or _PREFIXES.get(prefix), start + len(prefix)
    if network is None:
        network = Network.TEXT_ENCODER if key.startswith("text_model_", start) else Network.UNET
    if network is not Network.UNET and key.startswith(_TEXT_WRAPPER, start):
        start += len(_TEXT_WRAPPER)
    return network, name[start:]


def aliases(network: Network, module: str, unet: UNetShape) -> tuple[str, ...]:
    """The names of a layer in files, after the network's prefix: the module's own, or that of the original
    releases."""
    if network is Network.UNET:
        return module, unet_key(module, unet)
    # transformers 5 dropped a level of the names, which all files still have.
    plain = module.removeprefix(_TEXT_MODEL)
    return plain, _TEXT_MODEL + plain


def listed(names: list[str]) -> str:
    """The first of some names, and the number of the others."""
    more = len(names) - _NAMES_SHOWN
    shown = ", ".join(printable(name) for name in names[:_NAMES_SHOWN])
    return shown + (f" and {more} more" if more > 0 else "")


def _check_supported(key: str) -> None:
    for pattern, kind in UNSUPPORTED if _ANY_UNSUPPORTED.search(key) else ():
        if pattern.search(key):
            raise ModelUnreadable(
                f"this is an adapter of type {kind}, which is not supported: convert it to a LoRA, LoHa or "
                "LoKr, or use a checkpoint with it merged"
            )


@lru_cache(_NAMES_KEPT)
def _split(key: str) -> tuple[str, Part, str] | None:
    """The layer, the part, and the adapter's name or "" of a key; None, if it is none of a LoRA's."""
    for end, part in _ENDS if _MARK.search(key) else ():
        found = end.search(key, max(0, len(key) - _END_LENGTH))
        if found is None:
            continue
        groups = found.groupdict()
        named = part or _PARTS.get(groups.get("lycoris") or groups.get("glora") or "")
        return None if named is None else (_plain(key[: found.start()]), named, groups.get("adapter") or "")
    return None


def _several(adapters: set[str]) -> str:
    named = sorted(adapters - {""})
    return f": it holds several adapters ({listed(named)}), but must hold one" if len(adapters) > 1 else ""


def _plain(layer: str) -> str:
    if _PROCESSOR not in layer:
        return layer
    plain = layer.replace(_PROCESSOR, ".")
    return f"{plain}.0" if plain.endswith(_PROCESSOR_OUT) else plain
