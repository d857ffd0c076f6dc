"""Models of every type in miniature, with random weights, in the forms in which people publish them."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

import torch
from diffusers import ControlNetModel
from safetensors.torch import load_file, save_file

from bench.pictures import random_control_net
from engine_worker.embedded.random_checkpoint import write_random_checkpoint
from engine_worker.engine.loading.load_checkpoint import load_components
from engine_worker.engine.networks.components import Components
from engine_worker.formats.component_plans import controlnet_places
from engine_worker.formats.diffusers_shapes import read_controlnet_shape
from engine_worker.formats.safetensors_header import read_header
from kernel.protocol.enums import ModelBase, ModelType
from kernel.protocol.ids import ModelId
from kernel.protocol.model_refs import ModelSource
from tests.integration.engine.lora_files import random_factors, write_diffusers, write_kohya
from tests.integration.engine.onnx_files import write_keeper

BLUE: Final = 2
_WIDTH: Final = 96
"""How wide the vectors of the small checkpoint's text encoder are."""
_VECTORS: Final = 2
_VAE: Final = "first_stage_model."


def write_weights(folder: Path) -> None:
    """sd and sdxl (checkpoints), kohya, peft and xl (LoRAs), dusk (an embedding), negative (a VAE), canny and
    depth (one ControlNet as a folder and as a file of the original release), blues (a background remover).
    """
    for base in ModelBase:
        write_random_checkpoint(folder / f"{base}.safetensors", base=base, seed=7)
    sd, sdxl = (_parts(folder / f"{base}.safetensors") for base in (ModelBase.SD, ModelBase.SDXL))
    write_kohya(folder / "kohya.safetensors", sd, random_factors(sd, seed=1))
    write_diffusers(folder / "peft.safetensors", random_factors(sd, seed=2))
    write_kohya(folder / "xl.safetensors", sdxl, random_factors(sdxl, seed=3))
    _write_embedding(folder / "dusk.safetensors")
    _write_vae(folder / "negative.safetensors", folder / "sd.safetensors")
    _write_control_net(folder / "canny", folder / "depth.safetensors", sd)
    write_keeper(folder / "blues.onnx", BLUE)


def _parts(checkpoint: Path) -> Components:
    source = ModelSource(
        model_id=ModelId(checkpoint.stem),
        name=checkpoint.stem,
        uri=checkpoint.as_uri(),
        model_type=ModelType.CHECKPOINT,
    )
    return load_components(source, torch.device("cpu"), torch.float32)


def _write_embedding(path: Path) -> None:
    """Two vectors, in the form of A1111's trainer."""
    generator = torch.Generator().manual_seed(4)
    save_file({"emb_params": torch.randn(_VECTORS, _WIDTH, generator=generator)}, path)


def _write_vae(path: Path, checkpoint: Path) -> None:
    """The checkpoint's own, but what it decodes is the negative of that one's."""
    tensors = {name: held for name, held in load_file(checkpoint).items() if name.startswith(_VAE)}
    for name in (f"{_VAE}decoder.conv_out.weight", f"{_VAE}decoder.conv_out.bias"):
        tensors[name] = -tensors[name]
    save_file(tensors, path)


def _write_control_net(folder: Path, file: Path, parts: Components) -> None:
    net = random_control_net(parts, seed=5)
    assert isinstance(net, ControlNetModel)
    net.save_pretrained(folder)
    weights = folder / "diffusion_pytorch_model.safetensors"
    key = _original_key(weights)
    save_file({key(name): tensor for name, tensor in load_file(weights).items()}, file)


def _original_key(weights: Path) -> Callable[[str], str]:
    """What a tensor of diffusers' ControlNet is called in the original release."""
    shape = read_controlnet_shape(read_header(weights))
    return lambda name: controlnet_places(name, shape, "control_model.")[0].key
