"""The loaded components of a checkpoint, the protocols that sampling expects of them, and the conditioning of
a UNet call."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import torch
from torch import Tensor, nn

from engine_worker.engine.networks.offload import LoadModules
from engine_worker.engine.networks.tokenizer import Tokenizer
from engine_worker.formats.allowed_paths import ANYWHERE
from engine_worker.formats.architecture import UNetShape
from engine_worker.formats.checkpoint_layout import Config, Network
from kernel.protocol.enums import MemoryPlan, ModelBase


class Denoiser(Protocol):
    """The UNet."""

    def __call__(  # noqa: PLR0913 - the signature is diffusers'
        self,
        sample: Tensor,
        timestep: Tensor,
        *,
        encoder_hidden_states: Tensor,
        encoder_attention_mask: Tensor | None,
        added_cond_kwargs: Mapping[str, Tensor] | None,
        down_block_additional_residuals: tuple[Tensor, ...] | None,
        mid_block_additional_residual: Tensor | None,
        return_dict: Literal[False],
    ) -> tuple[Tensor]:
        """Predict the noise in `sample` (rows, channels, height, width), each row at its own timestep.

        The mask says which tokens of each row count; the residuals are those of ControlNets.
        """


class ControlNet(Protocol):
    """What leads the UNet along a control map."""

    def __call__(
        self,
        sample: Tensor,
        timestep: Tensor,
        *,
        encoder_hidden_states: Tensor,
        controlnet_cond: Tensor,
        added_cond_kwargs: Mapping[str, Tensor] | None,
        return_dict: Literal[False],
    ) -> tuple[Sequence[Tensor], Tensor]:
        """What the UNet's down blocks and its middle gain at full strength: each row may have one of its own.

        Shapes: sample (rows, latent channels, height, width), controlnet_cond (rows, 3, 8*height, 8*width),
        0 to 1.
        """


class Decoder(Protocol):
    """The VAE's way from latents to pixels."""

    tile_sample_min_size: int
    """The side of a tile in pixels, and in latents; for `tiled_decode`."""
    tile_latent_min_size: int

    def decode(self, z: Tensor, *, return_dict: Literal[False]) -> tuple[Tensor]:
        """Latents (1, channels, height, width), unscaled, to pixels (1, 3, 8*height, 8*width), -1 to 1."""

    def tiled_decode(self, z: Tensor, *, return_dict: Literal[False]) -> tuple[Tensor]:
        """The same in tiles that overlap, with less memory."""


class Posterior(Protocol):
    """What an image may be in latents. Shapes: (1, channels, height, width), unscaled."""

    mean: Tensor
    std: Tensor


class Encoder(Protocol):
    """The VAE's way from pixels to latents."""

    def encode(self, x: Tensor, *, return_dict: Literal[False]) -> tuple[Posterior]:
        """Pixels (1, 3, 8*height, 8*width), -1 to 1, to a distribution of latents."""


class TextOutput(Protocol):
    """What a CLIP text encoder says of a batch of prompts."""

    last_hidden_state: Tensor
    hidden_states: tuple[Tensor, ...]


class ProjectedTextOutput(TextOutput, Protocol):
    """The same, of an encoder with a projection."""

    text_embeds: Tensor


class TextEncoder(Protocol):
    """A CLIP text encoder."""

    def __call__(
        self, input_ids: Tensor, *, attention_mask: Tensor | None, output_hidden_states: bool
    ) -> TextOutput: ...

    def get_submodule(self, target: str) -> nn.Module: ...

    def named_children(self) -> Iterator[tuple[str, nn.Module]]: ...


class ProjectingTextEncoder(TextEncoder, Protocol):
    """A CLIP text encoder with a projection: SDXL's second."""

    def __call__(
        self, input_ids: Tensor, *, attention_mask: Tensor | None, output_hidden_states: bool
    ) -> ProjectedTextOutput: ...


@dataclass(frozen=True, slots=True)
class SdText:
    """SD 1.5: one encoder."""

    tokenizer: Tokenizer
    encoder: TextEncoder
    loaded: LoadModules = nullcontext
    """Opened around each use of the encoder."""


@dataclass(frozen=True, slots=True)
class SdxlText:
    """SDXL: two encoders of different widths, the second with a pooled embedding."""

    tokenizer: Tokenizer
    encoder: TextEncoder
    tokenizer_2: Tokenizer
    encoder_2: ProjectingTextEncoder
    zeroes_empty_negative: bool
    loaded: LoadModules = nullcontext
    """Opened around each use of the encoders."""


@dataclass(frozen=True, slots=True)
class Vae:
    """Both ways between pixels and latents, and how latents are scaled for them."""

    encoder: Encoder
    decoder: Decoder
    dtype: torch.dtype
    latent_channels: int
    pixels_per_latent: int
    scaling_factor: float
    latents_mean: tuple[float, ...] | None
    """Per channel; few VAEs have it."""
    latents_std: tuple[float, ...] | None
    in_tiles: bool = False
    """Decode in tiles from the start: it is known that there is no memory for an image in one piece."""
    loaded: LoadModules = nullcontext
    """Opened around each use of encoder and decoder."""


@dataclass(frozen=True, slots=True)
class Components:
    """All of a loaded checkpoint. Nothing in here changes while jobs run, but the place of what rests."""

    base: ModelBase
    device: torch.device
    dtype: torch.dtype
    denoiser: Denoiser
    unet_config: Config
    unet_shape: UNetShape
    """Of its `in_channels`, those beyond the latents' are a mask and a masked image (inpainting)."""
    vae: Vae
    text: SdText | SdxlText
    networks: Mapping[Network, nn.Module]
    """The same networks as modules, for what is laid over their layers."""
    scheduler_config: Config
    """As the checkpoint brings it, never touched."""
    memory_bytes: int
    """What the device holds of it all the time."""
    roots: Sequence[Path] = ANYWHERE
    """The folders that what is laid over it may lie in."""
    plan: MemoryPlan = MemoryPlan.FAST
    quick_denoiser: Denoiser | None = None
    """The same with calls that were prepared while the engine loaded. It knows nothing of LoRAs."""

    @property
    def is_inpainting(self) -> bool:
        """The UNet was made to paint a part of an image anew."""
        return self.unet_shape.in_channels > self.vae.latent_channels


@dataclass(frozen=True, slots=True)
class Conditioning:
    """A job's prompts, encoded.

    Rows are two, unconditional then conditional, or one where guidance is skipped.
    Shapes: embeds (rows, tokens, width); SDXL also pooled (rows, width) and sizes (rows, 6).
    """

    embeds: Tensor
    pooled: Tensor | None = None
    sizes: Tensor | None = None

    @property
    def rows(self) -> int:
        return self.embeds.shape[0]

    @property
    def tokens(self) -> int:
        return self.embeds.shape[1]
