"""Model files made by hand: real safetensors files of any shapes, all zeros."""

import json
import struct
from collections.abc import Mapping
from pathlib import Path

from engine_worker.formats.safetensors_header import DTYPE_BYTES

Shapes = Mapping[str, tuple[int, ...]]
UNET = "model.diffusion_model."

SMALL_SD: Shapes = {
    f"{UNET}input_blocks.0.0.weight": (8, 4, 3, 3),
    f"{UNET}input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight": (8, 32),
    "first_stage_model.decoder.conv_in.weight": (8, 4, 3, 3),
    "first_stage_model.encoder.conv_in.weight": (8, 3, 3, 3),
    "cond_stage_model.transformer.text_model.embeddings.token_embedding.weight": (10, 32),
}
SMALL_SDXL: Shapes = {
    **{name: shape for name, shape in SMALL_SD.items() if not name.startswith("cond_stage_model.")},
    f"{UNET}label_emb.0.0.weight": (8, 16),
    "conditioner.embedders.0.transformer.text_model.embeddings.token_embedding.weight": (10, 32),
    "conditioner.embedders.1.model.token_embedding.weight": (10, 64),
}
SMALL_UNET: Shapes = {"conv_in.weight": (8, 4, 3, 3), "down_blocks.0.resnets.0.conv1.weight": (8, 8, 3, 3)}


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
    write_json(folder / "unet/config.json", {"in_channels": 4, "cross_attention_dim": 32, "sample_size": 8})
    for part, stem in (("unet", "diffusion_pytorch_model"), ("vae", "diffusion_pytorch_model")):
        write_safetensors(folder / part / f"{stem}{infix}.safetensors", SMALL_UNET)
    write_json(folder / "vae/config.json", {})
    for part in ("text_encoder", "text_encoder_2") if is_sdxl else ("text_encoder",):
        write_json(folder / part / "config.json", {})
        write_safetensors(folder / part / f"model{infix}.safetensors", {"weight": (10, 32)})
    return folder


def write_json(path: Path, content: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path
