"""Image to image and inpainting: our sampler makes what the stock pipelines of diffusers make."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import UNet2DConditionModel
from msgspec import structs
from small_engine import Outcomes, order, spec

from bench.bell import Bell, run_out
from bench.ours import make_alone, prepare_now
from bench.pictures import half_mask, photograph, png
from bench.stock import Asked, Stock
from engine_worker.engine.networks.components import Components
from engine_worker.engine.networks.vae import decode
from engine_worker.engine.pipeline.engine_core import EngineCore
from engine_worker.engine.pipeline.postprocessing import DenoisedImage
from engine_worker.engine.pipeline.resources import bare_resources
from engine_worker.engine.sampling.initial_latents import encode_init_image, read_pixels
from engine_worker.port import Completed, ImageEncoded, Inputs
from kernel.protocol.enums import ImageFit, InputKind, ModelBase, Scheduler
from kernel.protocol.errors import JobRejected

pytestmark = [
    pytest.mark.torch,
    # The stock DPM++ SDE asks for a little more than the Brownian path that it has made.
    pytest.mark.filterwarnings("ignore:Should have t[ab]"),
]

REFERENCE: Inputs = {InputKind.REFERENCE: png(photograph())}
MASKED: Inputs = {**REFERENCE, InputKind.MASK: png(half_mask())}
# One of each way to keep count, to draw noise, and to call the UNet.
SCHEDULERS = [
    Scheduler.EULER,
    Scheduler.EULER_A,
    Scheduler.HEUN,
    Scheduler.DPM2_A_KARRAS,
    Scheduler.DPMPP_2M_KARRAS,
    Scheduler.DPMPP_SDE,
    Scheduler.PNDM,
    Scheduler.DDIM,
    Scheduler.LCM,
]
CASES = [(ModelBase.SD, one) for one in SCHEDULERS] + [(ModelBase.SDXL, one) for one in SCHEDULERS[1::4]]


def compare(parts: Components, stock: Stock, asked: Asked) -> None:
    expected_latents, expected_pixels = stock.make(asked)
    latents = make_alone(bare_resources(parts), asked)
    with torch.inference_mode():
        pixels = decode(parts.vae, latents)
    assert (latents - expected_latents).abs().max().item() <= 1e-4
    assert np.abs(pixels.astype(int) - expected_pixels.astype(int)).max() <= 1


@pytest.mark.parametrize(("base", "scheduler"), CASES, indirect=["base"])
def test_an_image_to_image_job_makes_the_stock_pipelines_picture(
    scheduler: Scheduler, parts: Components, stock: Stock
) -> None:
    compare(parts, stock, Asked(spec(scheduler=scheduler, steps=5, strength=0.6), REFERENCE))


@pytest.mark.parametrize(("base", "scheduler"), CASES, indirect=["base"])
def test_an_inpainting_job_makes_the_stock_pipelines_picture(
    scheduler: Scheduler, parts: Components, stock: Stock
) -> None:
    compare(parts, stock, Asked(spec(scheduler=scheduler, steps=5, strength=0.6), MASKED))


@pytest.mark.parametrize("inputs", [REFERENCE, MASKED], ids=["image", "inpaint"])
def test_a_strength_of_one_means_what_the_stock_pipeline_means_by_it(
    inputs: Inputs, parts: Components, stock: Stock
) -> None:
    compare(parts, stock, Asked(spec(scheduler=Scheduler.EULER_A, steps=3, strength=1.0), inputs))


@pytest.fixture(scope="module")
def inpainting(base: ModelBase, checkpoints: Path, parts: Components) -> tuple[Components, Stock]:
    """A checkpoint whose UNet was made for inpainting, and the stock pipelines on it."""
    torch.manual_seed(3)
    config = {**parts.denoiser.config, "in_channels": 9}  # type: ignore[attr-defined]
    unet = UNet2DConditionModel.from_config(config).requires_grad_(False).eval()
    return replace(parts, denoiser=unet, unet_shape=replace(parts.unet_shape, in_channels=9)), Stock(
        checkpoints / str(base), base, unet
    )


@pytest.mark.parametrize(
    ("strength", "inputs"),
    [(0.6, MASKED), (1.0, MASKED), (0.6, REFERENCE), (0.75, {})],
    ids=["mask", "mask-strongest", "image", "words-alone"],
)
def test_a_unet_made_for_inpainting_makes_the_stock_pipelines_picture(
    strength: float, inputs: Inputs, inpainting: tuple[Components, Stock]
) -> None:
    job = spec(scheduler=Scheduler.EULER_A, steps=5, strength=strength)
    compare(*inpainting, Asked(job, inputs))


def test_a_unet_made_for_inpainting_makes_the_same_in_company(inpainting: tuple[Components, Stock]) -> None:
    parts, batches, latents = inpainting[0], list[int](), dict[str, torch.Tensor]()

    def counting(sample: torch.Tensor, timestep: torch.Tensor, **given: object) -> tuple[torch.Tensor]:
        batches.append(len(sample))
        return parts.denoiser(sample, timestep, **given)  # type: ignore[arg-type]

    def keep(finished: DenoisedImage) -> None:
        latents[finished.job.order.job_id] = finished.latents

    jobs = {
        "masked": Asked(spec(scheduler=Scheduler.EULER_A, steps=4, strength=0.9), MASKED),
        "reference": Asked(spec(seed=2, steps=5, prompt="a hat"), REFERENCE),
        "words": Asked(spec(seed=3, steps=4, guidance_scale=1.0)),
    }
    outcomes, bell = Outcomes(), Bell()
    work = bare_resources(replace(parts, denoiser=counting))
    engine_core = EngineCore(work, keep, 4, outcomes.emit, bell.ring)
    for name, asked in jobs.items():
        engine_core.admit(order(name, asked.spec), asked.inputs)
    for _ in range(2):
        bell.wait()
    run_out(engine_core, bell)
    engine_core.close()
    assert batches[0] == 5, "two rows with guidance, one without"
    for name, asked in jobs.items():
        alone = make_alone(bare_resources(parts), asked)
        assert (latents[name] - alone).abs().max().item() <= 1e-4


def test_what_lies_outside_the_mask_stays(parts: Components) -> None:
    prepared = prepare_now(bare_resources(parts), order("job", spec()), MASKED)
    trajectory = prepared.start(parts, 0)
    assert trajectory.inpaint_mask is not None
    latents = make_alone(bare_resources(parts), Asked(spec(steps=4), MASKED))
    stays = trajectory.inpaint_mask.mask == 0
    assert torch.equal(
        latents[stays.expand_as(latents)], trajectory.inpaint_mask.original[stays.expand_as(latents)]
    )


def test_pictures_of_one_job_begin_with_different_noise_on_the_same_reference(parts: Components) -> None:
    prepared = prepare_now(bare_resources(parts), order("job", spec(count=2)), REFERENCE)
    with torch.inference_mode():
        first, second, again = (prepared.start(parts, index).latents for index in (0, 1, 0))
    assert torch.equal(first, again)
    assert not torch.equal(first, second)


@pytest.mark.parametrize("inputs", [REFERENCE, MASKED], ids=["image", "mask"])
def test_a_strength_that_leaves_no_step_gives_the_reference_and_says_so(
    inputs: Inputs, parts: Components
) -> None:
    weak = spec(strength=0.3, count=2)
    outcomes, latents = Outcomes(), []

    def finish(finished: DenoisedImage) -> None:
        latents.append(finished.latents)
        finished.job.image_done(pictured(finished))

    bell = Bell()
    engine_core = EngineCore(bare_resources(parts), finish, 4, outcomes.emit, bell.ring)
    engine_core.admit(order("weak", weak), inputs)
    run_out(engine_core, bell)
    engine_core.close()
    init_image = encode_init_image(parts, parts.vae, weak, read_pixels(weak, inputs))
    assert init_image is not None
    assert init_image.reference is not None
    seeds = [torch.Generator().manual_seed(weak.seed + index) for index in (0, 1)]
    assert all(map(torch.equal, latents, [init_image.reference.draw(seed) for seed in seeds]))
    ending = outcomes.ending("weak")
    assert isinstance(ending, Completed)
    assert ending.warnings == (
        "strength 0.3 leaves none of the 3 steps: the image is the unchanged reference image",
    )


def pictured(finished: DenoisedImage) -> ImageEncoded:
    order, picture = finished.job.order, finished.image
    return ImageEncoded(
        job_id=order.job_id,
        index=picture.index,
        image_id=picture.image_id,
        seed=picture.seed,
        mime="image/png",
        width_px=order.spec.width_px,
        height_px=order.spec.height_px,
        data=b"",
    )


@pytest.mark.parametrize("fit", list(ImageFit), ids=str)
def test_a_picture_of_another_shape_gets_the_size_of_the_job(fit: ImageFit, parts: Components) -> None:
    job = structs.replace(spec(steps=2, width_px=72), image_fit=fit)
    inputs = {InputKind.REFERENCE: png(photograph(200, 50)), InputKind.MASK: png(half_mask(33, 90))}
    assert make_alone(bare_resources(parts), Asked(job, inputs)).shape == (1, 4, 8, 9)


@pytest.mark.parametrize(
    ("strength", "inputs", "says"),
    [
        (0.75, {InputKind.MASK: MASKED[InputKind.MASK]}, "requires a reference image"),
        (0.75, {InputKind.REFERENCE: b"GIF89a"}, "reference image is not a PNG"),
        (0.75, {**REFERENCE, InputKind.MASK: b""}, "mask is not a PNG"),
    ],
    ids=["mask-alone", "no-picture", "no-mask"],
)
def test_pictures_that_cannot_be_used_are_an_error_in_words(
    strength: float, inputs: Inputs, says: str, parts: Components
) -> None:
    with pytest.raises(JobRejected, match=says):
        make_alone(bare_resources(parts), Asked(spec(strength=strength), inputs))
