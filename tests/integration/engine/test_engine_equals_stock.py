"""Our sampler makes what the stock diffusers pipelines make, on the CPU in float32."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from msgspec import structs
from small_engine import spec

from bench.ours import make_alone
from bench.stock import CLASSES, Asked, Stock
from engine_worker.engine.networks.components import Components
from engine_worker.engine.networks.vae import decode
from engine_worker.engine.pipeline.resources import bare_resources
from kernel.protocol.enums import ModelBase, PromptTechnique, Scheduler
from kernel.protocol.schedulers import KINDS, SAMPLERS
from kernel.protocol.specs import JobSpec, SchedulerConfig

pytestmark = [
    pytest.mark.torch,
    # The stock DPM++ SDE asks for a little more than the Brownian path that it has made.
    pytest.mark.filterwarnings("ignore:Should have t[ab]"),
]


SPACED = [one for one in Scheduler if one not in SAMPLERS]


@dataclass(frozen=True)
class Apart:
    """How far our picture is from the stock pipeline's where they differ most."""

    latents: float
    largest: float
    """Of the latents themselves: a checkpoint of noise makes some that are far from those of pictures."""
    levels: int
    """Of 255, in the decoded pixels."""

    @property
    def is_nothing(self) -> bool:
        """Is it no more than what rounding leaves?"""
        return self.latents <= 1e-5 * max(10.0, self.largest) and self.levels <= 1


def apart(parts: Components, stock: Stock, job: JobSpec, theirs: JobSpec | None = None) -> Apart:
    """Make the job in both ways; `theirs` is what the stock pipeline is told, if not the same."""
    expected_latents, expected_pixels = stock.make(Asked(theirs or job))
    latents = make_alone(bare_resources(parts), Asked(job))
    with torch.inference_mode():
        pixels = decode(parts.vae, latents)
    return Apart(
        latents=(latents - expected_latents).abs().max().item(),
        largest=expected_latents.abs().max().item(),
        levels=int(np.abs(pixels.astype(int) - expected_pixels.astype(int)).max()),
    )


@pytest.mark.sampled(8)
@pytest.mark.parametrize(
    ("base", "scheduler"),
    # What differs between the bases does not differ from scheduler to scheduler, nor what differs between
    # schedulers from spacing to spacing: test_schedules.py compares all, `bench.same --all` with pictures.
    [(ModelBase.SD, one) for one in (*SAMPLERS, *SPACED[::4])]
    + [(ModelBase.SDXL, one) for one in SAMPLERS[::3]],
    indirect=["base"],
)
def test_every_scheduler_makes_the_stock_pipelines_picture(
    scheduler: Scheduler, parts: Components, stock: Stock
) -> None:
    assert apart(parts, stock, spec(scheduler=scheduler, steps=4, negative_prompt="blue")).is_nothing


@pytest.mark.sampled(2)
@pytest.mark.parametrize("share", [0.0, 0.7, 1.0])
def test_rescaled_guidance_makes_the_stock_pipelines_picture(
    share: float, parts: Components, stock: Stock
) -> None:
    plain = spec(steps=3, guidance_scale=12.0)
    assert apart(parts, stock, structs.replace(plain, guidance_rescale=share)).is_nothing
    if share:
        changed = apart(parts, stock, structs.replace(plain, guidance_rescale=share), plain)
        assert not changed.is_nothing, "it has an effect"


@pytest.mark.sampled(1)
@pytest.mark.parametrize("scheduler", [Scheduler.DDIM, Scheduler.TCD])
def test_eta_makes_the_stock_pipelines_picture(scheduler: Scheduler, parts: Components, stock: Stock) -> None:
    plain = spec(steps=3, scheduler=scheduler)
    noisy = structs.replace(plain, eta=0.5)
    assert apart(parts, stock, noisy).is_nothing
    assert not apart(parts, stock, noisy, plain).is_nothing, "it has an effect"


def test_every_scheduler_name_has_one_row_in_the_table() -> None:
    assert list(KINDS) == list(Scheduler)
    assert set(KINDS) == set(CLASSES)
    assert len({kind.label for kind in KINDS.values()}) == len(KINDS)


@pytest.mark.parametrize("guidance_scale", [0.0, 1.0, 1.5])
def test_guidance_counts_only_above_one_as_in_the_stock_pipeline(
    guidance_scale: float, parts: Components, stock: Stock
) -> None:
    assert apart(
        parts, stock, spec(guidance_scale=guidance_scale, negative_prompt="blue", steps=2)
    ).is_nothing


def test_an_empty_negative_prompt_means_what_the_stock_pipeline_means_by_none(
    parts: Components, stock: Stock
) -> None:
    assert apart(parts, stock, spec(negative_prompt="", steps=2)).is_nothing


def test_a_prompt_beyond_the_encoders_reach_is_cut_where_the_stock_pipeline_cuts_it(
    parts: Components, stock: Stock
) -> None:
    assert apart(parts, stock, spec(prompt="a red ball on a green table, " * 20, steps=2)).is_nothing


def test_a_picture_need_not_be_square(parts: Components, stock: Stock) -> None:
    assert apart(parts, stock, spec(width_px=72, height_px=48, steps=2)).is_nothing


@pytest.mark.parametrize(
    ("scheduler", "name", "value"),
    [
        (Scheduler.EULER, "use_karras_sigmas", True),
        (Scheduler.DPMPP_2M, "solver_order", 1),
        (Scheduler.DDIM, "timestep_spacing", "trailing"),
    ],
)
def test_scheduler_config_lies_over_the_checkpoints_own(
    scheduler: Scheduler, name: str, value: bool | int | str, parts: Components, stock: Stock
) -> None:
    assert apart(parts, stock, spec(scheduler=scheduler, scheduler_config={name: value})).is_nothing


TRAILING = {"timestep_spacing": "trailing"}
ZERO_SNR = {"rescale_betas_zero_snr": True, **TRAILING}


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    ("scheduler", "trained"),
    [
        (Scheduler.EULER, {}),
        (Scheduler.EULER, ZERO_SNR),
        (Scheduler.DPMPP_2M, {}),
        (Scheduler.DPMPP_2M, TRAILING),
        (Scheduler.DDIM, {}),
        (Scheduler.DDIM, ZERO_SNR),
    ],
)
def test_a_checkpoint_with_v_prediction_makes_the_stock_pipelines_picture(
    scheduler: Scheduler, trained: SchedulerConfig, parts: Components, stock: Stock
) -> None:
    config: SchedulerConfig = {"prediction_type": "v_prediction", **trained}
    ours = replace(parts, scheduler_config={**parts.scheduler_config, **config})
    job = spec(scheduler=scheduler, steps=4, negative_prompt="blue")
    theirs = spec(scheduler=scheduler, steps=4, negative_prompt="blue", scheduler_config=config)
    assert apart(ours, stock, job, theirs).is_nothing
    assert not apart(parts, stock, job, theirs).is_nothing


def stock_by_call(stock: Stock, job: JobSpec, texts: list[str]) -> torch.Tensor:
    """The latents of the stock pipeline, whose embeddings are replaced after each step by those of a text."""

    def replace_embeds(
        pipeline: object, step: int, timestep: object, tensors: dict[str, torch.Tensor]
    ) -> dict[str, torch.Tensor]:
        embeds, pooled = stock.encode(texts[min(step + 1, len(texts) - 1)], job.negative_prompt or None)
        found = {"prompt_embeds": embeds, "add_text_embeds": pooled}
        return {name: found[name] for name in tensors if found[name] is not None}

    asked = Asked(structs.replace(job, prompt=texts[0]))
    pipeline = stock._pipeline("", asked)
    names = [
        name for name in ("prompt_embeds", "add_text_embeds") if name in pipeline._callback_tensor_inputs
    ]
    return pipeline(
        **stock._words(asked.spec),
        callback_on_step_end=replace_embeds,
        callback_on_step_end_tensor_inputs=names,
    ).images


@pytest.mark.sampled(3)
@pytest.mark.parametrize("scheduler", [Scheduler.EULER, Scheduler.EULER_A, Scheduler.DPMPP_2M_KARRAS])
@pytest.mark.parametrize("negative_prompt", ["", "blue"])
def test_a_prompt_that_changes_is_the_stock_pipelines_with_other_embeddings_at_each_step(
    scheduler: Scheduler, negative_prompt: str, parts: Components, stock: Stock
) -> None:
    job = spec(
        prompt="a [red:green:0.5] [ball|cube|cone]",
        negative_prompt=negative_prompt,
        scheduler=scheduler,
        steps=4,
        technique=PromptTechnique.SD_EMBED,
    )
    texts = ["a red ball", "a red ball", "a red cube", "a green cone"]
    expected = stock_by_call(stock, job, texts)
    ours = make_alone(bare_resources(parts), Asked(job))
    near = 1e-5 * max(10.0, expected.abs().max().item())
    assert (ours - expected).abs().max().item() <= near
    assert (ours - stock_by_call(stock, job, texts[:1])).abs().max().item() > 10 * near


@pytest.mark.sampled(1)
@pytest.mark.parametrize("guidance_scale", [5.0, 1.0])
def test_prompts_joined_by_and_guide_together_as_in_the_plain_loop(
    guidance_scale: float, parts: Components, stock: Stock
) -> None:
    prompt, negative = "a red ball AND a green [cube|cone] :0.5 AND blue:-0.25", "purple"
    job = spec(
        prompt=prompt,
        negative_prompt=negative,
        guidance_scale=guidance_scale,
        steps=3,
        technique=PromptTechnique.SD_EMBED,
    )
    scheduler, unet = stock._scheduler(job), stock.pipeline.unet
    scheduler.set_timesteps(job.steps)
    shape = (1, 4, job.height_px // 8, job.width_px // 8)
    latents = (
        torch.randn(shape, generator=torch.Generator().manual_seed(job.seed)) * scheduler.init_noise_sigma
    )
    sizes = torch.tensor(
        [[job.height_px, job.width_px, 0, 0, job.height_px, job.width_px]], dtype=torch.float32
    )
    for call, timestep in enumerate(scheduler.timesteps):
        second = "a green cone" if call == 2 else "a green cube"
        seen = scheduler.scale_model_input(latents, timestep)

        def predicted(text: str, row: int) -> torch.Tensor:
            embeds, pooled = stock.encode(text, negative)
            added = None if pooled is None else {"text_embeds": pooled[row : row + 1], "time_ids": sizes}
            with torch.no_grad():
                return unet(seen, timestep, embeds[row : row + 1], added_cond_kwargs=added).sample  # noqa: B023

        bare = predicted("", 0)
        joined = [
            (predicted("a red ball", 1), 1.0),
            (predicted(second, 1), 0.5),
            (predicted("blue", 1), -0.25),
        ]
        noise = bare + sum(guidance_scale * weight * (one - bare) for one, weight in joined)
        latents = scheduler.step(noise, timestep, latents).prev_sample
    ours = make_alone(bare_resources(parts), Asked(job))
    near = 1e-5 * max(10.0, latents.abs().max().item())
    assert (ours - latents).abs().max().item() <= near
    plain = make_alone(bare_resources(parts), Asked(structs.replace(job, prompt="a red ball")))
    assert (ours - plain).abs().max().item() > 10 * near
