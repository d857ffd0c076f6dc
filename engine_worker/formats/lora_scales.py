"""The scale of each LoRA layer: alpha and rank, wherever the trainer put them.

In this order: an alpha beside the layer (kohya, LyCORIS, OneTrainer); the metadata that diffusers writes; the
adapter_config.json that peft writes beside the file; kohya's network_alpha in the metadata; else 1, which is
what all of these trainers mean by an alpha that they do not write: that it equals the rank.
Source: peft's LoraConfig, LoHaConfig and LoKrConfig. diffusers stores it flat, each field prefixed by its
network.
"""

import re
from collections.abc import Mapping
from fnmatch import fnmatchcase
from math import isfinite
from typing import Final

import msgspec

from engine_worker.formats.checkpoint_layout import Network
from engine_worker.formats.safetensors_header import Header
from kernel.protocol.errors import ModelUnreadable
from kernel.protocol.type_info import analyzed

CONFIG_FILE: Final = "adapter_config.json"
_METADATA: Final = "lora_adapter_metadata"
_KOHYA_ALPHA: Final = "ss_network_alpha"
_KOHYA_ARGS: Final = "ss_network_args"
_NETWORKS: Final = {
    Network.UNET: "unet.",
    Network.TEXT_ENCODER: "text_encoder.",
    Network.PROJECTING_TEXT_ENCODER: "text_encoder_2.",
}
_SUPPORTED_TYPES: Final = frozenset({None, "LORA", "LOHA", "LOKR"})
_STARTS_OF_THE_BASE: Final = ("pissa", "olora", "corda", "loftq")
"""Initializations that change the weights of the checkpoint, so that the file does not fit the plain one."""
_PATTERN: Final = re.compile(r"\^?(?:\w|-|\\?\.|\.\*)+\$?")
_WILDCARD: Final = ".*"
_MAX_PATTERNS: Final = 2_000
_MAX_WILDCARDS: Final = 50


class PeftConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What decides the result, of peft's configurations of LoRA, LoHa and LoKr."""

    peft_type: str | None = None
    r: int | None = None
    lora_alpha: float | None = None
    alpha: float | None = None
    """That of LoHa and LoKr."""
    rank_pattern: dict[str, int] | None = None
    alpha_pattern: dict[str, float] | None = None
    use_rslora: bool = False
    init_lora_weights: bool | str | None = None
    layer_replication: object = None
    use_qalora: bool = False
    alora_invocation_tokens: object = None
    modules_to_save: object = None

    def check(self) -> None:
        """Raises: ModelUnreadable, if it asks for what is not supported."""
        if self.peft_type not in _SUPPORTED_TYPES:
            raise ModelUnreadable(
                f"this is an adapter of peft's type {self.peft_type!r:.40}: only LoRA, LoHa and LoKr are "
                "supported"
            )
        start = str(self.init_lora_weights).lower()
        unsupported = {
            f"init_lora_weights {start!r:.40}": start.startswith(_STARTS_OF_THE_BASE),
            "layer_replication": bool(self.layer_replication),
            "use_qalora": self.use_qalora,
            "alora_invocation_tokens": bool(self.alora_invocation_tokens),
            "modules_to_save": bool(self.modules_to_save),
        }
        for name, is_set in unsupported.items():
            if is_set:
                raise ModelUnreadable(
                    f"its configuration has {name}, which is not supported: save it as a plain LoRA"
                )
        patterns = (*(self.rank_pattern or ()), *(self.alpha_pattern or ()))
        unread = next((one for one in patterns if not _PATTERN.fullmatch(one)), None)
        if unread is not None:
            raise ModelUnreadable(f"its configuration has the pattern {unread!r:.80}, which is not supported")
        if len(patterns) > _MAX_PATTERNS or sum(_WILDCARD in one for one in patterns) > _MAX_WILDCARDS:
            raise ModelUnreadable("its configuration has too many patterns")


class Scales:
    """What the metadata of one file, and the configuration beside it, say of its scale."""

    def __init__(self, header: Header, beside: PeftConfig | None = None) -> None:
        """Raises: ModelUnreadable, if the metadata cannot be parsed, or asks for what is not supported."""
        self._configs = dict.fromkeys(_NETWORKS, beside or PeftConfig())
        text = header.metadata.get(_METADATA)
        if text is not None:
            self._configs = _configs_in(text)
        for config in self._configs.values():
            config.check()
        self._kohya = _number(header.metadata.get(_KOHYA_ALPHA))
        arguments = _arguments(header.metadata.get(_KOHYA_ARGS))
        self._kohya_of_kernels = _number(arguments.get("conv_alpha")) or self._kohya
        self.says_nothing = text is None and beside is None and self._kohya is None

    def scale(
        self, network: Network, layer: str, rank: int | None, alpha: float | None, *, has_kernel: bool = False
    ) -> float:
        """The factor of a layer's change: alpha / rank, or 1 if the alpha is unknown.

        `layer` is its name in the file, after the network; a rank of None is that of two whole matrices
        (LoKr), whose alpha only peft heeds. `has_kernel` is true of a convolution of more than one pixel,
        for which kohya's trainers have another alpha.
        """
        config = self._configs[network]
        said = _of_pattern(config.alpha_pattern, layer)
        if said is None:
            said = config.lora_alpha if config.lora_alpha is not None else config.alpha
        if rank is None:
            assumed = _of_pattern(config.rank_pattern, layer) or config.r
            return 1.0 if said is None or not assumed else said / assumed
        if alpha is None:
            alpha = said
        if alpha is None:
            alpha = self._kohya_of_kernels if has_kernel else self._kohya
        if alpha is None or not rank:
            return 1.0
        return alpha / (rank**0.5 if config.use_rslora else rank)


def _configs_in(text: str) -> dict[Network, PeftConfig]:
    try:
        said = msgspec.json.decode(text, type=dict[str, object])
        return {
            network: msgspec.convert(_fields(said, prefix), analyzed(PeftConfig))
            for network, prefix in _NETWORKS.items()
        }
    except (msgspec.DecodeError, msgspec.ValidationError, RecursionError) as error:
        raise ModelUnreadable(f"its {_METADATA} cannot be parsed") from error


def _fields(said: Mapping[str, object], prefix: str) -> dict[str, object]:
    return {name.removeprefix(prefix): value for name, value in said.items() if name.startswith(prefix)}


Value = int | float


def _of_pattern(patterns: Mapping[str, Value] | None, layer: str) -> Value | None:
    """The value of the first pattern that fits a layer's name.

    peft reads patterns as regular expressions that the name, or its end after a dot, must match. They come
    with the file, so only names and wildcards are read, in linear time.
    """
    for pattern, value in (patterns or {}).items():
        text = pattern.removeprefix("^").removesuffix("$").replace("\\.", ".").replace(_WILDCARD, "*")
        is_end = not pattern.startswith("^") and fnmatchcase(layer, f"*.{text}")
        if is_end or fnmatchcase(layer, text):
            return value
    return None


def _arguments(text: str | None) -> Mapping[str, str]:
    try:
        found = {} if text is None else msgspec.json.decode(text, type=dict[str, object])
    except (msgspec.DecodeError, msgspec.ValidationError, RecursionError):
        return {}
    return {name: str(value) for name, value in found.items()}


def _number(text: str | None) -> float | None:
    """A positive number that a trainer wrote as text; None for "None" and the like."""
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number if isfinite(number) and number > 0 else None
