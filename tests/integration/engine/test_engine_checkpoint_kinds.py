"""Checkpoints that need care: without a VAE, with guidance distilled into the UNet, with leftovers."""

from dataclasses import replace
from io import BytesIO
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import load_file, save_file
from small_engine import Outcomes, load_order, model_source, order, source_of, spec
from torch import Tensor

from bench.bell import Bell
from bench.ours import make_alone
from bench.stock import Asked, Stock
from engine_worker.embedded.random_checkpoint import small_architecture
from engine_worker.engine.diffusers_engine import build
from engine_worker.engine.loading.load_checkpoint import load_components
from engine_worker.engine.loading.random_weights import write_random_file, write_random_folder
from engine_worker.engine.networks.vae import decode
from engine_worker.engine.pipeline.resources import bare_resources
from engine_worker.engine.prompts.prompt_encoder import guidance_embedding
from engine_worker.formats.architecture import Architecture
from kernel.protocol.enums import ModelBase, ModelType, Scheduler
from kernel.protocol.errors import ModelUnreadable
from kernel.protocol.specs import EngineLoad, JobSpec

pytestmark = pytest.mark.torch

CPU = torch.device("cpu")
VAE = "first_stage_model."


def split(checkpoints: Path, tmp_path: Path) -> tuple[Path, Path]:
    """The small checkpoint without its VAE, and the VAE."""
    tensors = load_file(checkpoints / "sd.safetensors")
    parts: tuple[dict[str, Tensor], ...] = ({}, {})
    for name, tensor in tensors.items():
        parts[name.startswith(VAE)][name] = tensor
    paths = tmp_path / "bare.safetensors", tmp_path / "vae.safetensors"
    for path, part in zip(paths, parts, strict=True):
        save_file(part, path)
    return paths


def pictures(load: EngineLoad, job: JobSpec) -> bytes:
    outcomes = Outcomes()
    engine = build(outcomes.emit, Bell().ring)
    engine.load(load)
    engine.admit(order("job", job))
    while engine.step():
        pass
    engine.close()
    (picture,) = outcomes.pictures("job")
    return picture.data


def test_a_checkpoint_without_a_vae_draws_with_that_of_its_engine_as_with_its_own(
    checkpoints: Path, tmp_path: Path
) -> None:
    bare, vae = split(checkpoints, tmp_path)
    lent = model_source(vae, ModelType.VAE)
    load = msgspec.structs.replace(load_order(bare), models=(lent,))
    drawn = pictures(load, msgspec.structs.replace(spec(), vae=lent.model_id))
    expected = pictures(load_order(checkpoints / "sd.safetensors"), spec())
    assert pixels(drawn) == pixels(expected)


def pixels(data: bytes) -> bytes:
    with Image.open(BytesIO(data)) as image:
        return image.tobytes()


def test_a_checkpoint_without_any_vae_does_not_start(checkpoints: Path, tmp_path: Path) -> None:
    bare, _ = split(checkpoints, tmp_path)
    with pytest.raises(ModelUnreadable, match="its engine must name one as its vae"):
        load_components(source_of(bare), CPU, torch.float32)


def test_leftovers_change_no_image(checkpoints: Path, tmp_path: Path) -> None:
    path = tmp_path / "sd.safetensors"
    tensors = load_file(checkpoints / "sd.safetensors")
    leftovers = (
        "logit_scale",
        "global_step",
        "embedding_manager.x",
        f"{VAE}quantize.embedding.weight",
        "my.own",
    )
    save_file({**tensors, **{name: torch.ones(3) for name in leftovers}}, path)
    with path.open("ab") as file:
        file.write(b"padding")
    assert pixels(pictures(load_order(path), spec())) == pixels(
        pictures(load_order(checkpoints / "sd.safetensors"), spec())
    )


def distilled(base: ModelBase) -> Architecture:
    found = small_architecture(base)
    return replace(found, unet=replace(found.unet, time_cond_width=256))


@pytest.mark.sampled(1)
@pytest.mark.parametrize("base", list(ModelBase))
@pytest.mark.parametrize("guidance_scale", [1.0, 8.0])
def test_a_unet_with_guidance_distilled_into_it_makes_the_stock_pipelines_picture(
    base: ModelBase, guidance_scale: float, tmp_path: Path
) -> None:
    write_random_folder(tmp_path / "folder", distilled(base), seed=3)
    write_random_file(tmp_path / "file.safetensors", distilled(base), seed=3)
    job = spec(scheduler=Scheduler.LCM, steps=4, guidance_scale=guidance_scale, negative_prompt="blue")
    stock = Stock(tmp_path / "folder", base)
    expected_latents, expected = stock.make(Asked(job))
    for path in (tmp_path / "folder", tmp_path / "file.safetensors"):
        parts = load_components(source_of(path), CPU, torch.float32)
        assert parts.is_distilled
        latents = make_alone(bare_resources(parts), Asked(job))
        assert torch.allclose(latents, expected_latents, atol=1e-4)
        with torch.inference_mode():
            drawn = decode(parts.vae, latents)
        assert np.abs(drawn.astype(int) - expected.astype(int)).max() <= 1


def test_images_of_different_guidance_share_a_call_of_a_distilled_unet(tmp_path: Path) -> None:
    write_random_file(tmp_path / "file.safetensors", distilled(ModelBase.SD), seed=3)
    outcomes = Outcomes()
    engine = build(outcomes.emit, Bell().ring)
    engine.load(load_order(tmp_path / "file.safetensors"))
    jobs = {f"{scale}": spec(guidance_scale=scale, steps=2) for scale in (2.0, 8.0)}
    for job_id, job in jobs.items():
        engine.admit(order(job_id, job))
    while engine.step():
        pass
    engine.close()
    together = {job_id: levels(outcomes.pictures(job_id)[0].data) for job_id in jobs}
    load = load_order(tmp_path / "file.safetensors")
    for job_id, job in jobs.items():
        assert np.abs(together[job_id] - levels(pictures(load, job))).max() <= 1
    assert np.abs(together["2.0"] - together["8.0"]).max() > 1


def levels(data: bytes) -> NDArray[np.int16]:
    return np.frombuffer(pixels(data), dtype=np.uint8).astype(np.int16)


@pytest.mark.parametrize("width", [1, 2, 7, 256])
def test_the_embedded_guidance_scale_is_diffusers_own(width: int) -> None:
    from diffusers import StableDiffusionPipeline

    if width < 4:  # diffusers divides by nothing there
        assert guidance_embedding(3.0, width).shape == (1, width)
        return
    pipeline = object.__new__(StableDiffusionPipeline)
    expected = pipeline.get_guidance_scale_embedding(torch.tensor([2.0]), embedding_dim=width)
    assert torch.allclose(guidance_embedding(3.0, width), expected, atol=1e-4)
