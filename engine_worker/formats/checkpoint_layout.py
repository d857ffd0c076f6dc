"""How to build the parts of a checkpoint: each network's configuration, and where its parameters lie."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum

from engine_worker.formats.allowed_paths import ModelFile
from engine_worker.formats.ldm_keys import Stored
from engine_worker.formats.safetensors_header import Header
from kernel.protocol.enums import ModelBase

Config = Mapping[str, object]
"""A configuration in the words of diffusers or transformers."""
Locate = Callable[[str], tuple[Stored, ...]]
"""The places where a parameter of that name may lie in the files, the likeliest first."""


class Network(Enum):
    UNET = "UNet"
    VAE = "VAE"
    TEXT_ENCODER = "text encoder"
    PROJECTING_TEXT_ENCODER = "text encoder 2"
    CONTROLNET = "ControlNet"


@dataclass(frozen=True, slots=True)
class NetworkPlan:
    """One network: what it is, how it is built, and where its weights are."""

    network: Network
    config: Config
    locate: Locate
    files: tuple[Header, ...]


@dataclass(frozen=True, slots=True)
class TokenizerPlan:
    """A tokenizer from its files, by their names, or, without any, from the CLIP vocabulary."""

    files: Mapping[str, ModelFile] | None = None
    pad_token: str = "<|endoftext|>"


@dataclass(frozen=True, slots=True)
class CheckpointLayout:
    """A whole checkpoint."""

    base: ModelBase
    unet: NetworkPlan
    vae: NetworkPlan
    text_encoders: tuple[NetworkPlan, ...]
    tokenizers: tuple[TokenizerPlan, ...]
    scheduler_config: Config
    zeroes_empty_negative: bool
    """SDXL: an empty negative prompt means embeddings of zeros, not the embeddings of no words."""

    @property
    def networks(self) -> tuple[NetworkPlan, ...]:
        return (self.unet, self.vae, *self.text_encoders)
