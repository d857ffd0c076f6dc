"""Previews: what a picture looks like so far, cheap, rare, and of no harm to anything else."""

from dataclasses import replace
from io import BytesIO

import pytest
import torch
from PIL import Image
from small_engine import Outcomes, order, spec
from torch import Tensor
from torch.nn.functional import avg_pool2d

from bench.bell import Bell
from bench.ours import prepare_now
from bench.pictures import photograph, png
from engine_worker.engine.networks.components import Components, Vae
from engine_worker.engine.networks.vae import encode
from engine_worker.engine.pipeline.engine_core import EngineCore
from engine_worker.engine.pipeline.resources import bare_resources
from engine_worker.engine.sampling.initial_latents import pixels_of
from engine_worker.engine.sampling.previews import Previews, expected, fit_latent_preview
from engine_worker.engine.sampling.sampler import advance
from engine_worker.port import Previewed
from kernel.protocol.enums import InputKind, Scheduler

pytestmark = pytest.mark.torch

CPU = torch.device("cpu")


class Posterior:
    """What a picture may be in latents, without any doubt."""

    def __init__(self, mean: Tensor) -> None:
        self.mean = mean
        self.std = torch.zeros_like(mean)


class LinearVae:
    """A VAE whose latents are a linear map of the colours of each eight by eight pixels."""

    def encode(self, x: Tensor, *, return_dict: bool) -> tuple[Posterior]:
        red, green, blue = avg_pool2d(x, 8).unbind(1)
        return (Posterior(torch.stack([red - green, 2 * blue, green + 0.5, red + blue], dim=1)),)


class BrokenVae(LinearVae):
    def encode(self, x: Tensor, *, return_dict: bool) -> tuple[Posterior]:
        raise RuntimeError("it will not have it")


def linear(parts: Components, encoder: LinearVae) -> Vae:
    return replace(parts.vae, encoder=encoder)


def previews_of(outcomes: Outcomes) -> list[Previewed]:
    return [one for one in outcomes.of("job") if isinstance(one, Previewed)]


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_latents_that_are_a_linear_map_of_colours_are_seen_through(parts: Components) -> None:
    vae = linear(parts, LinearVae())
    pixels = pixels_of(photograph(96, 64))
    latents = encode(vae, pixels * 2 - 1, CPU).draw(torch.Generator())
    seen = fit_latent_preview(vae, CPU).draw(latents)
    wanted = avg_pool2d(pixels, 8)[0].permute(1, 2, 0) * 255
    assert seen.shape == (8, 12, 3)
    assert (seen - wanted).abs().max() <= 1


@pytest.mark.parametrize(
    ("scheduler", "prediction_type"),
    [
        (Scheduler.EULER, "epsilon"),
        (Scheduler.EULER, "sample"),
        (Scheduler.DDIM, "v_prediction"),
        (Scheduler.DPM2, "epsilon"),
        (Scheduler.DPMPP_SDE, "v_prediction"),
    ],
)
def test_the_expected_picture_is_the_one_that_the_noise_was_laid_on(
    scheduler: Scheduler, prediction_type: str, parts: Components
) -> None:
    config = {**parts.scheduler_config, "prediction_type": prediction_type}
    work = bare_resources(replace(parts, scheduler_config=config))
    job = order("job", spec(scheduler=scheduler, strength=0.7, steps=10))
    prepared = prepare_now(work, job, {InputKind.REFERENCE: png(photograph())})
    trajectory = prepared.start(work.parts, 0)
    original = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(5))
    noise = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(6))
    schedule = trajectory.schedule
    noisy = replace(trajectory, latents=schedule.scheduler.add_noise(original, noise, schedule.timesteps[:1]))
    signal = schedule.scheduler.alphas_cumprod[round(trajectory.timestep.item())].item()
    right = {
        "epsilon": noise,
        "v_prediction": signal**0.5 * noise - (1 - signal) ** 0.5 * original,
        "sample": original,
    }[prediction_type]
    assert (expected(noisy, right) - original).abs().max() < 0.05
    assert advance(noisy, right).calls_done == 1


def test_previews_are_small_jpegs_of_the_pictures_one_after_the_other(parts: Components) -> None:
    outcomes, clock = Outcomes(), Clock()
    work = bare_resources(parts)
    job = prepare_now(work, order("job", spec(count=2, previews=True)), emit=outcomes.emit).job
    previews = Previews(CPU, clock)
    for moment in (0.0, 0.1, 0.4, 0.6, 0.9, 1.2):
        clock.now_s = moment
        index = previews.choose(job, (0, 1))
        if index is not None:
            previews.show(job, index, linear(parts, LinearVae()), lambda: torch.zeros(1, 4, 8, 16))
    previews.close()
    shown = previews_of(outcomes)
    assert [one.index for one in shown] == [0, 1, 0]
    image = Image.open(BytesIO(shown[0].data))
    assert (image.format, image.size) == ("JPEG", (128, 64))


def test_a_large_picture_has_a_small_preview(parts: Components) -> None:
    outcomes = Outcomes()
    job = prepare_now(bare_resources(parts), order("job", spec(previews=True)), emit=outcomes.emit).job
    previews = Previews(CPU)
    previews.show(job, 0, linear(parts, LinearVae()), lambda: torch.zeros(1, 4, 128, 64))
    previews.close()
    (preview,) = previews_of(outcomes)
    assert Image.open(BytesIO(preview.data)).size == (128, 256)


def test_only_jobs_that_ask_for_previews_get_them(parts: Components) -> None:
    outcomes = Outcomes()
    engine_core = EngineCore(bare_resources(parts), lambda finished: None, 4, outcomes.emit, Bell().ring)
    engine_core.admit(order("job", spec(steps=2, previews=True)))
    engine_core.admit(order("other", spec(steps=2)))
    while engine_core.step():
        pass
    engine_core.close()
    assert previews_of(outcomes)
    assert outcomes.names("other") == ["Stepped", "Stepped"]


def test_a_preview_that_cannot_be_drawn_is_a_warning_and_not_an_end(parts: Components) -> None:
    outcomes = Outcomes()
    job = prepare_now(bare_resources(parts), order("job", spec(previews=True)), emit=outcomes.emit).job
    previews = Previews(CPU)
    previews.show(job, 0, linear(parts, BrokenVae()), lambda: torch.zeros(1, 4, 8, 8))
    previews.close()
    assert job.is_open
    assert not outcomes.all
