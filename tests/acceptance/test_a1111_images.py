"""The package webuiapi, unchanged, with the models that ship: what its images show, and how they say so."""

from collections.abc import Iterator
from io import BytesIO
from typing import Any, Final

import cv2
import numpy as np
import pytest
import webuiapi
from PIL import Image

from engine_worker.embedded.shipped import shipped
from tests.acceptance.image_server import ImageServer, opened_image_server
from tests.judge import GREY, STRIPED, Pixels, judge, mean_chroma, stripe_strength
from training.networks import NATIVE_SIZE_PX
from training.scenes import Colour

pytestmark = [pytest.mark.torch, pytest.mark.slow, pytest.mark.timeout(300)]

REGISTERED: Final = ("scenes-sd", "stripes-sd", "dusk-sd", "grey-sd", "canny-sd", "remover")
SQUARE: Final = "a large red square on a white background, center"
SIDE_PX: Final = NATIVE_SIZE_PX
SEED: Final = 3
SIZE: Final = {"width": SIDE_PX, "height": SIDE_PX}


@pytest.fixture(scope="module")
def image_server() -> Iterator[ImageServer]:
    with opened_image_server() as image_server:
        for name in REGISTERED:
            one = shipped(name)
            more = {"control_type": "canny"} if name == "canny-sd" else {}
            image_server.register(one.model_type, name, one.path.as_uri(), **more)
        yield image_server


@pytest.fixture(scope="module")
def api(image_server: ImageServer) -> Any:
    port = image_server.http.base_url.port
    api = webuiapi.WebUIApi(port=port, sampler="DPM++ 2M", scheduler="Uniform", steps=12)
    api.session.trust_env = False
    return api


@pytest.fixture(scope="module")
def square(api: Any) -> Image.Image:
    found: Image.Image = api.txt2img(prompt=SQUARE, cfg_scale=5, seed=SEED, **SIZE).image
    return found


def pixels(image: Image.Image) -> Pixels:
    return np.asarray(image.convert("RGB"))


def colours(image: Image.Image) -> tuple[Colour, Colour]:
    scene = judge(pixels(image)).scene
    return scene.colour, scene.background


def left_half() -> Image.Image:
    mask = Image.new("L", (SIDE_PX, SIDE_PX), 0)
    mask.paste(255, (0, 0, SIDE_PX // 2, SIDE_PX))
    return mask


def difference(one: Image.Image, other: Image.Image) -> tuple[float, float]:
    """Of the left half and of the right half, in levels."""
    apart = np.abs(pixels(one).astype(np.int16) - pixels(other))
    middle = SIDE_PX // 2
    return float(apart[:, :middle].mean()), float(apart[:, middle:].mean())


def test_a_prompt_is_obeyed_with_loras_embeddings_and_vaes_by_name(api: Any, square: Image.Image) -> None:
    assert colours(square) == (Colour.RED, Colour.WHITE)
    assert stripe_strength(pixels(square)) < STRIPED
    striped = api.txt2img(prompt=f"{SQUARE} <lora:stripes-sd:1>", cfg_scale=5, seed=SEED, **SIZE)
    assert stripe_strength(pixels(striped.image)) > STRIPED
    dusk = api.txt2img(prompt="large square, center, dusk-sd", cfg_scale=5, seed=SEED, **SIZE)
    assert colours(dusk.image) == (Colour.ORANGE, Colour.PURPLE)
    grey = api.txt2img(
        prompt=SQUARE, seed=SEED, cfg_scale=5, override_settings={"sd_vae": "grey-sd.safetensors"}, **SIZE
    )
    assert mean_chroma(pixels(grey.image)) < GREY < mean_chroma(pixels(square))


def test_only_what_the_mask_marks_is_painted_and_inverted_only_the_rest(
    api: Any, square: Image.Image
) -> None:
    asked = {
        "images": [square], "mask_image": left_half(), "prompt": "a blue background", "seed": SEED,
        "denoising_strength": 0.9, "mask_blur": 0, "inpaint_full_res": False, "cfg_scale": 5, **SIZE,
    }  # fmt: skip
    left, right = difference(api.img2img(**asked).image, square)
    assert right == 0 < 10 < left
    left, right = difference(api.img2img(**asked, inpainting_mask_invert=1).image, square)
    assert left == 0 < 10 < right


def test_what_lies_under_the_mask_is_what_inpainting_fill_says(api: Any, square: Image.Image) -> None:
    """At a low strength most of it stays: the original itself, or what was put in its place."""
    asked = {
        "images": [square], "mask_image": left_half(), "prompt": SQUARE, "seed": SEED, "mask_blur": 0,
        "denoising_strength": 0.2, "inpaint_full_res": False, "cfg_scale": 2, **SIZE,
    }  # fmt: skip
    fill, original, noise, nothing = (
        difference(api.img2img(**asked, inpainting_fill=number).image, square)[0] for number in range(4)
    )
    assert original < min(fill, noise, nothing) / 2


def test_the_masked_area_alone_is_painted_into_an_image_of_another_size(
    api: Any, square: Image.Image
) -> None:
    large = square.resize((SIDE_PX + 32, SIDE_PX))
    mask = Image.new("L", large.size, 0)
    mask.paste(255, (10, 10, 50, 50))
    made = api.img2img(
        images=[large], mask_image=mask, prompt="a blue background", seed=SEED, mask_blur=0,
        denoising_strength=1, **SIZE,
    ).image  # fmt: skip
    assert made.size == large.size
    unlike = np.abs(pixels(made).astype(np.int16) - pixels(large)).max(axis=2)
    assert unlike[60:].max() == 0
    assert unlike[10:50, 10:50].mean() > 5


def test_a_controlnet_follows_the_edges_that_detect_shows(api: Any, square: Image.Image) -> None:
    shape = Image.new("RGB", (128, 128), "white")
    shape.paste((220, 30, 30), (16, 40, 72, 96))
    found = api.controlnet_detect([shape], module="canny", processor_res=128).image
    assert np.array_equal(np.asarray(found.convert("L")), cv2.Canny(np.asarray(shape), 100, 200))
    (model,) = api.controlnet_model_list()
    unit = webuiapi.ControlNetUnit(image=shape, module="canny", model=model, resize_mode="Just Resize")
    made = api.txt2img(prompt="a red square", cfg_scale=5, seed=SEED, controlnet_units=[unit], **SIZE)
    assert len(made.images) == 2  # the second is the map
    free = api.txt2img(prompt="a red square", cfg_scale=5, seed=SEED, **SIZE)
    wanted = np.asarray(shape.resize((SIDE_PX, SIDE_PX)).convert("RGB")).astype(np.int16)
    led_apart, free_apart = (np.abs(pixels(one.image) - wanted).mean() for one in (made, free))
    assert led_apart < free_apart
    assert f'ControlNet 0: "Module: canny, Model: {model[:-1]}' in made.info["infotexts"][0]


def test_backgrounds_are_removed_and_sizes_changed(api: Any, square: Image.Image) -> None:
    cut = webuiapi.RemBGInterface(api).rembg(square, model="remover").image
    assert (cut.mode, cut.size) == ("RGBA", square.size)
    alpha = np.asarray(cut)[:, :, 3]
    assert alpha[SIDE_PX // 2, SIDE_PX // 2] > 200 > 50 > alpha[2, 2]
    assert np.array_equal(np.asarray(cut)[:, :, :3], pixels(square))
    assert (
        api.extra_single_image(square, upscaler_1="Lanczos", upscaling_resize=2).image.size
        == (2 * SIDE_PX,) * 2
    )
    assert [one.size for one in api.extra_batch_images([square] * 2, upscaler_1="None").images] == [
        square.size
    ] * 2


def test_the_infotext_is_in_the_file_and_makes_the_image_again(api: Any, image_server: ImageServer) -> None:
    made = api.txt2img(
        prompt=f"{SQUARE} <lora:stripes-sd:0.5>, dusk-sd", negative_prompt="a star: small, blue", seed=SEED,
        sampler_name="Euler a", scheduler="SGM Uniform", cfg_scale=6.5, n_iter=2, **SIZE,
    )  # fmt: skip
    (first, second), texts = made.images, made.info["infotexts"]
    assert [image.info["parameters"] for image in (first, second)] == texts
    assert "Sampler: Euler a, Schedule type: SGM Uniform, CFG scale: 6.5, Seed: 4, " in texts[1]
    assert api.png_info(second).info == texts[1]
    assert api.png_info(second).parameters["Negative prompt"] == "a star: small, blue"
    answer = image_server.http.post("/infotext", content=texts[1].encode()).json()
    assert answer["unmapped"] == []
    (again,) = image_server.drawn(submitted(image_server, answer["job"])).files
    assert np.array_equal(pixels(Image.open(BytesIO(again))), pixels(second))


def submitted(image_server: ImageServer, job: dict[str, Any]) -> str:
    answer = image_server.http.post("/jobs", json=job)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["job_id"])


@pytest.mark.parametrize(("word", "kind"), [("jpg", "JPEG"), ("webp", "WEBP")])
def test_other_file_types_have_the_infotext_too(api: Any, word: str, kind: str) -> None:
    made = api.txt2img(prompt=SQUARE, seed=SEED, override_settings={"samples_format": word}, **SIZE)
    assert made.image.format == kind
    assert made.info["infotexts"][0].startswith(f"{SQUARE}\nSteps: 12")
