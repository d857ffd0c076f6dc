"""The loaded components of a checkpoint, the protocols that sampling expects of them, and their
conditioning."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, Protocol

import torch
from torch import Tensor, nn

from engine_worker.engine.networks.offload import LoadModules
from engine_worker.engine.networks.tokenizer import Tokenizer
from engine_worker.formats.allowed_paths import ANYWHERE
from engine_worker.formats.architecture import UNetShape
from engine_worker.formats.checkpoint_layout import Config, Network
from kernel.protocol.enums import MemoryPlan, ModelBase
from kernel.protocol.ids import ModelId


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
        """Predict the noise in `sample`, each row at its own timestep.

        Shapes: sample (rows, channels, height, width), encoder_attention_mask (rows, tokens): the tokens that
        count. The residuals are those of ControlNets.
        """


class ControlNet(Protocol):
    """A network that guides the UNet by a control map."""

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
        """The residuals for the UNet's down blocks and middle block at full strength, for each row.

        Shapes: sample (rows, latent channels, height, width), controlnet_cond (rows, 3, 8*height, 8*width), 0
        to 1.
        """


class Decoder(Protocol):
    """The part of the VAE that turns latents into pixels."""

    tile_sample_min_size: int
    """The side of a tile in pixels; for `tiled_decode`."""
    tile_latent_min_size: int
    """The same in latents."""

    def decode(self, z: Tensor, *, return_dict: Literal[False]) -> tuple[Tensor]:
        """Decode latents (1, channels, height, width), unscaled, to pixels (1, 3, 8*height, 8*width), -1 to
        1."""

    def tiled_decode(self, z: Tensor, *, return_dict: Literal[False]) -> tuple[Tensor]:
        """The same in overlapping tiles, with less memory."""


class Posterior(Protocol):
    """The distribution of latents that an image encodes to. Shapes: (1, channels, height, width),
    unscaled."""

    mean: Tensor
    std: Tensor


class Encoder(Protocol):
    """The part of the VAE that turns pixels into latents."""

    def encode(self, x: Tensor, *, return_dict: Literal[False]) -> tuple[Posterior]:
        """Encode pixels (1, 3, 8*height, 8*width), -1 to 1, to a distribution of latents."""


class TextOutput(Protocol):
    """The output of a CLIP text encoder for a batch of prompts."""

    last_hidden_state: Tensor
    hidden_states: tuple[Tensor, ...]


class ProjectedTextOutput(TextOutput, Protocol):
    """The output of a text encoder with a projection."""

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
    """The text encoder of SD 1.5."""

    tokenizer: Tokenizer
    encoder: TextEncoder
    loaded: LoadModules = nullcontext
    """Entered around each use of the encoder."""


@dataclass(frozen=True, slots=True)
class SdxlText:
    """The text encoders of SDXL: two of different widths, the second with a pooled embedding."""

    tokenizer: Tokenizer
    encoder: TextEncoder
    tokenizer_2: Tokenizer
    encoder_2: ProjectingTextEncoder
    zeroes_empty_negative: bool
    loaded: LoadModules = nullcontext
    """Entered around each use of the encoders."""


@dataclass(frozen=True, slots=True)
class Vae:
    """Encoder and decoder between pixels and latents, and the scaling of latents."""

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
    """Always decode in tiles: the memory plan has no memory for an image in one piece."""
    loaded: LoadModules = nullcontext
    """Entered around each use of encoder and decoder."""


@dataclass(frozen=True, slots=True)
class Components:
    """A loaded checkpoint. It does not change while jobs run, except for the device of offloaded networks."""

    base: ModelBase
    device: torch.device
    dtype: torch.dtype
    denoiser: Denoiser
    unet_config: Config
    unet_shape: UNetShape
    """`in_channels` beyond the latents' are a mask and a masked image (inpainting)."""
    vae: Vae
    text: SdText | SdxlText
    networks: Mapping[Network, nn.Module]
    """The same networks as modules, for LoRAs, which hook into their layers."""
    scheduler_config: Config
    """As the checkpoint has it, never changed."""
    memory_bytes: int
    """The device memory that it always occupies."""
    roots: Sequence[Path] = ANYWHERE
    """The folders that models added to it may lie in."""
    plan: MemoryPlan = MemoryPlan.FAST
    borrowed_vae: ModelId | None = None
    """The model that `vae` is of; None if it is the checkpoint's own."""
    quick_denoiser: Denoiser | None = None
    """The same UNet with calls that were compiled or recorded while the engine loaded. It ignores LoRAs."""

    @property
    def is_distilled(self) -> bool:
        """True if the UNet takes the guidance scale as an input, and needs no unconditional row for it."""
        return self.unet_shape.time_cond_width is not None

    @property
    def is_inpainting(self) -> bool:
        """True if the UNet was trained for inpainting."""
        return self.unet_shape.in_channels > self.vae.latent_channels


GUIDANCE: Final = "timestep_cond"
"""The name of the embedded guidance scale among the added conditions."""


@dataclass(frozen=True, slots=True)
class DistilledUNet:
    """A UNet that takes the embedded guidance scale beside the other added conditions."""

    unet: nn.Module

    def __call__(
        self,
        sample: Tensor,
        timestep: Tensor,
        *,
        added_cond_kwargs: Mapping[str, Tensor] | None,
        **rest: object,
    ) -> tuple[Tensor]:
        """As the UNet itself."""
        added = dict(added_cond_kwargs or {})
        guidance = added.pop(GUIDANCE, None)
        predicted: tuple[Tensor] = self.unet(
            sample, timestep, timestep_cond=guidance, added_cond_kwargs=added or None, **rest
        )
        return predicted


@dataclass(frozen=True, slots=True)
class Conditioning:
    """The encoded prompts of a job, and SDXL's size embeddings.

    There are two rows, unconditional then conditional, or one without guidance; with prompts joined by AND
    there are more conditional ones, each with a weight.
    Shapes: embeds (rows, tokens, width); SDXL also pooled (rows, width) and sizes (rows, 6); a UNet with
    guidance distilled into it also guidance (rows, width), the embedded guidance scale.
    """

    embeds: Tensor
    pooled: Tensor | None = None
    sizes: Tensor | None = None
    weights: tuple[float, ...] = (1.0,)
    guidance: Tensor | None = None

    @property
    def rows(self) -> int:
        return self.embeds.shape[0]

    @property
    def tokens(self) -> int:
        return self.embeds.shape[1]
