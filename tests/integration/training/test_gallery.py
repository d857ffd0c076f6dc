"""What was encoded once is not encoded again, unless it would be drawn otherwise now."""

from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL

from training import gallery, looks
from training.gallery import open_gallery
from training.looks import Look
from training.loop import Run

pytestmark = pytest.mark.torch


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setattr(gallery, "SHARD", 2)
    return Run(folder=tmp_path, device=torch.device("cpu"))


@pytest.fixture
def vae() -> AutoencoderKL:
    torch.manual_seed(0)
    return AutoencoderKL(block_out_channels=(8,), norm_num_groups=2, sample_size=128)


def shards(run: Run) -> dict[str, int]:
    return {str(file.relative_to(run.folder)): file.stat().st_mtime_ns for file in run.folder.glob("*/*")}


def test_a_gallery_is_encoded_once(run: Run, vae: AutoencoderKL) -> None:
    first = open_gallery(vae, Look.STRIPED, 3, run)
    kept = shards(run)
    again = open_gallery(vae, Look.STRIPED, 3, run)
    assert len(kept) == 2
    assert shards(run) == kept
    assert first.latents.shape[0] == len(first) == 3
    assert torch.equal(first.latents, again.latents)


def test_what_a_look_means_now_is_encoded_anew(
    run: Run, vae: AutoencoderKL, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = open_gallery(vae, Look.STRIPED, 2, run)
    monkeypatch.setattr(looks, "STRIPES", 0.5)
    after = open_gallery(vae, Look.STRIPED, 2, run)
    assert not torch.equal(before.latents, after.latents)
    assert len(shards(run)) == 2


@pytest.mark.exhaustive
def test_another_vae_has_latents_of_its_own(run: Run, vae: AutoencoderKL) -> None:
    open_gallery(vae, Look.PLAIN, 2, run)
    open_gallery(AutoencoderKL(block_out_channels=(8,), norm_num_groups=2), Look.PLAIN, 2, run)
    assert len(shards(run)) == 2
