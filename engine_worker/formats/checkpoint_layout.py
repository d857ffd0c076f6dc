"""The layout of a checkpoint: each network's configuration, and the location of its parameters."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum

from engine_worker.formats.allowed_paths import ModelFile
from engine_worker.formats.ldm_keys import Stored
from engine_worker.formats.safetensors_header import Header
from kernel.protocol.enums import ModelBase

Config = Mapping[str, object]
"""A configuration by the names of diffusers or transformers."""
Locate = Callable[[str], tuple[Stored, ...]]
"""The possible keys of a parameter in the files, the most likely first."""


class Network(Enum):
    UNET = "UNet"
    VAE = "VAE"
    TEXT_ENCODER = "text encoder"
    PROJECTING_TEXT_ENCODER = "text encoder 2"
    CONTROLNET = "ControlNet"


@dataclass(frozen=True, slots=True)
class NetworkPlan:
    """How to build one network: its kind, its configuration, and its weights."""

    network: Network
    config: Config
    locate: Locate
    files: tuple[Header, ...]


@dataclass(frozen=True, slots=True)
class TokenizerPlan:
    """A tokenizer from its files, by their names; without files, from the CLIP vocabulary."""

    files: Mapping[str, ModelFile] | None = None
    pad_token: str = "<|endoftext|>"


@dataclass(frozen=True, slots=True)
class CheckpointLayout:
    """The layout of a checkpoint."""

    base: ModelBase
    unet: NetworkPlan
    vae: NetworkPlan | None
    """None for a checkpoint without one."""
    text_encoders: tuple[NetworkPlan, ...]
    tokenizers: tuple[TokenizerPlan, ...]
    scheduler_config: Config
    zeroes_empty_negative: bool
    """SDXL: an empty negative prompt means embeddings of zeros, not the embeddings of an empty text."""

    @property
    def networks(self) -> tuple[NetworkPlan, ...]:
        return (self.unet, *((self.vae,) if self.vae is not None else ()), *self.text_encoders)
