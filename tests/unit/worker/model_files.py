"""Model files made by hand: real safetensors files of any shapes, all zeros."""

import json
import struct
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

from engine_worker.formats.architecture import (
    Architecture,
    ControlNetShape,
    TextEncoderShape,
    UNetShape,
    VaeShape,
)
from engine_worker.formats.checkpoint_layout import Network, NetworkPlan
from engine_worker.formats.component_plans import controlnet_places
from engine_worker.formats.diffusers_folder import same_place
from engine_worker.formats.ldm_keys import Form
from engine_worker.formats.ldm_layout import single_file_layout
from engine_worker.formats.network_configs import SIZE_NUMBERS, controlnet_config
from engine_worker.formats.network_parameters import parameters_of
from engine_worker.formats.safetensors_header import DTYPE_BYTES
from kernel.protocol.enums import ModelBase

Shapes = Mapping[str, tuple[int, ...]]
UNET = "model.diffusion_model."
WORDS = 49408
"""Of CLIP's vocabulary."""


def small_architecture(base: ModelBase, channels: int = 8, width: int | None = None) -> Architecture:
    """The smallest checkpoint of a base, with as many channels in the UNet and as wide text embeddings."""
    widths = _text_widths(base, width)
    is_sdxl = base is ModelBase.SDXL
    return Architecture(
        base=base,
        unet=UNetShape(
            in_channels=4,
            out_channels=4,
            channels=(channels, channels),
            resnets_per_level=1,
            transformer_depths=(0, 1) if is_sdxl else (1, 0),
            middle_depth=1,
            cross_attention_width=sum(widths),
            uses_linear_projection=is_sdxl,
            added_width=widths[-1] + SIZE_NUMBERS * 4 if is_sdxl else None,
        ),
        vae=VaeShape(channels=(8, 8, 8, 8), resnets_per_level=1, latent_channels=4),
        text_encoders=tuple(_text_encoder(width, number) for number, width in enumerate(widths)),
        prediction_type="epsilon",
        has_zero_terminal_snr=False,
        native_size_px=64,
    )


def _text_widths(base: ModelBase, width: int | None) -> tuple[int, ...]:
    if base is ModelBase.SD:
        return (width or 8,)
    return (8, 16) if width is None else (width // 2, width // 2)


def _text_encoder(width: int, number: int) -> TextEncoderShape:
    projection = width if number else None
    return TextEncoderShape(
        vocabulary=WORDS, tokens=77, width=width, layers=1, inner_width=8, projection_width=projection
    )


def stored_shapes(plans: Iterable[NetworkPlan]) -> dict[str, tuple[int, ...]]:
    """All tensors that the files of these networks have."""
    return {
        stored.key: _stored(shape, stored.form)
        for plan in plans
        for name, shape in parameters_of(plan.network, plan.config).items()
        for stored in plan.locate(name)[:1]
    }


def _stored(shape: tuple[int, ...], form: Form) -> tuple[int, ...]:
    match form:
        case Form.SAME:
            return shape
        case Form.CONV_1X1:
            return (*shape, 1, 1)
        case Form.TRANSPOSED:
            return shape[::-1]
        case _:
            return (3 * shape[0], *shape[1:])


def checkpoint(base: ModelBase, channels: int = 8, width: int | None = None) -> dict[str, tuple[int, ...]]:
    """The tensors of the smallest checkpoint of a base, in one file."""
    return stored_shapes(single_file_layout(small_architecture(base, channels, width)).networks)


def controlnet(*, is_diffusers: bool = True, base: ModelBase = ModelBase.SD, width: int = 8) -> Shapes:
    """The tensors of the smallest ControlNet, in one file."""
    return stored_shapes([controlnet_plan(is_diffusers=is_diffusers, base=base, width=width)])


def controlnet_plan(
    *,
    is_diffusers: bool = True,
    base: ModelBase = ModelBase.SD,
    width: int = 8,
    shape: ControlNetShape | None = None,
) -> NetworkPlan:
    """How a ControlNet is built; by default the smallest one."""
    half = small_architecture(base, width=width).unet
    shape = shape or ControlNetShape(half=half, map_channels=3, map_widths=(8, 8, 8, 8))
    config = controlnet_config(shape, base, {"addition_time_embed_dim": 4})
    places = same_place if is_diffusers else partial(controlnet_places, shape=shape, prefix="control_model.")
    return NetworkPlan(Network.CONTROLNET, config, places, ())


def vae_plan() -> NetworkPlan:
    """How the smallest VAE is built, with the names of diffusers."""
    vae = single_file_layout(small_architecture(ModelBase.SD)).networks[1]
    return replace(vae, locate=same_place)


def without(shapes: Shapes, *prefixes: str) -> Shapes:
    """The tensors whose names have none of these prefixes."""
    return {name: shape for name, shape in shapes.items() if not name.startswith(prefixes)}


SMALL_SD: Shapes = checkpoint(ModelBase.SD)
SMALL_SDXL: Shapes = checkpoint(ModelBase.SDXL)
VAE_ALONE: Shapes = {
    name.removeprefix("first_stage_model."): shape
    for name, shape in SMALL_SD.items()
    if name.startswith("first_stage_model.")
}
SMALL_UNET: Shapes = {"conv_in.weight": (8, 4, 3, 3), "down_blocks.0.resnets.0.conv1.weight": (8, 8, 3, 3)}
"""Enough to be recognized."""


def lora(layer: str, width: int) -> Shapes:
    """A LoRA of one layer with so many inputs."""
    return {f"{layer}.lora_down.weight": (4, width), f"{layer}.lora_up.weight": (8, 4)}


def write_safetensors(
    path: Path, shapes: Shapes, dtype: str = "F16", metadata: Mapping[str, str] | None = None
) -> Path:
    """A sound file with these tensors."""
    header: dict[str, object] = {} if metadata is None else {"__metadata__": dict(metadata)}
    offset = 0
    for name, shape in shapes.items():
        size = DTYPE_BYTES[dtype]
        for length in shape:
            size *= length
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [offset, offset + size]}
        offset += size
    return write_raw(path, json.dumps(header).encode(), offset)


def write_raw(path: Path, header: bytes, data_bytes: int = 0, announced: int | None = None) -> Path:
    """A file with any header, sound or not; its data, all zeros, takes no room on the disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    length = len(header) if announced is None else announced
    with path.open("wb") as file:
        file.write(struct.pack("<Q", length) + header)
        file.truncate(8 + len(header) + data_bytes)
    return path


def write_diffusers_folder(
    folder: Path, *, is_sdxl: bool = False, infix: str = "", kind: str | None = None
) -> Path:
    """A small diffusers folder with all that inspection looks at."""
    parts: dict[str, list[str]] = {
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "scheduler": ["diffusers", "DDIMScheduler"],
    }
    if is_sdxl:
        parts["text_encoder_2"] = ["transformers", "CLIPTextModelWithProjection"]
        parts["tokenizer_2"] = ["transformers", "CLIPTokenizer"]
    kind = kind or ("StableDiffusionXLPipeline" if is_sdxl else "StableDiffusionPipeline")
    write_json(folder / "model_index.json", {"_class_name": kind, "_diffusers_version": "0.38.0", **parts})
    write_json(folder / "scheduler/scheduler_config.json", {"prediction_type": "v_prediction"})
    layout = single_file_layout(small_architecture(ModelBase.SDXL if is_sdxl else ModelBase.SD))
    for part, network in zip(
        ("unet", "vae", "text_encoder", "text_encoder_2"), layout.networks, strict=False
    ):
        stem = "model" if part.startswith("text") else "diffusion_pytorch_model"
        plan = replace(network, locate=same_place)
        write_json(folder / part / "config.json", dict(plan.config))
        write_safetensors(folder / part / f"{stem}{infix}.safetensors", stored_shapes([plan]))
    for part in ("tokenizer", "tokenizer_2") if is_sdxl else ("tokenizer",):
        write_json(
            folder / part / "vocab.json", {"<|startoftext|>": 0, "<|endoftext|>": 1, "a": 2, "a</w>": 3}
        )
        (folder / part / "merges.txt").write_text("#version: 0.2\n")
    return folder


def change_json(path: Path, **changes: object) -> Path:
    """Change some values of a JSON file, which may be absent."""
    content = json.loads(path.read_text()) if path.exists() else {}
    return write_json(path, {**content, **changes})


def write_json(path: Path, content: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path
