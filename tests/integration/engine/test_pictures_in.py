"""Image to image and inpainting: our sampler makes what the stock pipelines of diffusers make."""

from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import UNet2DConditionModel
from msgspec import structs
from PIL import Image, ImageChops, ImageFilter
from small_engine import Outcomes, order, source_of, spec

from bench.bell import Bell, run_out
from bench.ours import make_alone, prepare_now
from bench.pictures import half_mask, photograph, png
from bench.stock import Asked, Stock
from engine_worker.engine.background.apply_matte import Removers
from engine_worker.engine.images.inpainting import filled
from engine_worker.engine.networks.components import Components
from engine_worker.engine.networks.vae import decode, encode
from engine_worker.engine.pipeline.engine_core import EngineCore
from engine_worker.engine.pipeline.postprocessing import DenoisedImage, Postprocessor
from engine_worker.engine.pipeline.resources import bare_resources
from engine_worker.engine.sampling.initial_latents import encode_init_image, pixels_of, read_pixels
from engine_worker.port import Completed, ImageEncoded, Inputs
from kernel.protocol.enums import (
    ImageFit,
    InpaintArea,
    InpaintFill,
    InputKind,
    MaskMode,
    ModelBase,
    Scheduler,
)
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


@pytest.mark.sampled(3)
@pytest.mark.parametrize(("base", "scheduler"), CASES, indirect=["base"])
def test_an_image_to_image_job_makes_the_stock_pipelines_picture(
    scheduler: Scheduler, parts: Components, stock: Stock
) -> None:
    compare(parts, stock, Asked(spec(scheduler=scheduler, steps=5, strength=0.6), REFERENCE))


@pytest.mark.sampled(3)
@pytest.mark.parametrize(("base", "scheduler"), CASES, indirect=["base"])
def test_an_inpainting_job_makes_the_stock_pipelines_picture(
    scheduler: Scheduler, parts: Components, stock: Stock
) -> None:
    compare(parts, stock, Asked(spec(scheduler=scheduler, steps=5, strength=0.6), MASKED))


@pytest.mark.sampled(1)
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


@pytest.mark.sampled(2)
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


@pytest.mark.parametrize("is_made_for_it", [False, True], ids=["plain", "inpainting"])
@pytest.mark.parametrize("fill", list(InpaintFill), ids=str)
def test_what_is_under_the_mask_at_the_start_is_as_written_out(
    fill: InpaintFill, is_made_for_it: bool, parts: Components, inpainting: tuple[Components, Stock]
) -> None:
    work, job = bare_resources(inpainting[0] if is_made_for_it else parts), spec(steps=4)
    begun = prepare_now(work, order("job", structs.replace(job, inpaint_fill=fill)), MASKED).start(parts, 0)
    plain = prepare_now(work, order("job", job), MASKED).init_image
    assert plain is not None
    generator = torch.Generator().manual_seed(job.seed)
    pixels = photograph()
    if fill is InpaintFill.FILL:
        pixels = filled(pixels, half_mask())
    encoded = encode(parts.vae, 2 * pixels_of(pixels) - 1, parts.device)
    reference = encoded.draw(generator)
    noise = torch.randn(reference.shape, generator=generator)
    under = {InpaintFill.LATENT_NOISE: noise, InpaintFill.LATENT_NOTHING: torch.zeros_like(noise)}
    mixed = torch.where(plain.mask > 0, under.get(fill, reference), reference)
    expected = begun.schedule.scheduler.add_noise(mixed, noise, begun.schedule.timesteps[:1])
    assert torch.equal(begun.latents, expected)


MASK_VALUES = {
    "mask_mode": MaskMode.LUMINANCE,
    "mask_blur": 2,
    "inpaint_area": InpaintArea.WHOLE,
    "inpaint_fill": InpaintFill.ORIGINAL,
}
SMALL_MASK = Image.new("L", (160, 96))
SMALL_MASK.paste(255, (100, 40, 120, 56))


def inpainted(parts: Components, inputs: Inputs, **values: object) -> tuple[np.ndarray, Completed]:
    """The pixels of a job's file, and how the job ended."""
    job = structs.replace(spec(steps=2, strength=1.0), **{**MASK_VALUES, **values})
    outcomes, bell = Outcomes(), Bell()
    postprocessor = Postprocessor(source_of(Path("/models/tiny.safetensors")), Removers(parts.device))
    engine_core = EngineCore(bare_resources(parts), postprocessor.put, 4, outcomes.emit, bell.ring)
    engine_core.admit(order("job", job), inputs)
    run_out(engine_core, bell)
    engine_core.close()
    postprocessor.close()
    (image,) = [one for one in outcomes.of("job") if isinstance(one, ImageEncoded)]
    ending = outcomes.ending("job")
    assert isinstance(ending, Completed)
    pixels = np.asarray(Image.open(BytesIO(image.data)))
    assert (image.width_px, image.height_px) == (pixels.shape[1], pixels.shape[0])
    return pixels, ending


def test_outside_the_mask_and_its_blur_a_picture_is_the_reference(parts: Components) -> None:
    photo = photograph()
    pixels, ending = inpainted(parts, {InputKind.REFERENCE: png(photo), InputKind.MASK: png(half_mask())})
    marked = np.asarray(half_mask()) > 0
    beyond = ~np.asarray(Image.fromarray(marked).filter(ImageFilter.MaxFilter(13)), dtype=bool)
    assert beyond.sum() > 300
    assert np.array_equal(pixels[beyond], np.asarray(photo)[beyond])
    assert (pixels[marked] != np.asarray(photo)[marked]).mean() > 0.9
    assert ending.warnings == ()


def test_only_the_masked_area_is_drawn_and_the_picture_has_the_size_of_the_reference(
    parts: Components,
) -> None:
    photo = photograph(160, 96)
    inputs = {InputKind.REFERENCE: png(photo), InputKind.MASK: png(SMALL_MASK)}
    only = {"inpaint_area": InpaintArea.MASKED, "inpaint_padding": 6, "image_fit": None, "mask_blur": 0}
    pixels, _ = inpainted(parts, inputs, **only)
    marked = np.asarray(SMALL_MASK) > 0
    assert pixels.shape == (96, 160, 3)
    assert np.array_equal(pixels[~marked], np.asarray(photo)[~marked])
    # 32 x 28 with the padding, 32 x 32 to be square: what a job with that part alone draws, scaled back.
    box = (94, 32, 126, 64)
    part, part_mask = photo.crop(box), SMALL_MASK.crop(box)
    as_drawn = {
        InputKind.REFERENCE: png(part.resize((64, 64), Image.Resampling.LANCZOS)),
        InputKind.MASK: png(part_mask.resize((64, 64), Image.Resampling.LANCZOS)),
    }
    job = structs.replace(spec(steps=2, strength=1.0), **{**MASK_VALUES, "mask_blur": 0})
    with torch.inference_mode():
        drawn = decode(parts.vae, make_alone(bare_resources(parts), Asked(job, as_drawn)))
    back = np.asarray(Image.fromarray(drawn).resize((32, 32), Image.Resampling.LANCZOS))
    expected = np.asarray(photo).copy()
    expected[marked] = back[np.asarray(part_mask) > 0]
    assert np.array_equal(pixels, expected)


def test_a_reference_is_its_own_mask_by_its_alpha_channel_and_says_so(parts: Components) -> None:
    photo = photograph()
    photo.putalpha(ImageChops.invert(half_mask()))
    pixels, ending = inpainted(parts, {InputKind.REFERENCE: png(photo)}, mask_mode=MaskMode.ALPHA)
    over_white = photograph()
    over_white.paste((255, 255, 255), (0, 0), half_mask())
    same, _ = inpainted(parts, {InputKind.REFERENCE: png(over_white), InputKind.MASK: png(half_mask())})
    assert np.array_equal(pixels, same)
    (warning,) = ending.warnings
    assert warning == "the transparent part of the reference image is its mask, and began as #ffffff"


def test_an_inverted_mask_is_the_mask_of_the_rest(parts: Components) -> None:
    reference = {InputKind.REFERENCE: png(photograph())}
    other = png(ImageChops.invert(half_mask()))
    pixels, _ = inpainted(parts, {**reference, InputKind.MASK: png(half_mask())}, mask_mode=MaskMode.INVERTED)
    assert np.array_equal(pixels, inpainted(parts, {**reference, InputKind.MASK: other})[0])


def test_a_transparent_reference_says_what_was_laid_under_it(parts: Components) -> None:
    photo = photograph()
    photo.putalpha(half_mask())
    _, ending = inpainted(parts, {InputKind.REFERENCE: png(photo)}, **dict.fromkeys(MASK_VALUES))
    assert ending.warnings == ("the reference image is transparent in places: #ffffff was laid under it",)


def test_a_mask_between_the_latents_is_not_lost(parts: Components) -> None:
    """Each latent takes the pixel at its upper left: a small mask has none of them."""
    mask = Image.new("L", (64, 64))
    mask.paste(255, (33, 33, 37, 37))
    inputs = {**REFERENCE, InputKind.MASK: png(mask)}
    found = prepare_now(bare_resources(parts), order("job", spec()), inputs).init_image
    assert found is not None
    assert found.mask is not None
    assert found.mask.nonzero().tolist() == [[0, 0, 4, 4]]


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
    inputs = {InputKind.REFERENCE: png(photograph(200, 50)), InputKind.MASK: png(half_mask(100, 25))}
    assert make_alone(bare_resources(parts), Asked(job, inputs)).shape == (1, 4, 8, 9)


@pytest.mark.parametrize(
    ("strength", "inputs", "says"),
    [
        (0.75, {InputKind.MASK: MASKED[InputKind.MASK]}, "requires a reference image"),
        (0.75, {InputKind.REFERENCE: b"GIF89a"}, "reference image is not a PNG"),
        (0.75, {**REFERENCE, InputKind.MASK: b""}, "mask is not a PNG"),
        (
            0.75,
            {**REFERENCE, InputKind.MASK: png(half_mask(33, 90))},
            "33 x 90 pixels, the reference image 64",
        ),
        (0.75, {**REFERENCE, InputKind.MASK: png(Image.new("L", (64, 64)))}, "nothing to change"),
    ],
    ids=["mask-alone", "no-picture", "no-mask", "other-shape", "empty"],
)
def test_pictures_that_cannot_be_used_are_an_error_in_words(
    strength: float, inputs: Inputs, says: str, parts: Components
) -> None:
    with pytest.raises(JobRejected, match=says):
        make_alone(bare_resources(parts), Asked(spec(strength=strength), inputs))
