"""Prompts of every technique in half precision, on the CPU and where there is one on a CUDA device."""

from pathlib import Path

import pytest
import torch
from prompting import alone, embedding_source, encoded_prompts, random_vectors, write_embedding
from small_engine import source_of

from engine_worker.engine.loading.load_checkpoint import load_components
from engine_worker.engine.networks.components import Components
from kernel.protocol.enums import ModelBase, PromptTechnique

pytestmark = pytest.mark.torch

WEIGHTED = {
    PromptTechnique.NONE: "a dusk " * 60,
    PromptTechnique.SD_EMBED: "a (dusk:1.5) [ball], " * 60,
    PromptTechnique.COMPEL: "a (dusk)1.5 (ball)0.5, " * 25,
}


@pytest.fixture(
    scope="module",
    params=[
        ("cpu", torch.bfloat16),
        pytest.param(
            ("cuda", torch.float16),
            marks=[
                pytest.mark.gpu,
                pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
            ],
        ),
    ],
    ids=["cpu", "cuda"],
)
def half(request: pytest.FixtureRequest, checkpoints: Path) -> Components:
    """SDXL, loaded in half precision."""
    device, dtype = request.param
    source = source_of(checkpoints / f"{ModelBase.SDXL}.safetensors")
    return load_components(source, torch.device(device), dtype)


@pytest.mark.parametrize("technique", list(PromptTechnique), ids=str)
def test_without_weights_the_techniques_agree_to_the_bit(
    technique: PromptTechnique, half: Components
) -> None:
    assert torch.equal(alone(half, "a red ball", technique=technique), alone(half, "a red ball"))


@pytest.mark.parametrize("technique", list(PromptTechnique), ids=str)
def test_what_is_encoded_is_numbers_of_the_engines_precision(
    technique: PromptTechnique, half: Components, tmp_path: Path
) -> None:
    path = write_embedding(tmp_path / "dusk.safetensors", random_vectors(half))
    dusk = embedding_source("dusk", path)
    made = encoded_prompts(
        half, WEIGHTED[technique], "dusk", technique=technique, embeddings=(dusk,)
    ).conditioning
    assert made.pooled is not None
    for held in (made.embeds, made.pooled):
        assert (held.dtype, held.device.type) == (half.dtype, half.device.type)
        assert held.isfinite().all()
