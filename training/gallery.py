"""The images that everything behind the VAE learns from: drawn and encoded once, in shards, then kept as
latents.

A shard's drawings depend on the seed and its number alone. Only the latents are stored; the sheet, from which
masks, edges and depths are drawn, is drawn up again in milliseconds.
"""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from safetensors.torch import load_file, save_file
from torch import Tensor
from tqdm import tqdm

from kernel.protocol.enums import ModelBase
from training.command import run_from_command_line
from training.drawing import Sheet, draw, join, whole
from training.looks import Look, dress
from training.loop import Run, autocast
from training.scenes import Scene, training_scenes
from training.sheets import scene_sheet
from training.vae import trained_vae

SHARD = 1_000
IMAGES: dict[str, int] = {"cpu": 20_000, "cuda": 100_000}
"""That the families and the ControlNets learn from."""
AT_ONCE: dict[str, int] = {"cpu": 20, "cuda": 500}


@dataclass(frozen=True, slots=True)
class Gallery:
    """Scenes, how they were drawn, and their latents."""

    scenes: tuple[Scene, ...]
    sheet: Sheet
    latents: Tensor
    """(count, 4, 16, 16), scaled to unit variance."""

    def __len__(self) -> int:
        return len(self.scenes)


def open_gallery(vae: AutoencoderKL, look: Look, count: int, run: Run) -> Gallery:
    """Give the first `count` images of that look (or as many as the run says), encoding those that no earlier
    run has encoded."""
    count = run.images or count
    shards = range(-(-count // SHARD))
    folder = run.folder / f"gallery-{_fingerprint(vae)}"
    drawn = [_draw_up(look, shard, run.seed) for shard in shards]
    latents = [
        _latents(vae, sheet, folder / f"{look.value}-{_first(sheet)}-{shard:04}.safetensors", run.device)
        for shard, (_, sheet) in zip(
            tqdm(shards, desc=f"gallery {look.value}", mininterval=5), drawn, strict=True
        )
    ]
    return Gallery(
        scenes=tuple(scene for scenes, _ in drawn for scene in scenes)[:count],
        sheet=join([sheet for _, sheet in drawn]).rows(slice(count)),
        latents=torch.cat(latents)[:count].to(run.device),
    )


def _fingerprint(vae: AutoencoderKL) -> str:
    """Name the VAE by its encoder's weights, so that another VAE's latents are never taken for its own."""
    digest = hashlib.sha256()
    for weight in vae.encoder.parameters():
        digest.update(weight.detach().cpu().numpy().tobytes())
    return digest.hexdigest()[:12]


def _first(sheet: Sheet) -> str:
    """Name a sheet by its first image, so that what is drawn otherwise now is encoded anew."""
    first = sheet.rows(slice(1))
    image = (255 * draw(first, whole(first))).round().to(torch.int16)
    return hashlib.sha256(image.numpy().tobytes()).hexdigest()[:12]


def _draw_up(look: Look, shard: int, seed: int) -> tuple[list[Scene], Sheet]:
    rng = np.random.default_rng([seed, shard])
    known = training_scenes()
    scenes = [known[index] for index in rng.integers(len(known), size=SHARD)]
    return scenes, dress(scene_sheet(scenes, rng), look)


def _latents(vae: AutoencoderKL, sheet: Sheet, path: Path, device: torch.device) -> Tensor:
    """Read a shard's latents, or make and keep them."""
    if path.exists():
        return _read(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    parts = range(0, SHARD, AT_ONCE[device.type])
    latents = torch.cat(
        [_encode(vae, sheet.rows(slice(start, start + AT_ONCE[device.type])), device) for start in parts]
    ).contiguous()
    partial = path.with_suffix(f".{os.getpid()}")  # other processes may be at the same shard
    save_file({"latents": latents}, partial)
    partial.replace(path)
    return latents


def _read(path: Path) -> Tensor:
    latents: Tensor = load_file(path)["latents"]
    return latents


@torch.no_grad()
def _encode(vae: AutoencoderKL, sheet: Sheet, device: torch.device) -> Tensor:
    here = sheet.to(device)
    images = draw(here, whole(here))
    with autocast(device):
        latents = vae.encode(images).latent_dist.mode()
    scaled: Tensor = latents.float() * vae.config.scaling_factor
    return scaled.half().cpu().contiguous()


def main(run: Run) -> None:
    """Draw and encode what both families learn from, before their trainings begin side by side."""
    open_gallery(trained_vae(run, ModelBase.SD), Look.PLAIN, IMAGES[run.device.type], run)


if __name__ == "__main__":
    run_from_command_line(main, __doc__)
