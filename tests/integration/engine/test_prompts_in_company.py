"""Prompts of different lengths and techniques beside one another: each makes the picture it makes alone."""

from pathlib import Path

import pytest
import torch
from msgspec.structs import replace
from prompting import embedding_source, prompt_order, random_vectors, write_embedding
from small_engine import Outcomes

from bench.bell import Bell, run_out
from engine_worker.engine.networks.components import Components
from engine_worker.engine.pipeline.engine_core import EngineCore
from engine_worker.engine.pipeline.postprocessing import DenoisedImage
from engine_worker.engine.pipeline.resources import bare_resources
from kernel.protocol.enums import PromptTechnique
from kernel.protocol.ids import JobId

pytestmark = pytest.mark.torch

BOUND = 1e-4


def test_prompts_of_one_chunk_and_of_several_share_their_steps(parts: Components, tmp_path: Path) -> None:
    path = write_embedding(tmp_path / "dusk.safetensors", random_vectors(parts))
    dusk = embedding_source("dusk", path)
    orders = [
        prompt_order("a red ball", "blue"),
        prompt_order("a (red:1.3) ball, " * 40, "blue", technique=PromptTechnique.SD_EMBED, clip_skip=2),
        prompt_order("a (red)1.3 dusk", "blue", technique=PromptTechnique.COMPEL, embeddings=(dusk,)),
        prompt_order("a dusk", guidance_scale=1.0),
        prompt_order("a [red|blue] ball AND a hat:0.5", technique=PromptTechnique.SD_EMBED),
    ]
    orders = [replace(one, job_id=JobId(str(number))) for number, one in enumerate(orders)]
    latents: dict[JobId, torch.Tensor] = {}

    def keep(finished: DenoisedImage) -> None:
        latents[finished.job.order.job_id] = finished.latents

    bell = Bell()
    engine_core = EngineCore(bare_resources(parts), keep, 5, Outcomes().emit, bell.ring)
    for asked in orders:
        engine_core.admit(asked)
    run_out(engine_core, bell)
    for asked in orders:
        alone = EngineCore(bare_resources(parts), keep, 1, Outcomes().emit, bell.ring)
        together = latents[asked.job_id]
        alone.admit(asked)
        run_out(alone, bell)
        assert (latents[asked.job_id] - together).abs().max().item() <= BOUND
