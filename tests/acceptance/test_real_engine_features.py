"""Everything that a job can ask for, from HTTP through the processes to a real engine and back."""

import json
from collections.abc import Iterator
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from shutil import copytree
from typing import Any

import httpx
import numpy as np
import pytest
import skimage.data
from PIL import Image, ImageFilter

from bench.pictures import half_mask, photograph, png
from tests.acceptance.image_server import (
    SIDE_PX,
    Drawn,
    ImageServer,
    Pixels,
    opened_image_server,
    pixels_of,
    recipe_in,
)
from tests.acceptance.patience import wait_for
from tests.acceptance.slow_site import slow_site
from tests.acceptance.weights import write_weights

pytestmark = [pytest.mark.torch, pytest.mark.slow, pytest.mark.timeout(300)]

LOCAL = (
    ("checkpoint", "sd", "sd.safetensors"),
    ("checkpoint", "sdxl", "sdxl.safetensors"),
    ("lora", "peft", "peft.safetensors"),
    ("lora", "xl", "xl.safetensors"),
    ("vae", "negative", "negative.safetensors"),
    ("controlnet", "canny", "canny"),
    ("controlnet", "depth", "depth.safetensors"),
    ("background", "blues", "blues.onnx"),
)
"""What is used where it lies; the LoRA `kohya` is uploaded, the embedding `dusk` downloaded."""
LONG_PROMPT = "a (red:1.4) ball on a [blue] table, " * 12
ASTRONAUT = png(Image.fromarray(skimage.data.astronaut()))


@pytest.fixture(scope="module")
def image_server() -> Iterator[ImageServer]:
    """A server with models from everywhere and three engines: `plain`, `dressed` (with defaults) and `xl`."""
    with opened_image_server(models='allow_hosts = ["127.0.0.1"]') as image_server:
        write_weights(image_server.folder)
        register_models(image_server, image_server.folder)
        create_engines(image_server)
        yield image_server


def register_models(image_server: ImageServer, folder: Path) -> None:
    for model_type, name, file in LOCAL:
        image_server.register(model_type, name, (folder / file).as_uri())
    image_server.upload("lora", "sd", folder / "kohya.safetensors")
    with slow_site((folder / "dusk.safetensors").read_bytes(), pause_at=100) as site:
        site.may_go_on.set()
        image_server.register("embedding", "dusk", site.url)
    faces = copytree(folder / "canny", folder / "faces")
    image_server.register("controlnet", "faces", faces.as_uri(), control_type="mediapipe")


def create_engines(image_server: ImageServer) -> None:
    image_server.create_engine("plain", "sd", control_models=["canny", "depth", "faces"], control_net="canny")
    image_server.create_engine(
        "dressed",
        "sd",
        vae="negative",
        loras=[{"model_id": "peft", "weight": 0.5}],
        embeddings=["dusk"],
        long_prompt_technique="sd_embed",
        clip_skip=2,
    )
    image_server.create_engine("xl", "sdxl", steps=2)


@pytest.fixture(scope="module")
def plain(image_server: ImageServer) -> Pixels:
    """What the job without any extras looks like."""
    return image_server.draw().pixels


def distance(one: Pixels, other: Pixels) -> float:
    """How far two pictures are apart, in levels of 255 on average."""
    return float(np.abs(one - other).mean())


def is_same(one: Pixels, other: Pixels) -> bool:
    """Equal but for the last digit of a rounding."""
    return bool(np.abs(one - other).max() <= 1)


def test_what_the_server_found_out_about_the_models(image_server: ImageServer) -> None:
    models = {model["name"]: model for model in image_server.http.get("/models").json()["items"]}
    models.pop("fragile", None)  # of another test, which may have come before
    assert {name: (model["model_type"], model["model_base"]) for name, model in models.items()} == {
        "sd": ("checkpoint", "sd"),
        "sdxl": ("checkpoint", "sdxl"),
        "kohya": ("lora", "sd"),
        "peft": ("lora", None),
        "xl": ("lora", "sdxl"),
        "dusk": ("embedding", None),
        "negative": ("vae", None),
        "canny": ("controlnet", None),
        "depth": ("controlnet", None),
        "faces": ("controlnet", None),
        "blues": ("background", None),
    }, "narrow relatives of SD and SDXL do not always tell their family"
    assert (models["canny"]["control_type"], models["depth"]["control_type"]) == ("canny", "depth")


@pytest.mark.parametrize("engine", ["plain", "xl"])
def test_a_prompt_without_syntax_makes_the_same_picture_with_every_technique(
    image_server: ImageServer, engine: str
) -> None:
    techniques = ("none", "sd_embed", "compel")
    drawn = [
        image_server.draw(engine=engine, prompt="a red ball on a table", long_prompt_technique=technique)
        for technique in techniques
    ]
    assert [one.job["long_prompt_technique"] for one in drawn] == list(techniques)
    assert len({sha256(one.pixels.tobytes()).hexdigest() for one in drawn}) == 1
    weighted = image_server.draw(engine=engine, prompt="a (red:1.4) ball on a table")
    assert weighted.job["long_prompt_technique"] == "sd_embed"
    assert distance(weighted.pixels, drawn[0].pixels) > 1


@pytest.mark.parametrize("lora", ["kohya", "peft"])
def test_a_lora_works_by_its_weight_and_leaves_nothing_behind(
    image_server: ImageServer, plain: Pixels, lora: str
) -> None:
    none, half, full = (
        image_server.draw(loras=[{"model_id": lora, "weight": weight}]) for weight in (0, 0.5, 1)
    )
    assert np.array_equal(none.pixels, plain)
    assert distance(half.pixels, plain) > 1
    assert distance(full.pixels, half.pixels) > 1
    assert np.array_equal(image_server.draw().pixels, plain)
    assert f"<lora:{lora}:0.5>" in recipe_in(half.files[0])
    tagged = image_server.draw(prompt=f"a red <lora:{lora}:0.5>ball")
    assert (tagged.job["prompt"], tagged.job["loras"]) == (f"a red <lora:{lora}:0.5>ball", half.job["loras"])
    assert np.array_equal(tagged.pixels, half.pixels)
    assert recipe_in(tagged.files[0]).startswith(f"a red <lora:{lora}:0.5>ball\n")


def test_several_loras_work_together(image_server: ImageServer) -> None:
    both = image_server.draw(loras=["kohya", {"model_id": "peft", "weight": -0.5}])
    assert distance(both.pixels, image_server.draw(loras=["kohya"]).pixels) > 1
    assert [lora["weight"] for lora in both.job["loras"]] == [1.0, -0.5]


def test_the_word_of_an_embedding_means_something_where_the_job_has_it(image_server: ImageServer) -> None:
    with_it = image_server.draw(prompt="a dusk ball", embeddings=["dusk"])
    assert distance(with_it.pixels, image_server.draw(prompt="a dusk ball").pixels) > 1


def test_another_vae_decodes_the_same_picture(image_server: ImageServer, plain: Pixels) -> None:
    assert is_same(image_server.draw(vae="negative").pixels, 255 - plain)


def test_the_defaults_of_an_engine_are_what_its_jobs_get_that_say_nothing(image_server: ImageServer) -> None:
    by_default = image_server.draw(engine="dressed")
    said = image_server.draw(vae="negative", loras=[{"model_id": "peft", "weight": 0.5}], clip_skip=2)
    assert is_same(by_default.pixels, said.pixels)
    bare = image_server.draw(engine="dressed", loras=[], embeddings=[], clip_skip=1)
    assert is_same(bare.pixels, image_server.draw(vae="negative").pixels)
    recipe = recipe_in(by_default.files[0])
    assert all(words in recipe for words in ("<lora:peft:0.5>", "VAE: negative", "Clip skip: 2"))


def test_a_long_prompt_with_weights_is_read_to_its_end(image_server: ImageServer) -> None:
    whole = image_server.draw(engine="dressed", prompt=LONG_PROMPT + "dusk")
    assert whole.job["warnings"] == []
    without_the_last = image_server.draw(engine="dressed", prompt=LONG_PROMPT + "dawn")
    assert distance(whole.pixels, without_the_last.pixels) > 0
    cut = image_server.draw(engine="plain", prompt=LONG_PROMPT, long_prompt_technique="none")
    assert any("75" in warning for warning in cut.job["warnings"]), cut.job["warnings"]


def test_the_layer_of_the_text_encoder_can_be_chosen(image_server: ImageServer, plain: Pixels) -> None:
    assert distance(image_server.draw(clip_skip=2).pixels, plain) > 1
    assert np.array_equal(image_server.draw(clip_skip=1).pixels, plain)


def test_a_negative_prompt_counts(image_server: ImageServer, plain: Pixels) -> None:
    assert distance(image_server.draw(negative_prompt="green").pixels, plain) > 1


def test_a_reference_image_is_left_the_further_the_greater_the_strength(image_server: ImageServer) -> None:
    files = {"reference_image_blob": png(photograph(100, 80))}
    begun = [
        image_server.draw(files, strength=strength, steps=8, scheduler="euler") for strength in (0, 0.25, 1)
    ]
    near, far = (distance(one.pixels, begun[0].pixels) for one in begun[1:])
    assert 0 < near < far
    assert image_server.download(begun[1].images[0]["reference_image_path"]) == files["reference_image_blob"]
    recipe = recipe_in(begun[1].files[0])
    assert "Resize mode: Crop and Resize" in recipe
    assert (
        f"Denoising strength: 0.25, Init image hash: {sha256(files['reference_image_blob']).hexdigest()[:10]}"
        in recipe
    )


def test_a_mask_says_what_of_the_reference_stays(image_server: ImageServer) -> None:
    reference, half = {"reference_image_blob": png(photograph())}, png(half_mask())
    whole = image_server.draw(reference, strength=0)
    painted = image_server.draw({**reference, "mask_image_blob": half}, strength=0.9, mask_blur=2)
    beyond = np.asarray(half_mask().filter(ImageFilter.MaxFilter(13))) == 0
    unlike = np.abs(painted.pixels - np.asarray(photograph()))
    assert unlike[beyond].max() == 0
    assert unlike[np.asarray(half_mask()) > 0].mean() > 1
    assert image_server.download(painted.images[0]["mask_image_path"]) == half
    assert "RNG: CPU, Mask blur: 2, Resize mode" in recipe_in(painted.files[0])
    (warning,) = whole.job["warnings"]
    assert "leaves none of the 3 steps" in warning


def test_only_the_masked_area_is_drawn_and_all_else_stays(image_server: ImageServer) -> None:
    """Of a photograph of another size than the job's, which the picture keeps."""
    photo, mask = photograph(200, 120), Image.new("L", (100, 60))
    mask.paste(255, (60, 20, 75, 35))
    files = {"reference_image_blob": png(photo), "mask_image_blob": png(mask)}
    drawn = image_server.draw(
        files, strength=1, mask_blur=0, inpaint_area="masked", inpaint_padding=4, inpaint_fill="fill"
    )
    marked = np.asarray(mask.resize((200, 120), Image.Resampling.LANCZOS)) >= 128
    unlike = np.abs(drawn.pixels - np.asarray(photo))
    assert unlike[~marked].max() == 0
    assert unlike[marked].mean() > 1
    (image,) = drawn.images
    assert (image["width"], image["height"], image["inpaint_area"]) == (200, 120, "masked")
    assert (drawn.job["width"], drawn.job["height"], drawn.job["image_fit"]) == (SIDE_PX, SIDE_PX, None)
    assert "Inpaint area: Only masked, Masked area padding: 4" in recipe_in(drawn.files[0])


def test_the_edges_of_a_photograph_lead_and_can_be_had(image_server: ImageServer, plain: Pixels) -> None:
    led = image_server.draw({"pose_image_blob": ASTRONAUT})
    assert distance(led.pixels, plain) > 1
    image = led.images[0]
    (control,) = image["controls"]
    assert (control["type_pose"], image["type_pose"]) == ("canny", ["canny"])
    map_file = image_server.download(image["poses"]["canny_path"])
    assert image_server.download(f"/v1/images/{image['image_id']}/pose_map") == map_file
    edges = pixels_of(map_file)
    assert edges.shape[:2] == (SIDE_PX, SIDE_PX)
    assert set(np.unique(edges)) == {0, 255}
    again = image_server.draw({"pose_image_blob": map_file}, preprocessed=True)
    assert np.array_equal(again.pixels, led.pixels), "the map that was drawn is the map that was used"
    assert image_server.download(again.images[0]["poses"]["canny_path"]) == map_file
    depth = image_server.draw({"pose_image_blob": map_file}, preprocessed=True, type_pose="depth")
    assert np.array_equal(depth.pixels, led.pixels), "the same ControlNet, as a folder and as a file"
    weaker = image_server.draw({"pose_image_blob": map_file}, preprocessed=True, control_scale=0)
    assert np.array_equal(weaker.pixels, plain)


def test_two_control_nets_work_at_once_each_with_its_strength_and_its_part_of_the_steps(
    image_server: ImageServer,
) -> None:
    pytest.importorskip("mediapipe", reason="the extra faces is not here")

    def led(*types: str, **fields: object) -> Drawn:
        return image_server.draw({"pose_image_blob": ASTRONAUT}, type_pose=types, steps=4, **fields)

    edges, faces = led("canny"), led("mediapipe")
    weightless = led("canny", "mediapipe", control_scale=[1, 0])
    # No step of four lies within the second one's part.
    idle = led("canny", "mediapipe", control_start=[0, 0.8], control_end=[1, 0.9])
    assert is_same(weightless.pixels, edges.pixels)
    assert is_same(idle.pixels, edges.pixels)
    both = led("canny", "mediapipe", control_scale=[0.5, 1], control_start=[0, 0.5])
    assert distance(both.pixels, edges.pixels) > 1
    assert distance(both.pixels, faces.pixels) > 1
    assert both.images[0]["type_pose"] == ["canny", "mediapipe"]
    assert both.images[0]["poses"].keys() >= {"canny_path", "mediapipe_path"}
    assert "Module: mediapipe, Model: faces" in recipe_in(both.files[0])


def test_a_pose_image_that_shows_nothing_fails_the_job_with_the_reason(image_server: ImageServer) -> None:
    blank = png(Image.new("RGB", (SIDE_PX, SIDE_PX), "grey"))
    job = image_server.ended(image_server.submit({"pose_image_blob": blank}))
    assert job["status"] == "failed"
    assert "canny detector found nothing in the pose image" in job["error"]["detail"]


def test_a_background_is_transparent_or_of_the_colour_asked_for(
    image_server: ImageServer, plain: Pixels
) -> None:
    cut = image_server.draw(remove_background_models=["blues"])
    alpha = cut.pixels[:, :, 3]
    assert 0 < (alpha == 255).sum() < alpha.size
    assert np.array_equal(cut.pixels[alpha == 255][:, :3], plain[alpha == 255])
    flat = image_server.draw(
        remove_background_models=["blues"],
        background_color="#00ff00",
        image_file_type="jpeg",
        quality=100,
    )
    is_there, colours = alpha[:, :, None] == 255, cut.pixels[:, :, :3]
    on_green, on_white = (np.where(is_there, colours, one) for one in ((0, 255, 0), (255, 255, 255)))
    assert distance(flat.pixels, on_green) < distance(flat.pixels, on_white)
    assert "Background removed: blues" in recipe_in(flat.files[0])


def test_previews_come_before_the_picture(image_server: ImageServer) -> None:
    job_id = image_server.submit(steps=20, previews=True)
    previews, states = [], []
    with image_server.http.stream("GET", f"/jobs/{job_id}/events") as stream:
        for event, data in events(stream):
            if event == "preview":
                previews.append(data)
            elif event == "state":
                states.append(data["status"])
    assert states[-1] == "finished"
    assert previews
    assert all(one["data_url"].startswith("data:image/jpeg;base64,") for one in previews)


def events(stream: httpx.Response) -> Iterator[tuple[str, dict[str, Any]]]:
    event = ""
    for line in stream.iter_lines():
        name, _, value = line.partition(": ")
        if name == "event":
            event = value
        elif name == "data":
            yield event, json.loads(value)


COMPANY: tuple[dict[str, Any], ...] = (
    {"seed": 1, "steps": 25},
    {"seed": 2, "steps": 12, "scheduler": "dpmpp_2m_karras", "cfg": 1},
    {"seed": 3, "steps": 6, "scheduler": "heun", "loras": ["kohya"]},
    {"seed": 4, "steps": 10, "scheduler": "ddim", "prompt": "a blue box", "vae": "negative"},
    {"seed": 5, "steps": 8, "width": 96, "clip_skip": 2},
)


def test_jobs_in_company_make_the_pictures_that_they_make_alone(image_server: ImageServer) -> None:
    job_ids = [image_server.submit(**fields) for fields in COMPANY]
    together = [image_server.drawn(job_id) for job_id in job_ids]
    ends, starts = ([one.job[name] for one in together] for name in ("finished_at", "started_at"))
    assert sorted(starts)[1] < sorted(ends)[0], "two of them at least were under way at once"
    for fields, drawn in zip(COMPANY, together, strict=True):
        assert is_same(drawn.pixels, image_server.draw(**fields).pixels), fields


def test_each_of_several_pictures_can_be_made_again_alone(image_server: ImageServer) -> None:
    three = image_server.draw(count=3, steps=4)
    seeds = [image["seed"] for image in three.images]
    assert (seeds, len(set(three.job["image_ids"]))) == ([5, 6, 7], 3)
    alone = image_server.draw(seed=7, steps=4)
    assert is_same(alone.pixels, pixels_of(three.files[2]))
    assert "Seed: 7" in recipe_in(three.files[2])


@pytest.mark.parametrize("file_type", ["png", "jpeg", "webp"])
def test_every_file_carries_its_recipe(image_server: ImageServer, plain: Pixels, file_type: str) -> None:
    drawn = image_server.draw(image_file_type=file_type, quality=95)
    assert Image.open(BytesIO(drawn.files[0])).format == file_type.upper()
    assert distance(drawn.pixels, plain) < 20
    recipe = recipe_in(drawn.files[0])
    assert recipe.splitlines()[0] == "a red ball"
    assert (
        "Steps: 3, Sampler: Euler a, Schedule type: Automatic, CFG scale: 4, Seed: 5, Size: 64x64" in recipe
    )


def test_pictures_go_when_their_job_said(image_server: ImageServer) -> None:
    used_up = image_server.draw(delete_after_downloads=1)
    expired = image_server.draw(expire_after="1s")
    for drawn, reason in ((used_up, "used_up"), (expired, "expired")):
        path = f"/images/{drawn.images[0]['image_id']}"
        gone = wait_for("the image to go", lambda path=path: image_server.http.get(path).json()["gone"])
        assert gone["reason"] == reason
        assert image_server.http.get(f"{path}/download").status_code == 410


def test_sdxl_with_a_lora(image_server: ImageServer) -> None:
    bare, active, again = (image_server.draw(engine="xl", loras=loras) for loras in ([], ["xl"], []))
    assert distance(bare.pixels, active.pixels) > 1
    assert np.array_equal(bare.pixels, again.pixels)
    wrong = image_server.http.post("/jobs", json={"engine": "xl", "prompt": "a ball", "loras": ["kohya"]})
    assert (wrong.status_code, wrong.json()["code"]) == (409, "wrong_model_base")
    assert wrong.json()["fields"][0]["field"] == "loras[0]"


def test_jobs_wait_for_an_engine_whose_file_is_damaged_until_somebody_puts_it_right(
    image_server: ImageServer,
) -> None:
    file = image_server.folder / "fragile.safetensors"
    whole = (image_server.folder / "sd.safetensors").read_bytes()
    file.write_bytes(whole)
    image_server.register("checkpoint", "fragile", file.as_uri())
    image_server.create_engine("fragile", "fragile")
    file.write_bytes(b"\xff" * len(whole))
    job_id = image_server.submit(engine="fragile")

    def in_error() -> dict[str, Any] | None:
        (engine,) = image_server.http.get("/engines", params={"name": "fragile"}).json()["items"]
        return engine if engine["status"] == "error" else None

    engine = wait_for("the engine's error", in_error, 90.0)
    tries = workers_of(image_server)
    assert (engine["error"]["code"], engine["retry_at"]) == ("model_unreadable", None)
    late = image_server.http.post("/jobs", json={"engine": "fragile", "give_up_after": 0.5})
    assert (late.status_code, late.json()["waits_for"]) == (202, "repair")
    assert late.json()["error"] == engine["error"]
    failed = image_server.ended(late.json()["job_id"])
    assert (failed["status"], failed["error"]["code"]) == ("failed", "model_unreadable")
    job = image_server.http.get(f"/jobs/{job_id}").json()
    assert (job["status"], job["waits_for"], job["error"]) == ("waiting", "repair", engine["error"])
    assert workers_of(image_server) == tries, "nobody tries to load it again"

    file.write_bytes(whole)
    assert image_server.http.patch(f"/engines/{engine['engine_id']}/start").status_code == 202
    assert image_server.drawn(job_id).job["error"] is None
    image_server.http.patch(f"/engines/{engine['engine_id']}/stop", params={"now": True})


def workers_of(image_server: ImageServer) -> int:
    """How many workers have been started so far."""
    return len(list((image_server.folder / "database" / "logs").iterdir()))


def test_images_are_found_edited_and_deleted_by_what_they_are(image_server: ImageServer) -> None:
    http = image_server.http
    drawn = image_server.draw(prompt="an origami zebra", seed=77, count=2, engine="dressed")
    first, second = drawn.job["image_ids"]
    search = {
        "prompt": "Zebra origami",
        "checkpoint": "sd",
        "lora": "peft",
        "engine": "dressed",
        "created_after": "1h",
    }

    def found(path: str = "/images", **more: str | int) -> list[str]:
        items = http.get(path, params=search | more).json()["items"]
        return [one["image_id" if path == "/images" else "job_id"] for one in items]

    assert found() == [second, first]
    assert found(order="oldest", seed=drawn.images[1]["seed"]) == [second]
    assert found("/jobs", status="finished") == [drawn.job["job_id"]]
    assert found("/jobs", created_before="1h") == []

    said = {"tags": ["zoo"], "favorite": True, "note": "for the wall"}
    edited = http.patch(f"/images/{first}", json=said)
    assert edited.status_code == 200, edited.text
    assert {name: edited.json()[name] for name in said} == said
    assert found(tag="zoo", favorite="true") == [first]

    wish = search | {"favorite": False}
    counted = http.post("/images/prune", json=wish | {"dry_run": True}).json()
    deleted = http.post("/images/prune", json=wish).json()
    assert (counted["images"], deleted) == (1, counted | {"dry_run": False})
    assert http.get(f"/images/{second}/download").status_code == 410
    assert (found(gone="true"), found(gone="false")) == ([second], [first])
