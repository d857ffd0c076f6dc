"""The names and shapes of a network's parameters, as diffusers and transformers build it.

Registration and loading check a model's tensors against these tables; a test compares them with the modules
that are really built.
"""

from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from typing import Final

from engine_worker.formats.architecture import ControlNetShape, UNetShape
from engine_worker.formats.checkpoint_layout import Config, Network
from engine_worker.formats.network_options import TextEncoderOptions, VaeOptions, read_options

Shape = tuple[int, ...]
Parameters = Mapping[str, Shape]
"""By the names of the module's parameters."""
_Parameter = tuple[str, Shape]

_TIME_FACTOR: Final = 4
"""The width of the time embedding, in channels of the highest level."""
_FEED_FORWARD: Final = 4
_GATED: Final = 2
_RGB: Final = 3
_MOMENTS: Final = 2
"""The VAE's encoder predicts mean and variance."""


def parameters_of(network: Network, config: Config) -> Parameters:
    """All parameters of the network with this configuration.

    Text encoders have them without the prefix `text_model.`, which versions of transformers add or omit.
    Raises: ModelUnreadable, if the configuration is none of a supported network.
    """
    match read_options(network, config):
        case UNetShape() as unet:
            return dict(_unet(unet))
        case ControlNetShape() as controlnet:
            return dict(_controlnet(controlnet))
        case VaeOptions() as vae:
            return dict(_vae(vae))
        case TextEncoderOptions() as text:
            projects = network is Network.PROJECTING_TEXT_ENCODER
            return dict(_text_encoder(text, projects=projects))


def _unet(shape: UNetShape) -> Iterator[_Parameter]:
    channels = shape.channels
    yield from _half(shape)
    yield from _up_blocks(shape)
    yield from _norm("conv_norm_out", channels[0])
    yield from _conv("conv_out", channels[0], shape.out_channels)


def _half(shape: UNetShape) -> Iterator[_Parameter]:
    """The part that a UNet and a ControlNet share."""
    channels, time = shape.channels, shape.channels[0] * _TIME_FACTOR
    yield from _conv("conv_in", shape.in_channels, channels[0])
    yield from _linear("time_embedding.linear_1", channels[0], time)
    yield from _linear("time_embedding.linear_2", time, time)
    if shape.time_cond_width is not None:
        yield "time_embedding.cond_proj.weight", (channels[0], shape.time_cond_width)
    if shape.added_width is not None:
        yield from _linear("add_embedding.linear_1", shape.added_width, time)
        yield from _linear("add_embedding.linear_2", time, time)
    before = channels[0]
    for level, width in enumerate(channels):
        block = f"down_blocks.{level}"
        for number in range(shape.resnets_per_level):
            yield from _resnet(f"{block}.resnets.{number}", before, width, time)
            yield from _attention(f"{block}.attentions.{number}", level, shape)
            before = width
        if level < len(channels) - 1:
            yield from _conv(f"{block}.downsamplers.0.conv", width, width)
    yield from _resnet("mid_block.resnets.0", before, before, time)
    if shape.middle_depth:
        yield from _transformers("mid_block.attentions.0", before, shape.middle_depth, shape)
        yield from _resnet("mid_block.resnets.1", before, before, time)


def _up_blocks(shape: UNetShape) -> Iterator[_Parameter]:
    channels, time = shape.channels, shape.channels[0] * _TIME_FACTOR
    last = len(channels) - 1
    before = channels[-1]
    for number in range(len(channels)):
        level = last - number
        width, below = channels[level], channels[max(0, level - 1)]
        block = f"up_blocks.{number}"
        for index in range(shape.resnets_per_level + 1):
            skipped = below if index == shape.resnets_per_level else width
            yield from _resnet(f"{block}.resnets.{index}", before + skipped, width, time)
            yield from _attention(f"{block}.attentions.{index}", level, shape)
            before = width
        if level:
            yield from _conv(f"{block}.upsamplers.0.conv", width, width)


def _attention(name: str, level: int, shape: UNetShape) -> Iterator[_Parameter]:
    if depth := shape.transformer_depths[level]:
        yield from _transformers(name, shape.channels[level], depth, shape)


def _transformers(name: str, width: int, depth: int, shape: UNetShape) -> Iterator[_Parameter]:
    kernel = () if shape.uses_linear_projection else (1, 1)
    yield from _norm(f"{name}.norm", width)
    for side in ("proj_in", "proj_out"):
        yield f"{name}.{side}.weight", (width, width, *kernel)
        yield f"{name}.{side}.bias", (width,)
    for number in range(depth):
        block = f"{name}.transformer_blocks.{number}"
        for index, context in ((1, width), (2, shape.cross_attention_width)):
            yield from _norm(f"{block}.norm{index}", width)
            yield f"{block}.attn{index}.to_q.weight", (width, width)
            yield f"{block}.attn{index}.to_k.weight", (width, context)
            yield f"{block}.attn{index}.to_v.weight", (width, context)
            yield from _linear(f"{block}.attn{index}.to_out.0", width, width)
        yield from _norm(f"{block}.norm3", width)
        yield from _linear(f"{block}.ff.net.0.proj", width, width * _FEED_FORWARD * _GATED)
        yield from _linear(f"{block}.ff.net.2", width * _FEED_FORWARD, width)


def _controlnet(shape: ControlNetShape) -> Iterator[_Parameter]:
    channels, widths = shape.half.channels, shape.map_widths
    yield from _half(shape.half)
    hint = "controlnet_cond_embedding"
    yield from _conv(f"{hint}.conv_in", shape.map_channels, widths[0])
    for number, (before, after) in enumerate(pairwise(widths)):
        yield from _conv(f"{hint}.blocks.{2 * number}", before, before)
        yield from _conv(f"{hint}.blocks.{2 * number + 1}", before, after)
    yield from _conv(f"{hint}.conv_out", widths[-1], channels[0])
    for number, width in enumerate(_residual_widths(shape.half)):
        yield from _conv(f"controlnet_down_blocks.{number}", width, width, kernel=1)
    yield from _conv("controlnet_mid_block", channels[-1], channels[-1], kernel=1)


def _residual_widths(shape: UNetShape) -> Iterable[int]:
    *upper, lowest = shape.channels
    yield shape.channels[0]
    for width in upper:
        yield from [width] * (shape.resnets_per_level + 1)
    yield from [lowest] * shape.resnets_per_level


def _vae(options: VaeOptions) -> Iterator[_Parameter]:
    channels, latents = options.block_out_channels, options.latent_channels
    moments = latents * _MOMENTS
    yield from _conv("encoder.conv_in", _RGB, channels[0])
    yield from _vae_levels("encoder.down_blocks", "downsamplers", channels, options.layers_per_block)
    yield from _vae_middle("encoder", channels[-1], options)
    yield from _conv("encoder.conv_out", channels[-1], moments)
    yield from _conv("decoder.conv_in", latents, channels[-1])
    yield from _vae_middle("decoder", channels[-1], options)
    yield from _vae_levels("decoder.up_blocks", "upsamplers", channels[::-1], options.layers_per_block + 1)
    yield from _norm("decoder.conv_norm_out", channels[0])
    yield from _norm("encoder.conv_norm_out", channels[-1])
    yield from _conv("decoder.conv_out", channels[0], _RGB)
    if options.use_quant_conv:
        yield from _conv("quant_conv", moments, moments, kernel=1)
    if options.use_post_quant_conv:
        yield from _conv("post_quant_conv", latents, latents, kernel=1)


def _vae_levels(side: str, scaler: str, channels: Shape, layers: int) -> Iterator[_Parameter]:
    before = channels[0]
    for level, width in enumerate(channels):
        for number in range(layers):
            yield from _resnet(f"{side}.{level}.resnets.{number}", before, width)
            before = width
        if level < len(channels) - 1:
            yield from _conv(f"{side}.{level}.{scaler}.0.conv", width, width)


def _vae_middle(side: str, width: int, options: VaeOptions) -> Iterator[_Parameter]:
    yield from _resnet(f"{side}.mid_block.resnets.0", width, width)
    yield from _resnet(f"{side}.mid_block.resnets.1", width, width)
    if options.mid_block_add_attention:
        attention = f"{side}.mid_block.attentions.0"
        yield from _norm(f"{attention}.group_norm", width)
        for layer in ("to_q", "to_k", "to_v", "to_out.0"):
            yield from _linear(f"{attention}.{layer}", width, width)


def _text_encoder(options: TextEncoderOptions, *, projects: bool) -> Iterator[_Parameter]:
    width, inner = options.hidden_size, options.intermediate_size
    yield "embeddings.token_embedding.weight", (options.vocab_size, width)
    yield "embeddings.position_embedding.weight", (options.max_position_embeddings, width)
    for number in range(options.num_hidden_layers):
        layer = f"encoder.layers.{number}"
        for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
            yield from _linear(f"{layer}.self_attn.{part}", width, width)
        yield from _norm(f"{layer}.layer_norm1", width)
        yield from _norm(f"{layer}.layer_norm2", width)
        yield from _linear(f"{layer}.mlp.fc1", width, inner)
        yield from _linear(f"{layer}.mlp.fc2", inner, width)
    yield from _norm("final_layer_norm", width)
    if projects:
        yield "text_projection.weight", (options.projection_dim, width)


def _resnet(name: str, before: int, after: int, time: int | None = None) -> Iterator[_Parameter]:
    yield from _norm(f"{name}.norm1", before)
    yield from _conv(f"{name}.conv1", before, after)
    if time is not None:
        yield from _linear(f"{name}.time_emb_proj", time, after)
    yield from _norm(f"{name}.norm2", after)
    yield from _conv(f"{name}.conv2", after, after)
    if before != after:
        yield from _conv(f"{name}.conv_shortcut", before, after, kernel=1)


def _conv(name: str, before: int, after: int, kernel: int = 3) -> Iterator[_Parameter]:
    yield f"{name}.weight", (after, before, kernel, kernel)
    yield f"{name}.bias", (after,)


def _linear(name: str, before: int, after: int) -> Iterator[_Parameter]:
    yield f"{name}.weight", (after, before)
    yield f"{name}.bias", (after,)


def _norm(name: str, width: int) -> Iterator[_Parameter]:
    yield f"{name}.weight", (width,)
    yield f"{name}.bias", (width,)
