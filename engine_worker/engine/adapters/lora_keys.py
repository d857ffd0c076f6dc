"""Parses the keys of a LoRA file: the layer a tensor belongs to, and its part of the delta."""

import re
from collections.abc import Mapping
from enum import Enum

from engine_worker.formats.safetensors_header import Header


class Part(Enum):
    """The parts of one layer's change; those of LoHa and LoKr have LyCORIS' names."""

    DOWN = "lora_down"
    UP = "lora_up"
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


# The part of a key between the layer's name and `.weight`, for the down and the up matrix: kohya's, that of
# older diffusers, and peft's (which may contain the adapter's name).
_DOWN = r"\.lora_down|[._]lora\.down|\.lora_linear_layer\.down|\.lora_A(?:\.\w+)?"
_UP = r"\.lora_up|[._]lora\.up|\.lora_linear_layer\.up|\.lora_B(?:\.\w+)?"
_ENDS: Mapping[re.Pattern[str], Part] = {
    re.compile(rf"(?:{_DOWN})\.weight$"): Part.DOWN,
    re.compile(rf"(?:{_UP})\.weight$"): Part.UP,
    re.compile(r"\.lora_mid\.weight$"): Part.CORE,
    re.compile(r"\.dora_scale$"): Part.DORA_SCALE,
    re.compile(r"\.lora_magnitude_vector(?:\.\w+)?$"): Part.MAGNITUDES,
    re.compile(r"(?:[._]lora)?\.alpha$"): Part.ALPHA,
}
_LYCORIS: Mapping[str, Part] = {part.value: part for part in Part if part.value[:4] in ("hada", "lokr")}
# diffusers before 0.22 inserted the attention processor, and omitted the index of its last layer.
_PROCESSOR = ".processor."
_PROCESSOR_OUT = ".to_out"


def parts_by_layer(header: Header) -> tuple[dict[str, dict[Part, str]], list[str]]:
    """The keys of each layer's parts, by the layer's name in the file; and the keys that are not such
    parts."""
    layers: dict[str, dict[Part, str]] = {}
    others: list[str] = []
    for key in header.tensors:
        split = _split(key)
        if split is None:
            others.append(key)
        else:
            layer, part = split
            layers.setdefault(layer, {})[part] = key
    return layers, others


def _split(key: str) -> tuple[str, Part] | None:
    layer, _, last = key.rpartition(".")
    if last in _LYCORIS:
        return layer, _LYCORIS[last]
    for end, part in _ENDS.items():
        found = end.search(key)
        if found is not None:
            return _plain(key[: found.start()]), part
    return None


def _plain(layer: str) -> str:
    if _PROCESSOR not in layer:
        return layer
    plain = layer.replace(_PROCESSOR, ".")
    return f"{plain}.0" if plain.endswith(_PROCESSOR_OUT) else plain
