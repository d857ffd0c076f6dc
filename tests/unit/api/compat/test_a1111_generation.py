"""Text and image to image for A1111's clients: each request becomes one job, answered in A1111's shape."""

import json
import pickle
from base64 import b64decode, b64encode
from inspect import isfunction
from io import BytesIO
from typing import Any

import pytest
from PIL import Image

from api.http.compat.a1111.generation_answers import Wanted
from api.http.contract.enum_choices import find_choice
from api.http.framework.deferral import RESUMED, Parked
from kernel.protocol.client import FinishDownload
from kernel.protocol.enums import (
    ImageFileType,
    ImageFit,
    InpaintArea,
    InpaintFill,
    InputKind,
    MaskMode,
    Scheduler,
)
from kernel.protocol.model_refs import OWN_VAE
from kernel.protocol.schedulers import SAMPLERS
from tests.unit.api.compat.a1111_stage import (
    IMAGE,
    IMAGES,
    INFOTEXT,
    TEXTS,
    add_checkpoint,
    begin,
    command_of,
    let_jobs_end,
    let_jobs_wait,
    png,
    refusal_of,
    submitted,
    warnings_of,
)
from tests.unit.api.sample_pictures import PNG_TEXT
from tests.unit.api.stage import Stage

WEBUIAPI: dict[str, Any] = {
    "enable_hr": False, "hr_scale": 2, "hr_upscaler": "Latent", "hr_second_pass_steps": 0, "hr_resize_x": 0,
    "hr_resize_y": 0, "hr_checkpoint_name": None, "hr_sampler_name": None, "hr_scheduler": None,
    "hr_prompt": "", "hr_negative_prompt": "", "denoising_strength": 0.7, "firstphase_width": 0,
    "firstphase_height": 0, "prompt": "a cat", "styles": [], "seed": -1, "subseed": -1,
    "subseed_strength": 0.0, "seed_resize_from_h": 0, "seed_resize_from_w": 0, "batch_size": 1, "n_iter": 1,
    "steps": 20, "cfg_scale": 7.0, "width": 512, "height": 512, "restore_faces": False, "tiling": False,
    "do_not_save_samples": False, "do_not_save_grid": False, "negative_prompt": "", "eta": 1.0,
    "s_churn": 0, "s_tmax": 0, "s_tmin": 0, "s_noise": 1, "override_settings": {},
    "override_settings_restore_afterwards": True, "sampler_name": "Euler a", "scheduler": "automatic",
    "sampler_index": "Euler a", "script_name": None, "script_args": [], "send_images": True,
    "save_images": False, "alwayson_scripts": {"ADetailer": {"args": [False]}, "ControlNet": {"args": []}},
}  # fmt: skip
SILLYTAVERN: dict[str, Any] = {
    "prompt": "a cat", "negative_prompt": "dog", "sampler_name": "DPM++ 2M", "scheduler": "Karras",
    "steps": 20, "cfg_scale": 7, "width": 512, "height": 768, "restore_faces": False, "enable_hr": False,
    "hr_upscaler": "Latent", "hr_scale": 1, "hr_additional_modules": [], "denoising_strength": 0.7,
    "hr_second_pass_steps": 0, "clip_skip": 2, "save_images": True, "send_images": True,
    "do_not_save_grid": False, "do_not_save_samples": False,
    "override_settings": {"CLIP_stop_at_last_layers": 2},
}  # fmt: skip
OPEN_WEBUI: dict[str, Any] = {
    "prompt": "a cat", "batch_size": 1, "width": 512, "height": 512, "steps": 30, "negative_prompt": "dog",
    "cfg_scale": 6.5, "sampler_name": "Euler a", "scheduler": "Normal",
}  # fmt: skip
SWARMUI: dict[str, Any] = {
    "prompt": "a cat", "negative_prompt": "", "seed": 5, "steps": 20, "width": 512, "height": 512,
    "cfg_scale": 7.0, "subseed": -1, "subseed_strength": 0, "sampler_name": "Euler", "override_settings": {},
}  # fmt: skip


@pytest.fixture(autouse=True)
def models(stage: Stage) -> None:
    add_checkpoint(stage)
    add_checkpoint(stage, "v1", "bright", model_type="vae", sha256="2" * 64)
    add_checkpoint(stage, "t1", "dusk", model_type="embedding", sha256="3" * 64)


@pytest.mark.parametrize(
    "sent", [WEBUIAPI, SILLYTAVERN, OPEN_WEBUI, SWARMUI], ids=["webuiapi", "tavern", "open", "swarm"]
)
def test_what_clients_send_is_one_ordinary_job_with_nothing_to_complain_of(stage: Stage, sent: Any) -> None:
    let_jobs_end(stage)
    result = stage.post(TEXTS, sent)
    assert (result.status_code, warnings_of(result)) == (200, "")
    asked = command_of(stage)
    assert (asked.checkpoint, asked.request.prompt, asked.request.steps) == ("m1", "a cat", sent["steps"])
    assert asked.request.seed == sent.get("seed", -1) or (
        asked.request.seed is None and sent.get("seed", -1) == -1
    )


def test_the_answer_has_the_files_the_request_and_a_text_of_json(stage: Stage) -> None:
    let_jobs_end(stage, count=2)
    result = stage.post(TEXTS, {"prompt": "a cat", "n_iter": 2, "steps": 5})
    assert set(result.json) == {"images", "parameters", "info"}
    assert [b64decode(one) for one in result.json["images"]] == [IMAGE, IMAGE]
    assert (result.json["parameters"]["steps"], result.json["parameters"]["cfg_scale"]) == (5, 7.0)
    info = json.loads(result.json["info"])
    assert (info["seed"], info["all_seeds"], info["infotexts"]) == (0, [0, 1], [INFOTEXT] * 2)
    assert (info["sd_model_name"], info["sd_model_hash"]) == ("dreams", "abcdef0123")
    assert (info["sampler_name"], info["width"], info["job_timestamp"]) == ("Euler", 16, "19700101000001")


def test_nothing_but_a_prompt_is_needed_and_null_is_nothing(stage: Stage) -> None:
    """The defaults are A1111's, not those of an engine."""
    let_jobs_end(stage)
    nulls = dict.fromkeys((*WEBUIAPI, "force_task_id", "refiner_checkpoint", "clip_skip"))
    for sent in ({"prompt": "a cat"}, {**nulls, "prompt": "a cat"}):
        asked = submitted(stage, TEXTS, sent)
        assert (asked.steps, asked.guidance_scale, asked.width_px, asked.height_px) == (50, 7.0, 512, 512)
        assert (asked.scheduler, asked.seed, asked.count, asked.lora_tags) == (Scheduler.EULER, None, 1, True)


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ({"n_iter": 2, "batch_size": 3}, {"count": 6}),
        ({"steps": "20", "cfg_scale": "6.5"}, {"steps": 20, "guidance_scale": 6.5}),
        ({"seed": 7}, {"seed": 7}),
        ({"sampler_name": "DPM++ 2M"}, {"scheduler": Scheduler.DPMPP_2M_KARRAS}),
        ({"sampler_name": "DPM++ 2M", "scheduler": "Automatic"}, {"scheduler": Scheduler.DPMPP_2M_KARRAS}),
        (
            {"sampler_name": "DPM++ 2M SDE", "scheduler": ""},
            {"scheduler": Scheduler.DPMPP_2M_SDE_EXPONENTIAL},
        ),
        ({"sampler_name": "DPM++ 2M", "scheduler": "beta"}, {"scheduler": Scheduler.DPMPP_2M_BETA}),
        (
            {"sampler_name": "DPM++ SDE Karras", "scheduler": "Automatic"},
            {"scheduler": Scheduler.DPMPP_SDE_KARRAS},
        ),
        ({"sampler_index": "Heun"}, {"scheduler": Scheduler.HEUN}),
        ({"sampler_name": "k_euler_a", "sampler_index": "Heun"}, {"scheduler": Scheduler.EULER_A}),
        (
            {"sampler_name": "Euler a", "scheduler": "SGM Uniform"},
            {"scheduler": Scheduler.EULER_A, "scheduler_config": {"timestep_spacing": "sgm_uniform"}},
        ),
        (
            {"sampler_name": "DPM++ 2M", "scheduler": "Uniform"},
            {"scheduler": Scheduler.DPMPP_2M, "scheduler_config": {"timestep_spacing": "normal"}},
        ),
        (
            {"sampler_name": "DDIM", "eta": 0.5, "scheduler": "Karras"},
            {"scheduler": Scheduler.DDIM, "eta": 0.5},
        ),
        ({"sampler_name": "Euler a", "eta": 1.0}, {"eta": None}),
        ({"disable_extra_networks": True}, {"lora_tags": False}),
        ({"clip_skip": 2}, {"clip_skip": 2}),
        ({"override_settings": {"CLIP_stop_at_last_layers": 3}}, {"clip_skip": 3}),
        ({"override_settings": {"sd_vae": "bright.safetensors"}}, {"vae": "v1"}),
        ({"override_settings": {"sd_vae": "None"}}, {"vae": OWN_VAE}),
        ({"override_settings": {"sd_vae": "Automatic"}}, {"vae": None}),
        ({"override_settings": {"forge_additional_modules": ["C:\\vae\\bright.safetensors"]}}, {"vae": "v1"}),
        (
            {"override_settings": {"samples_format": "jpg"}},
            {"image_file_type": ImageFileType.JPEG, "quality": 80},
        ),
        ({"prompt": "a castle, DUSK"}, {"embeddings": ("t1",)}),
        ({"negative_prompt": "(dusk:1.2)"}, {"embeddings": ("t1",)}),
        ({"prompt": "duskless, undusk"}, {"embeddings": None}),
    ],
)
def test_a_value_becomes_ours(stage: Stage, said: dict[str, Any], found: dict[str, Any]) -> None:
    let_jobs_end(stage)
    asked = submitted(stage, TEXTS, said)
    assert {name: getattr(asked, name) for name in found} == found


@pytest.mark.parametrize(
    "text",
    [
        "dreams.safetensors [abcdef0123]", "dreams [abcdef0123]", "dreams.safetensors", "dreams", "DREAMS",
        "abcdef0123", "abcdef0123" + "0" * 54, "m1", "sd\\dreams.safetensors [abcdef0123]",
        "folder/dreams.ckpt [abcdef0123]",
    ],
)  # fmt: skip
def test_a_checkpoint_is_found_by_title_name_file_or_hash(stage: Stage, text: str) -> None:
    add_checkpoint(stage, "m2", "other", sha256="f" * 64)
    let_jobs_end(stage)
    submitted(stage, TEXTS, {"override_settings": {"sd_model_checkpoint": text}})
    assert command_of(stage).checkpoint == "m1"


def test_an_engine_is_a_checkpoint_by_its_name(stage: Stage) -> None:
    stage.database.add_engine("e7", "portraits")
    let_jobs_end(stage)
    submitted(stage, TEXTS, {"override_settings": {"sd_model_checkpoint": "portraits"}})
    assert (command_of(stage).engine_id, command_of(stage).checkpoint) == ("e7", None)


def test_of_two_checkpoints_of_one_name_none_is_taken(stage: Stage) -> None:
    add_checkpoint(stage, "m2", "dreams", sha256="f" * 64)
    status, said = refusal_of(stage, TEXTS, {"override_settings": {"sd_model_checkpoint": "dreams"}})
    assert (status, said["error"]) == (422, "invalid_field")
    assert "dreams.safetensors [ffffffffff]" in said["detail"]


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({"no_such_field": 1}, "no_such_field is unknown and has no effect"),
        (
            {"override_settings": {"eta_noise_seed_delta": 31337}},
            "override_settings.eta_noise_seed_delta is unknown",
        ),
        ({"restore_faces": True}, "restore_faces has no effect"),
        ({"styles": ["anime"]}, "styles has no effect"),
        ({"s_churn": 4}, "s_churn has no effect"),
        ({"width": 500}, "width: 500 is made 496, a multiple of 8"),
        ({"sampler_name": "Euler a", "scheduler": "Karras"}, "scheduler Karras is not available for Euler a"),
        ({"sampler_name": "Euler a", "eta": 0.5}, "eta has no effect on Euler a"),
        (
            {"alwayson_scripts": {"ADetailer": {"args": [True, {"ad_model": "face"}]}}},
            "ADetailer has no effect",
        ),
        ({"ünïcode\r\nX-Evil: 1": 1}, r"\xfcn\xefcode\r\nX-Evil: 1 is unknown"),
    ],
)
def test_what_has_no_effect_is_told_in_a_header(stage: Stage, said: dict[str, Any], told: str) -> None:
    let_jobs_end(stage)
    result = stage.post(TEXTS, said)
    assert result.status_code == 200, result.text
    assert told in warnings_of(result)
    assert "x-evil" not in result.headers


@pytest.mark.parametrize(
    ("said", "status", "code"),
    [
        ({"enable_hr": True}, 422, "not_supported"),
        ({"tiling": True}, 422, "not_supported"),
        ({"subseed_strength": 0.5}, 422, "not_supported"),
        ({"seed_resize_from_w": 512}, 422, "not_supported"),
        ({"refiner_checkpoint": "x", "refiner_switch_at": 0.8}, 422, "not_supported"),
        ({"script_name": "x/y/z plot"}, 422, "invalid_field"),
        ({"alwayson_scripts": {"reactor": {"args": ["a", True]}}}, 422, "invalid_field"),
        ({"sampler_name": "Nothing"}, 404, "sampler_not_found"),
        ({"sampler_name": "DPM++ 2S a"}, 404, "sampler_not_found"),
        ({"scheduler": "Polyexponential"}, 404, "sampler_not_found"),
        ({"steps": 0}, 422, "invalid_field"),
        ({"steps": "many"}, 422, "invalid_field"),
        ({"n_iter": 1000}, 422, "invalid_field"),
        ({"cfg_scale": "nan"}, 422, "invalid_field"),
        ({"width": 1 << 40}, 422, "invalid_field"),
        ({"override_settings": {"sd_model_checkpoint": "gone"}}, 409, "model_missing"),
        ({"override_settings": {"sd_vae": "gone"}}, 409, "model_missing"),
        ({"override_settings": {"samples_format": "gif"}}, 422, "invalid_field"),
        ({"override_settings": {"sd_model_checkpoint": 5}}, 422, "invalid_field"),
        ({"prompt": "x" * 100_001}, 422, "invalid_field"),
        ([], 422, "invalid_field"),
    ],
)  # fmt: skip
def test_what_would_be_another_image_is_refused_in_a1111s_shape(
    stage: Stage, said: Any, status: int, code: str
) -> None:
    found, members = refusal_of(stage, TEXTS, said)
    assert (found, members["error"]) == (status, code)
    assert members["detail"]
    assert stage.bus.asked == []


def test_a_refusal_of_the_job_has_a1111s_names(stage: Stage) -> None:
    _, said = refusal_of(stage, TEXTS, {"cfg_scale": 1000, "steps": 5000})
    assert "cfg_scale" in said["errors"]
    assert "steps" in said["errors"]


def test_every_sampler_takes_every_schedule_type_or_tells_that_it_does_not(stage: Stage) -> None:
    let_jobs_end(stage)
    kinds = [one["name"] for one in stage.get("/sdapi/v1/schedulers").json]
    names = [one["name"] for one in stage.get("/sdapi/v1/samplers").json]
    assert [find_choice(Scheduler, name) for name in names] == list(SAMPLERS)
    for name in names:
        for kind in kinds:
            result = stage.post(TEXTS, {"sampler_name": name, "scheduler": kind})
            assert result.status_code == 200, result.text
            is_plain = command_of(stage).request.scheduler == find_choice(Scheduler, name)
            has_levels = bool(command_of(stage).request.scheduler_config)
            is_told = kind in warnings_of(result)
            is_fixed = name in ("DDIM", "PLMS")
            assert kind == "automatic" or is_fixed or (is_plain and not has_levels) == is_told, (name, kind)


def test_images_are_counted_as_downloads_unless_they_are_not_sent(stage: Stage) -> None:
    let_jobs_end(stage)
    stage.post(TEXTS, {})
    assert [one.whole for one in stage.bus.told if isinstance(one, FinishDownload)] == [True]
    stage.bus.told.clear()
    result = stage.post(TEXTS, {"send_images": False})
    assert result.json["images"] == []
    assert json.loads(result.json["info"])["infotexts"] == [INFOTEXT]
    assert [one.whole for one in stage.bus.told if isinstance(one, FinishDownload)] == [False]


def test_a_job_that_failed_is_an_error_with_its_reason(stage: Stage) -> None:
    let_jobs_end(stage, count=0, status="failed", error_code="out_of_memory", error="no memory")
    status, said = refusal_of(stage, TEXTS, {})
    assert (status, said["error"], said["detail"]) == (503, "out_of_memory", "no memory")


def test_warnings_of_the_job_are_told_too(stage: Stage) -> None:
    let_jobs_end(stage, warnings='["the prompt was cut"]')
    assert (
        warnings_of(stage.post(TEXTS, {"restore_faces": True}))
        == "restore_faces has no effect; the prompt was cut"
    )


# Image to image.


def files_of(stage: Stage) -> dict[InputKind, bytes]:
    return dict(zip(command_of(stage).request.inputs, stage.bus.blobs[0], strict=True))


def test_an_image_is_needed(stage: Stage) -> None:
    for said in ({}, {"init_images": []}, {"init_images": None}):
        status, members = refusal_of(stage, IMAGES, said)
        assert (status, members["error"]) == (404, "init_image_not_found")


@pytest.mark.parametrize("start", ["", "data:image/png;base64,"])
def test_an_image_and_a_mask_become_inputs(stage: Stage, start: str) -> None:
    let_jobs_end(stage)
    mask = b64encode(png("L")).decode()
    sent = {"init_images": [start + PNG_TEXT], "mask": start + mask}
    asked = submitted(stage, IMAGES, sent)
    assert (asked.inputs, asked.strength) == ((InputKind.REFERENCE, InputKind.MASK), 0.75)
    assert (asked.inpaint_area, asked.inpaint_padding, asked.image_fit) == (InpaintArea.MASKED, 0, None)
    assert (asked.mask_mode, asked.mask_blur) == (MaskMode.LUMINANCE, 4)
    assert asked.inpaint_fill is InpaintFill.FILL
    assert files_of(stage) == {InputKind.REFERENCE: b64decode(PNG_TEXT), InputKind.MASK: b64decode(mask)}


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ({"denoising_strength": 0}, {"strength": 0.0}),
        ({"denoising_strength": None}, {"strength": 0.75}),
        ({"inpainting_mask_invert": 1}, {"mask_mode": MaskMode.INVERTED}),
        ({"inpainting_fill": 1}, {"inpaint_fill": InpaintFill.ORIGINAL}),
        ({"inpainting_fill": 2}, {"inpaint_fill": InpaintFill.LATENT_NOISE}),
        ({"inpainting_fill": 3}, {"inpaint_fill": InpaintFill.LATENT_NOTHING}),
        ({"mask_blur": 9}, {"mask_blur": 9}),
        ({"mask_blur_x": 2, "mask_blur_y": 2}, {"mask_blur": 2}),
        ({"mask_blur": 0, "mask_blur_x": 2}, {"mask_blur": 0}),
        ({"inpaint_full_res_padding": 32}, {"inpaint_padding": 32}),
        (
            {"inpaint_full_res": False, "resize_mode": 1},
            {"inpaint_area": InpaintArea.WHOLE, "inpaint_padding": None, "image_fit": ImageFit.CROP},
        ),
        ({"inpaint_full_res": 0, "resize_mode": 2}, {"image_fit": ImageFit.PAD}),
        ({"inpaint_full_res": False}, {"image_fit": ImageFit.STRETCH}),
    ],
)
def test_a_value_of_a_mask_becomes_ours(stage: Stage, said: dict[str, Any], found: dict[str, Any]) -> None:
    let_jobs_end(stage)
    gradient = Image.linear_gradient("L").resize((16, 16))
    file = BytesIO()
    gradient.save(file, "PNG")
    sent = {"init_images": [PNG_TEXT], "mask": b64encode(file.getvalue()).decode(), **said}
    asked = submitted(stage, IMAGES, sent)
    assert {name: getattr(asked, name) for name in found} == found


def test_of_a_mask_with_alpha_the_opaque_part_is_painted_whatever_its_color(stage: Stage) -> None:
    let_jobs_end(stage)
    mask = Image.new("RGBA", (16, 16), (0, 0, 0, 0))
    mask.paste((0, 0, 0, 255), (0, 0, 8, 16))
    file = BytesIO()
    mask.save(file, "PNG")
    submitted(stage, IMAGES, {"init_images": [PNG_TEXT], "mask": b64encode(file.getvalue()).decode()})
    sent = Image.open(BytesIO(files_of(stage)[InputKind.MASK]))
    assert (sent.mode, sent.getpixel((2, 2)), sent.getpixel((12, 2))) == ("L", 255, 0)


def test_what_was_sent_comes_back_only_if_it_is_asked_for(stage: Stage) -> None:
    let_jobs_end(stage)
    stage.settings.blobs.folder.mkdir()
    (stage.settings.blobs.folder / "in.png").write_bytes(b64decode(PNG_TEXT))
    stage.database.add_blob("j1", "reference", file_name="in.png")
    sent = {"init_images": [PNG_TEXT]}
    assert stage.post(IMAGES, sent).json["parameters"]["init_images"] is None
    again = stage.post(IMAGES, {**sent, "include_init_images": True}).json["parameters"]
    assert (again["init_images"], again["mask"]) == ([PNG_TEXT], None)


def test_a_request_that_waits_keeps_no_images(stage: Stage) -> None:
    """Hundreds wait at once, and each may have brought some tens of megabytes."""
    let_jobs_wait(stage)
    sent = {"init_images": [PNG_TEXT], "include_init_images": True, "alwayson_scripts": {"x": {"args": []}}}
    parked = begin(stage, IMAGES, sent)
    body = pickle.dumps(wanted_in(parked))
    assert b64decode(PNG_TEXT) not in body
    assert PNG_TEXT.encode() not in body


def wanted_in(parked: Parked) -> Wanted:
    """What the functions that wait have kept of the request."""
    found: list[Wanted] = []
    pending: list[Any] = [parked.environment[RESUMED]]
    while pending:
        for cell in pending.pop().__closure__ or ():
            if isinstance(cell.cell_contents, Wanted):
                found.append(cell.cell_contents)
            elif isfunction(cell.cell_contents):
                pending.append(cell.cell_contents)
    (one,) = found
    return one


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ({"init_images": ["not base64!"]}, "init_images"),
        ({"init_images": [b64encode(b"no image").decode()]}, "init_images"),
        ({"init_images": ["http://192.168.0.1/a.png"]}, "init_images"),
        ({"init_images": [PNG_TEXT, PNG_TEXT]}, "init_images"),
        ({"mask": b64encode(png("L", color="black")).decode()}, "mask"),
        ({"mask": b64encode(png("L", (16, 300))).decode()}, "mask"),
        ({"mask": "http://192.168.0.1/a.png"}, "mask"),
        ({"resize_mode": 3}, "resize_mode"),
        ({"inpainting_fill": 4, "mask": b64encode(png("L")).decode()}, "inpainting_fill"),
        ({"latent_mask": PNG_TEXT}, "latent_mask"),
    ],
)
def test_an_image_that_cannot_be_used_is_refused_by_its_name(
    stage: Stage, said: dict[str, Any], name: str
) -> None:
    status, members = refusal_of(stage, IMAGES, {"init_images": [PNG_TEXT], **said})
    assert status == 422
    assert members["errors"].startswith(name), members
    assert stage.bus.asked == []
