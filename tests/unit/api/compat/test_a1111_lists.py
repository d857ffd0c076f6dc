"""What A1111's clients list and look at has the shapes that they read."""

from base64 import b64decode, b64encode
from io import BytesIO
from typing import Any

import pytest
from PIL import Image

from kernel.protocol.client import Done, EngineAccepted, ScanModels, StopEngine, SubmitJob
from kernel.protocol.enums import ControlType, EngineState, InputKind
from kernel.protocol.errors import NoModelFolders
from kernel.protocol.ids import EngineId
from tests.unit.api.compat.a1111_stage import (
    IMAGE,
    IMAGES,
    INFOTEXT,
    TEXTS,
    add_checkpoint,
    add_image,
    command_of,
    let_jobs_end,
    png,
    refusal_of,
    submitted,
    warnings_of,
)
from tests.unit.api.fake_bus import accepted
from tests.unit.api.sample_pictures import PNG_TEXT
from tests.unit.api.stage import Stage

API = "/sdapi/v1/"
TEXT = b64encode(IMAGE).decode()
CANNY = "canny-net [12345678]"


@pytest.fixture(autouse=True)
def models(stage: Stage) -> None:
    add_checkpoint(stage)
    nets: dict[str, Any] = {"model_type": "controlnet", "model_base": "sd"}
    add_checkpoint(stage, "c1", "canny-net", control_type="canny", sha256="12345678" * 8, **nets)
    add_checkpoint(stage, "c2", "depth-net", control_type="depth", sha256="87654321" * 8, **nets)


def get(stage: Stage, path: str) -> Any:
    result = stage.get(path)
    assert (result.status_code, warnings_of(result)) == (200, "")
    return result.json


def test_checkpoints_come_by_title_and_engines_after_them(stage: Stage) -> None:
    stage.database.add_engine("e7", "portraits")
    stage.database.add_engine("e8")
    add_checkpoint(stage, "m2", "a folder", uri="file:///models/folder", sha256=None)
    add_checkpoint(stage, "m3", "loading", status="downloading")
    found = get(stage, API + "sd-models")
    assert [one["title"] for one in found] == ["a folder", "dreams.safetensors [abcdef0123]", "portraits"]
    assert found[1] == {
        "title": "dreams.safetensors [abcdef0123]", "model_name": "dreams", "hash": "abcdef0123",
        "sha256": "abcdef0123" + "0" * 54, "filename": "file:///models/dreams.safetensors", "config": None,
    }  # fmt: skip


def test_samplers_and_schedule_types_are_a1111s(stage: Stage) -> None:
    samplers = {one["name"]: one for one in get(stage, API + "samplers")}
    assert {"Euler a", "DPM++ 2M", "DDIM", "UniPC", "LCM"} <= set(samplers)
    assert samplers["DPM++ 2M"]["options"] == {"scheduler": "karras"}
    assert "k_euler_a" in samplers["Euler a"]["aliases"]
    kinds = {one["name"]: one for one in get(stage, API + "schedulers")}
    assert set(next(iter(kinds.values()))) == {"name", "label", "aliases", "default_rho", "need_inner_model"}
    assert kinds["sgm_uniform"]["label"] == "SGM Uniform"
    assert kinds["karras"]["default_rho"] == 7.0


def test_what_there_is_none_of_is_an_empty_list(stage: Stage) -> None:
    for name in (
        "hypernetworks", "face-restorers", "realesrgan-models", "prompt-styles", "latent-upscale-modes",
        "extensions",
    ):  # fmt: skip
        assert get(stage, API + name) == []
    assert get(stage, API + "upscalers")[0]["name"] == "None"


def test_models_of_other_types_have_lists_of_their_own(stage: Stage) -> None:
    add_checkpoint(stage, "v1", "bright", model_type="vae")
    add_checkpoint(stage, "l1", "detail", model_type="lora", trigger_words='["fine"]')
    add_checkpoint(stage, "t1", "dusk", model_type="embedding", parameters=2 * 768)
    add_checkpoint(stage, "t2", "dawn", model_type="embedding", model_base="sdxl", parameters=2048)
    assert [one["model_name"] for one in get(stage, API + "sd-vae")] == ["bright.safetensors"]
    assert get(stage, API + "sd-modules") == get(stage, API + "sd-vae")
    (lora,) = get(stage, API + "loras")
    assert (lora["name"], lora["alias"], lora["metadata"]["trigger_words"]) == ("detail", "detail", ["fine"])
    found = get(stage, API + "embeddings")
    assert found["loaded"]["dusk"] == {
        "step": None, "sd_checkpoint": None, "sd_checkpoint_name": None, "shape": 768, "vectors": 2,
    }  # fmt: skip
    assert list(found["skipped"]) == ["dawn"]


def test_clients_see_that_there_is_controlnet(stage: Stage) -> None:
    scripts = get(stage, API + "scripts")
    assert "controlnet m2m" in scripts["txt2img"]
    assert all(name == name.lower() for name in scripts["img2img"])
    assert {one["name"] for one in get(stage, API + "script-info")} == {"adetailer", "controlnet"}
    assert get(stage, "/controlnet/version") == {"version": 2}
    assert get(stage, "/controlnet/model_list")["model_list"] == [CANNY, "depth-net [87654321]"]
    assert stage.get("/controlnet/model_list", params={"update": "true"}).status_code == 200
    assert {"none", "canny", "openpose"} <= set(get(stage, "/controlnet/module_list")["module_list"])
    kinds = get(stage, "/controlnet/control_types")["control_types"]
    assert kinds["Canny"]["model_list"] == ["None", CANNY]
    assert kinds["All"]["default_model"] == "depth-net [87654321]"
    assert get(stage, "/controlnet/settings") == {"control_net_unit_count": 3}


def test_memory_and_flags(stage: Stage) -> None:
    assert get(stage, API + "memory") == {
        "ram": {"free": 4, "used": 4, "total": 8}, "cuda": {"error": "unavailable"},
    }  # fmt: skip
    flags = get(stage, API + "cmd-flags")
    assert (flags["api"], flags["listen"]) == (True, False)


def test_refreshing_looks_into_the_folders_if_there_are_some(stage: Stage) -> None:
    for reaction in (Done(), NoModelFolders()):
        stage.bus.reactions[ScanModels] = reaction
        for name in ("checkpoints", "vae", "loras", "embeddings"):
            assert stage.post(f"{API}refresh-{name}").text == "null"
    assert len(stage.bus.asked) == 8


def test_only_an_idle_engine_is_unloaded(stage: Stage) -> None:
    stage.bus.reactions[StopEngine] = EngineAccepted(engine_id=EngineId("e1"), status=EngineState.STOPPING)
    stage.database.add_engine("e1", "busy", status="ready")
    stage.database.add_engine("e2", "idle", status="ready")
    stage.database.add_engine("e3", "closed")
    stage.database.add_job(1, "j1", engine_id="e1")
    result = stage.post(API + "unload-checkpoint")
    assert result.json == {}
    assert [one.engine_id for one in stage.bus.asked if isinstance(one, StopEngine)] == ["e2"]
    assert "engine busy has jobs" in warnings_of(result)
    assert stage.post(API + "reload-checkpoint").json == {}


@pytest.mark.parametrize("path", ["interrogate", "create/embedding", "train/hypernetwork"])
def test_what_this_server_does_not_do_is_refused(stage: Stage, path: str) -> None:
    status, said = refusal_of(stage, API + path, {"image": PNG_TEXT})
    assert (status, said["error"]) == (422, "not_supported")


def test_nobody_stops_the_server_by_a_route(stage: Stage) -> None:
    for name in ("server-kill", "server-stop", "server-restart"):
        assert stage.post(API + name).status_code == 404


# Images.


def test_png_info_tells_the_infotext_and_its_fields(stage: Stage) -> None:
    text = 'a cat\nNegative prompt: dog\nSteps: 20, Size: 512x768, Lora hashes: "a: 12, b: 34"'
    found = stage.post(API + "png-info", {"image": b64encode(png(text=text)).decode()}).json
    assert (found["info"], found["items"]) == (text, {"parameters": text})
    assert found["parameters"] == {
        "Prompt": "a cat", "Negative prompt": "dog", "Steps": "20", "Size-1": "512", "Size-2": "768",
        "Lora hashes": "a: 12, b: 34",
    }  # fmt: skip
    assert stage.post(API + "png-info", {"image": PNG_TEXT}).json == {
        "info": "",
        "items": {},
        "parameters": {},
    }


@pytest.mark.parametrize(
    ("said", "size"),
    [
        ({}, (16, 16)),
        ({"upscaler_1": "Lanczos"}, (32, 32)),
        ({"upscaler_1": "Nearest", "upscaling_resize": 1.5}, (24, 24)),
        (
            {"upscaler_1": "Lanczos", "resize_mode": 1, "upscaling_resize_w": 64, "upscaling_resize_h": 32},
            (64, 32),
        ),
        (
            {
                "upscaler_1": "Lanczos", "resize_mode": 1, "upscaling_resize_w": 64, "upscaling_resize_h": 32,
                "upscaling_crop": False,
            },
            (32, 32),
        ),
    ],
)  # fmt: skip
def test_an_image_gets_another_size(stage: Stage, said: dict[str, Any], size: tuple[int, int]) -> None:
    one = stage.post(API + "extra-single-image", {"image": TEXT, **said}).json
    assert Image.open(BytesIO(b64decode(one["image"]))).size == size
    several = stage.post(
        API + "extra-batch-images", {"imageList": [{"data": TEXT, "name": "a"}] * 2, **said}
    ).json
    assert several["images"] == [one["image"]] * 2


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ({"upscaler_1": "R-ESRGAN 4x+"}, "upscaler_1"),
        ({"upscaler_1": "Lanczos", "upscaling_resize": 100}, None),
        ({"upscaler_1": "Lanczos", "upscaling_resize": 1e9}, "upscaling_resize"),
        ({"upscaler_1": "Lanczos", "upscaling_resize": -1}, "upscaling_resize"),
        ({"upscaler_1": "Lanczos", "resize_mode": 1, "upscaling_resize_w": 100_000}, "upscaling_resize"),
        ({"image": "x"}, "image"),
        ({"image": ""}, "image"),
    ],
)
def test_an_image_too_large_or_an_upscaler_that_there_is_not_is_refused(
    stage: Stage, said: dict[str, Any], name: str | None
) -> None:
    result = stage.post(API + "extra-single-image", {"image": TEXT, **said})
    if name is None:
        assert result.status_code == 200
    else:
        assert result.status_code == 422
        assert result.json["errors"].startswith(name)


# ControlNet and backgrounds.

UNIT: dict[str, Any] = {
    "image": PNG_TEXT, "mask": None, "module": "canny", "model": CANNY, "weight": 0.5,
    "resize_mode": "Resize and Fill", "low_vram": False, "processor_res": 512, "threshold_a": 64,
    "threshold_b": 64, "guidance_start": 0.1, "guidance_end": 0.9, "control_mode": "Balanced",
    "pixel_perfect": False, "hr_option": "Both", "enabled": True,
}  # fmt: skip


def with_units(*units: dict[str, Any], name: str = "ControlNet") -> dict[str, Any]:
    return {"alwayson_scripts": {name: {"args": list(units)}}}


@pytest.mark.parametrize("name", ["ControlNet", "controlnet"])
def test_a_unit_becomes_a_control_of_the_job(stage: Stage, name: str) -> None:
    let_jobs_end(stage)
    result = stage.post(TEXTS, with_units(UNIT, {**UNIT, "enabled": False}, name=name))
    assert (result.status_code, warnings_of(result)) == (200, ""), result.text
    asked = command_of(stage).request
    (use,) = asked.controls
    assert (use.control_type, use.scale, use.start, use.end) == (ControlType.CANNY, 0.5, 0.1, 0.9)
    assert (asked.control_models, asked.inputs, use.is_preprocessed) == (("c1",), (InputKind.POSE,), False)
    assert asked.image_fit == "pad"


def test_a_unit_without_a_module_has_the_map_itself(stage: Stage) -> None:
    let_jobs_end(stage)
    unit = {**UNIT, "module": "none", "model": "canny-net", "image": None, "input_image": PNG_TEXT}
    (use,) = submitted(stage, TEXTS, with_units(unit)).controls
    assert (use.control_type, use.is_preprocessed) == (ControlType.CANNY, True)


def test_units_of_one_image_are_controls_of_one_job_and_a_map_of_depth_is_as_good_as_another(
    stage: Stage,
) -> None:
    let_jobs_end(stage)
    depth = {**UNIT, "module": "depth_midas", "model": "depth-net [87654321]", "weight": 1}
    result = stage.post(TEXTS, with_units(UNIT, depth))
    assert result.status_code == 200, result.text
    assert [use.control_type for use in command_of(stage).request.controls] == ["canny", "depth"]
    assert "drawn by the detector depth" in warnings_of(result)


def test_a_unit_of_image_to_image_takes_its_image(stage: Stage) -> None:
    let_jobs_end(stage)
    sent = {"init_images": [PNG_TEXT], "resize_mode": 2, **with_units({**UNIT, "image": ""})}
    asked = submitted(stage, IMAGES, sent)
    assert asked.inputs == (InputKind.REFERENCE, InputKind.POSE)


def test_the_map_of_a_unit_comes_after_the_images(stage: Stage) -> None:
    let_jobs_end(stage)
    stage.database.add_blob("j1", "map_canny", file_name="map.png")
    stage.settings.blobs.folder.mkdir()
    (stage.settings.blobs.folder / "map.png").write_bytes(b"map")
    assert [b64decode(one) for one in stage.post(TEXTS, with_units(UNIT)).json["images"]] == [IMAGE, b"map"]
    hidden = with_units({**UNIT, "save_detected_map": False})
    assert len(stage.post(TEXTS, hidden).json["images"]) == 1


@pytest.mark.parametrize(
    ("unit", "status", "problem"),
    [
        ({"module": "reference_only"}, 422, "there is no module 'reference_only'"),
        ({"model": "gone [00000000]"}, 409, "no controlnet is called"),
        ({"model": "None"}, 422, "is required"),
        ({"image": ""}, 422, "is required"),
        ({"image": "no base64!"}, 422, "base64"),
        ({"weight": 99}, 422, "weight"),
        ({"guidance_start": 0.9, "guidance_end": 0.1}, 422, "guidance_start"),
        ({"resize_mode": "Twist"}, 422, "must be Just Resize"),
        ({"weight": "heavy"}, 422, "weight"),
    ],
)
def test_a_unit_that_cannot_be_is_refused(
    stage: Stage, unit: dict[str, Any], status: int, problem: str
) -> None:
    found, said = refusal_of(stage, TEXTS, with_units({**UNIT, **unit}))
    assert (found, problem in said["detail"]) == (status, True), said
    assert stage.bus.asked == []


def test_units_of_different_images_are_refused(stage: Stage) -> None:
    status, said = refusal_of(stage, TEXTS, with_units(UNIT, {**UNIT, "image": TEXT}))
    assert (status, said["error"]) == (422, "not_supported")


def test_what_a_unit_says_in_vain_is_told(stage: Stage) -> None:
    let_jobs_end(stage)
    said = {"control_mode": "My prompt is more important", "threshold_a": 17, "odd": 1}
    told = warnings_of(stage.post(TEXTS, with_units({**UNIT, **said})))
    for name in ("control_mode has no effect", "threshold_a has no effect", "odd is unknown"):
        assert name in told


@pytest.mark.parametrize("field", ["controlnet_images", "controlnet_input_images"])
def test_a_map_is_drawn_in_the_shortest_job(stage: Stage, field: str) -> None:
    let_jobs_end(stage)
    stage.database.add_blob("j1", "map_canny", file_name="map.png")
    stage.settings.blobs.folder.mkdir()
    (stage.settings.blobs.folder / "map.png").write_bytes(b"map")
    sent = {field: [PNG_TEXT], "controlnet_module": "canny", "controlnet_processor_res": 128}
    result = stage.post("/controlnet/detect", sent)
    assert (result.status_code, result.json["info"]) == (200, "Success"), result.text
    assert [b64decode(one) for one in result.json["images"]] == [b"map"]
    asked = command_of(stage).request
    assert (asked.steps, asked.width_px, asked.height_px, asked.expire_after_s) == (1, 128, 128, 60.0)
    assert asked.control_models == ("c1",)


def test_without_a_module_images_come_back(stage: Stage) -> None:
    result = stage.post("/controlnet/detect", {"controlnet_images": [PNG_TEXT, TEXT]})
    assert result.json["images"] == [PNG_TEXT, TEXT]
    assert stage.bus.asked == []


def test_a_map_needs_a_controlnet_for_it(stage: Stage) -> None:
    sent = {"controlnet_images": [PNG_TEXT], "controlnet_module": "openpose"}
    status, said = refusal_of(stage, "/controlnet/detect", sent)
    assert (status, said["error"]) == (409, "model_missing")
    for wrong in (
        {"controlnet_images": []},
        {"controlnet_images": [PNG_TEXT] * 2},
        {"controlnet_module": "x"},
    ):
        assert refusal_of(stage, "/controlnet/detect", {**sent, **wrong})[0] == 422


@pytest.mark.parametrize("path", ["/rembg", "/sdapi/v1/rembg"])
def test_the_background_of_the_very_image_is_removed(stage: Stage, path: str) -> None:
    """The job makes the transparency; the pixels are those that were sent."""
    add_checkpoint(stage, "b1", "u2net", model_type="background", uri="file:///models/u2net.onnx")
    stage.database.add_job(1, "j1", status="finished", image_ids='["i0"]')
    add_image(stage, "i0")
    made = Image.new("RGBA", (64, 64), (0, 0, 0, 0))
    made.paste((9, 9, 9, 255), (0, 0, 32, 64))
    made.save(stage.settings.images.folder / "i0.png")
    stage.bus.reactions[SubmitJob] = accepted("j1", "i0")
    sent = {"input_image": b64encode(png(color="red")).decode()}
    found = Image.open(BytesIO(b64decode(stage.post(path, sent).json["image"])))
    assert (found.size, found.getpixel((2, 2)), found.getpixel((13, 2))) == (
        (16, 16), (255, 0, 0, 255), (255, 0, 0, 0),
    )  # fmt: skip
    asked = command_of(stage).request
    assert (asked.remove_background, asked.strength, asked.steps) == (("b1",), 0.0, 1)
    mask = stage.post(path, {**sent, "return_mask": True}).json["image"]
    assert Image.open(BytesIO(b64decode(mask))).mode == "L"
    assert refusal_of(stage, path, {**sent, "model": "silueta"})[1]["error"] == "model_missing"


def test_the_infotext_of_an_answer_is_that_of_the_file(stage: Stage) -> None:
    let_jobs_end(stage)
    image = stage.post(TEXTS, {}).json["images"][0]
    assert stage.post(API + "png-info", {"image": image}).json["info"] == INFOTEXT
