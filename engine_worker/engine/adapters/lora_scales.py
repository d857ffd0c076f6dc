"""The scale of each LoRA layer, from the metadata that diffusers writes.

Source: peft's LoraConfig, which diffusers stores flat, each field prefixed by its network.
"""

from collections.abc import Mapping
from typing import Final

import msgspec

from engine_worker.engine.adapters.lora_names import LayerName
from engine_worker.formats.checkpoint_layout import Network
from engine_worker.formats.safetensors_header import Header
from kernel.protocol.errors import ModelUnreadable

_METADATA: Final = "lora_adapter_metadata"
_NETWORKS: Final = {
    Network.UNET: "unet.",
    Network.TEXT_ENCODER: "text_encoder.",
    Network.PROJECTING_TEXT_ENCODER: "text_encoder_2.",
}


class _PeftConfig(msgspec.Struct, frozen=True, kw_only=True):
    lora_alpha: float | None = None
    alpha_pattern: dict[str, float] | None = None
    use_rslora: bool = False


class Scales:
    """The configuration in the metadata of one file, if there is any."""

    def __init__(self, header: Header) -> None:
        """Raises: ModelUnreadable, if the metadata cannot be parsed."""
        text = header.metadata.get(_METADATA)
        try:
            said = {} if text is None else msgspec.json.decode(text, type=dict[str, object])
            self._configs: Mapping[Network, _PeftConfig] = {
                network: msgspec.convert(_fields(said, prefix), _PeftConfig)
                for network, prefix in _NETWORKS.items()
            }
        except (msgspec.DecodeError, msgspec.ValidationError, RecursionError) as error:
            raise ModelUnreadable(f"its {_METADATA} cannot be parsed") from error

    def scale(self, name: LayerName, rank: int, alpha: float | None) -> float:
        """The factor of the change: alpha / rank, or 1 if alpha is unknown."""
        config = self._configs[name.network]
        if alpha is None:
            alpha = _alpha(config, name.module)
        if alpha is None or not rank:
            return 1.0
        return alpha / (rank**0.5 if config.use_rslora else rank)


def _fields(said: Mapping[str, object], prefix: str) -> dict[str, object]:
    return {name.removeprefix(prefix): value for name, value in said.items() if name.startswith(prefix)}


def _alpha(config: _PeftConfig, module: str) -> float | None:
    for pattern, alpha in (config.alpha_pattern or {}).items():
        if module == pattern or module.endswith(f".{pattern}"):
            return alpha
    return config.lora_alpha
