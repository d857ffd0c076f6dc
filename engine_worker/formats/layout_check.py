"""Checks that the networks of a checkpoint are complete, and fit each other and the sampler."""

from collections.abc import Mapping
from typing import Final

from engine_worker.formats.checkpoint_layout import CheckpointLayout, Config, Network, NetworkPlan
from engine_worker.formats.network_configs import SIZE_NUMBERS
from engine_worker.formats.network_options import (
    TextEncoderOptions,
    VaeOptions,
    read_options,
    read_unet_options,
)
from engine_worker.formats.tensor_places import TensorUse, check_networks
from engine_worker.formats.tokenizer_files import check_tokenizer
from kernel.protocol.enums import ModelBase
from kernel.protocol.errors import ModelUnreadable

LATENT_CHANNELS: Final = 4
_LEVELS: Final = 4
"""Of a VAE with 8 x 8 pixels for each latent."""
_CLIP_WORDS: Final = 49408
_CLIP_TOKENS: Final = 77
_ADDED: Final[Mapping[ModelBase, str]] = {
    ModelBase.SD: "Its UNet asks for conditions beside the prompt, which SD 1.5 has not",
    ModelBase.SDXL: "Its UNet takes no sizes and pooled embeddings, as SDXL does",
}


def check_layout(layout: CheckpointLayout) -> TensorUse:
    """Check everything that would make a start with this checkpoint fail.

    Returns: the tensors that the networks use, and the others. Raises: ModelUnreadable.
    """
    use = check_networks(layout.networks)
    encoders = [_text_options(plan) for plan in layout.text_encoders]
    _check_unet(layout, encoders)
    if layout.vae is not None:
        check_latents(layout.vae.config)
    for options, tokenizer in zip(encoders, layout.tokenizers, strict=True):
        if options.max_position_embeddings < _CLIP_TOKENS:
            raise ModelUnreadable(
                f"the text encoder takes {options.max_position_embeddings} tokens, not {_CLIP_TOKENS}"
            )
        if tokenizer.files is not None:
            check_tokenizer(tokenizer.files, options.vocab_size)
        elif options.vocab_size < _CLIP_WORDS:
            raise ModelUnreadable(
                f"the text encoder knows {options.vocab_size} tokens: it must know the {_CLIP_WORDS} of CLIP"
            )
    return use


def warnings_of(layout: CheckpointLayout, use: TensorUse) -> tuple[str, ...]:
    """What the owner of a checkpoint should know, although it can be used."""
    found = list(use.warnings())
    if layout.vae is None:
        found.append("it has no VAE of its own: name one as the vae of each engine that uses it")
    if read_unet_options(layout.unet.config).time_cond_width is not None:
        found.append(
            "guidance is distilled into its UNet (LCM): use the scheduler lcm with 2 to 8 steps; cfg is an "
            "input of the UNet, and negative prompts have no effect"
        )
    return tuple(found)


def check_latents(config: Config) -> None:
    """Check that a VAE with this configuration has the latents of SD and SDXL. Raises: ModelUnreadable."""
    options = read_options(Network.VAE, config)
    if not isinstance(options, VaeOptions):
        raise ValueError(options)
    if options.latent_channels != LATENT_CHANNELS or len(options.block_out_channels) != _LEVELS:
        raise ModelUnreadable(
            f"the VAE has {options.latent_channels} latent channels and {len(options.block_out_channels)} "
            f"levels: those of SD and SDXL have {LATENT_CHANNELS} and {_LEVELS}"
        )


def _check_unet(layout: CheckpointLayout, encoders: list[TextEncoderOptions]) -> None:
    unet = read_unet_options(layout.unet.config)
    width = sum(options.hidden_size for options in encoders)
    if unet.cross_attention_width != width:
        raise ModelUnreadable(
            f"the UNet takes text embeddings of width {unet.cross_attention_width}, but the text encoders "
            f"make {width}: they belong to different models"
        )
    if unet.out_channels != LATENT_CHANNELS:
        raise ModelUnreadable(f"the UNet has {unet.out_channels} output channels: it must have 4")
    sizes = layout.unet.config.get("addition_time_embed_dim")
    wanted = None
    if layout.base is ModelBase.SDXL:
        wanted = encoders[-1].projection_dim + SIZE_NUMBERS * (sizes if isinstance(sizes, int) else 0)
    if unet.added_width != wanted:
        raise ModelUnreadable(f"this is no {layout.base} checkpoint. {_ADDED[layout.base]}")


def _text_options(plan: NetworkPlan) -> TextEncoderOptions:
    options = read_options(plan.network, plan.config)
    if not isinstance(options, TextEncoderOptions):
        raise ValueError(plan.network)
    return options
