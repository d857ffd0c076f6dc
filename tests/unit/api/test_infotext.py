"""POST /v1/infotext: what other tools and this server write into images becomes a job, or is listed."""

import json
import struct
import zlib
from io import BytesIO
from typing import Any

import pytest
from PIL import ExifTags, Image
from PIL.PngImagePlugin import PngInfo

from api.http.infotext.image_texts import MAX_PIECES, MAX_TEXT_BYTES
from kernel.protocol.client import SubmitJob
from tests.unit.api.fake_bus import accepted
from tests.unit.api.stage import Stage, fields_of

A1111 = """a (red:1.3) fox <lora:detail:0.6>, in the snow
BREAK two lines
Negative prompt: blurry, ugly
Steps: 20, Sampler: DPM++ 2M SDE, Schedule type: Karras, CFG scale: 7, Seed: 1234567890, Size: 512x768, \
Model hash: abcdef0123, Model: dreams, Clip skip: 2, RNG: CPU, Lora hashes: "detail: 0123456789ab", \
TI hashes: "dusk: fedcba9876", ENSD: 31337, Version: v1.10.1"""
COMFYUI: dict[str, Any] = {
    "3": {"class_type": "KSampler", "inputs": {
        "seed": 42, "steps": 12, "cfg": 6.5, "sampler_name": "dpmpp_2m", "scheduler": "karras", "denoise": 1,
        "model": ["10", 0], "positive": ["6", 0], "negative": ["7", 0], "latent_image": ["5", 0]}},
    "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "sd/dreams.safetensors"}},
    "5": {"class_type": "EmptyLatentImage", "inputs": {"width": 640, "height": 448, "batch_size": 2}},
    "6": {"class_type": "CLIPTextEncode", "inputs": {"text": "a red fox", "clip": ["11", 0]}},
    "7": {"class_type": "CLIPTextEncode", "inputs": {"text": "blurry", "clip": ["11", 0]}},
    "9": {"class_type": "SaveImage", "inputs": {"images": ["8", 0], "filename_prefix": "x"},
          "is_changed": [float("nan")]},
    "10": {"class_type": "LoraLoader", "inputs": {
        "lora_name": "detail.safetensors", "strength_model": 0.6, "strength_clip": 0.5,
        "model": ["4", 0], "clip": ["4", 1]}},
    "11": {"class_type": "CLIPSetLastLayer", "inputs": {"stop_at_clip_layer": -2, "clip": ["10", 1]}},
}  # fmt: skip
WORKFLOW = {
    "nodes": [
        {
            "id": 3,
            "type": "KSampler",
            "widgets_values": [42, "fixed", 12, 6.5, "dpmpp_2m", "karras", 1],
            "inputs": [
                {"name": "model", "link": 1},
                {"name": "positive", "link": 2},
                {"name": "negative", "link": 3},
                {"name": "latent_image", "link": 4},
            ],
        },
        {"id": 4, "type": "CheckpointLoaderSimple", "widgets_values": ["dreams.safetensors"]},
        {"id": 6, "type": "CLIPTextEncode", "widgets_values": ["a red fox"], "inputs": []},
        {"id": 7, "type": "CLIPTextEncode", "widgets_values": ["blurry"]},
        {"id": 5, "type": "EmptyLatentImage", "widgets_values": [640, 448, 1]},
    ],
    "links": [
        [1, 4, 0, 3, 0, "MODEL"],
        [2, 6, 0, 3, 1, "C"],
        [3, 7, 0, 3, 2, "C"],
        [4, 5, 0, 3, 3, "LATENT"],
    ],
}
INVOKEAI = {
    "app_version": "5.4.0",
    "generation_mode": "txt2img",
    "positive_prompt": "a red fox",
    "negative_prompt": "blurry",
    "width": 512,
    "height": 512,
    "seed": 7,
    "rand_device": "cpu",
    "cfg_scale": 7.5,
    "cfg_rescale_multiplier": 0.0,
    "steps": 30,
    "scheduler": "euler_a",
    "clip_skip": 1,
    "strength": 0.5,
    "seamless_x": False,
    "model": {"key": "k", "hash": "blake3:1", "name": "dreams", "base": "sd-1", "type": "main"},
    "loras": [{"model": {"name": "detail"}, "weight": 0.75}],
    "vae": None,
    "hrf_enabled": True,
}


@pytest.fixture(autouse=True)
def models(stage: Stage) -> None:
    stage.database.add_model("m1", name="dreams", sha256="abcdef0123" + "0" * 54)
    stage.database.add_model("l1", name="Detail", model_type="lora", sha256="1" * 64)
    stage.database.add_model("t1", name="t", model_type="embedding", uri="file:///m/dusk.safetensors")
    stage.database.add_model("v1", name="v", model_type="vae", sha256="2" * 64)


def read(stage: Stage, body: bytes | str, content_type: str = "application/octet-stream") -> dict[str, Any]:
    headers = {"Content-Type": content_type}
    data = body.encode() if isinstance(body, str) else body
    result = stage.call("POST", "/v1/infotext", body=data, headers=headers)
    assert result.status_code == 200, result.text
    found: dict[str, Any] = result.json
    return found


def reasons(answer: dict[str, Any]) -> dict[str, str]:
    return {one["name"]: one["reason"] for one in answer["unmapped"]}


def png(**texts: str) -> bytes:
    info = PngInfo()
    for name, text in texts.items():
        info.add_text(name, text)
    file = BytesIO()
    Image.new("RGB", (16, 16)).save(file, "PNG", pnginfo=info)
    return file.getvalue()


def with_exif(kind: str, comment: bytes | None = None, **fields: str) -> bytes:
    exif = Image.Exif()
    if comment is not None:
        exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.UserComment] = comment
    for name, text in fields.items():
        exif[ExifTags.Base[name]] = text
    file = BytesIO()
    Image.new("RGB", (16, 16)).save(file, kind, exif=exif)
    return file.getvalue()


def test_an_infotext_of_a1111_becomes_a_job(stage: Stage) -> None:
    found = read(stage, A1111, "text/plain; charset=utf-8")
    assert found["source"] == "a1111"
    assert found["job"] == {
        "prompt": "a (red:1.3) fox , in the snow\nBREAK two lines",
        "negative_prompt": "blurry, ugly",
        "long_prompt_technique": "sd_embed",
        "steps": 20,
        "scheduler": "dpmpp_2m_sde_karras",
        "cfg": 7.0,
        "seed": 1234567890,
        "width": 512,
        "height": 768,
        "clip_skip": 2,
        "checkpoint": "m1",
        "loras": [{"model_id": "l1", "weight": 0.6}],
        "lora_tags": False,
        "embeddings": ["t1"],
    }
    assert reasons(found) == {"ENSD": "this server has no such value"}
    assert found["more"] == 0


def test_what_is_found_is_a_job_that_is_accepted(stage: Stage) -> None:
    stage.bus.reactions[SubmitJob] = accepted()
    for body in (A1111, json.dumps(COMFYUI), json.dumps(WORKFLOW), json.dumps(INVOKEAI)):
        result = stage.post("/v1/jobs", read(stage, body)["job"])
        assert result.status_code == 202, result.text


UTF16 = "utf-16-be"


@pytest.mark.parametrize(
    "file",
    [
        png(parameters="a fox\nSteps: 4, Seed: 5"),
        png(parameters="a fox ✓\nSteps: 4, Seed: 5"),
        with_exif("JPEG", b"UNICODE\0" + "a fox\nSteps: 4, Seed: 5".encode("utf-16-be")),
        with_exif("JPEG", b"UNICODE\0" + "a fox\nSteps: 4, Seed: 5".encode("utf-16-le")),
        with_exif("WEBP", b"UNICODE\0" + "a fox\nSteps: 4, Seed: 5".encode("utf-16-be")),
        with_exif("JPEG", b"ASCII\0\0\0a fox\nSteps: 4, Seed: 5"),
    ],
    ids=["tEXt", "iTXt", "JPEG", "little-endian", "WebP", "ASCII"],
)
def test_the_text_is_found_in_every_kind_of_image(stage: Stage, file: bytes) -> None:
    job = read(stage, file)["job"]
    assert (job["prompt"].removesuffix(" ✓"), job["steps"], job["seed"]) == ("a fox", 4, 5)


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_of(*chunks: bytes) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks) + chunk(b"IEND", b"")


def test_packed_texts_are_unpacked(stage: Stage) -> None:
    packed = zlib.compress(b"a fox\nSteps: 4")
    for one in (
        chunk(b"zTXt", b"parameters\0\0" + packed),
        chunk(b"iTXt", b"parameters\0\1\0en\0x\0" + packed),
    ):
        assert read(stage, png_of(one))["job"]["steps"] == 4


def test_templates_are_told_apart_from_the_prompt_that_was_made_of_them(stage: Stage) -> None:
    text = (
        "a tiger\nNegative prompt: a dog\nSteps: 4, Seed: 7, Size: 64x64\n"
        "Template: a __cats__, {red|\nblue}\nNegative Template: a {dog|fox}"
    )
    found = read(stage, text.encode())
    job = found["job"]
    assert (job["prompt"], job["negative_prompt"], job["width"]) == ("a tiger", "a dog", 64)
    assert job["wildcards"] is False
    left = {one["name"]: one["value"] for one in found["unmapped"]}
    assert left == {"Template": "a __cats__, {red|\nblue}", "Negative Template": "a {dog|fox}"}


COMFYUI_JOB = {
    "prompt": "a red fox",
    "negative_prompt": "blurry",
    "seed": 42,
    "steps": 12,
    "cfg": 6.5,
    "scheduler": "dpmpp_2m_karras",
    "width": 640,
    "height": 448,
    "count": 2,
    "checkpoint": "m1",
    "clip_skip": 2,
    "loras": [{"model_id": "l1", "weight": 0.6}],
    "long_prompt_technique": "sd_embed",
}


@pytest.mark.parametrize(
    "body",
    [
        json.dumps(COMFYUI),
        json.dumps({"prompt": COMFYUI, "client_id": "x"}),
        png(prompt=json.dumps(COMFYUI), workflow="{}"),
        with_exif("WEBP", Model=f"prompt:{json.dumps(COMFYUI)}", Make="workflow:{}"),
    ],
    ids=["text", "request", "PNG", "WebP"],
)
def test_a_graph_of_comfyui_becomes_a_job(stage: Stage, body: bytes | str) -> None:
    found = read(stage, body)
    assert (found["source"], found["job"]) == ("comfyui", COMFYUI_JOB)
    assert reasons(found) == {"strength_clip": "a LoRA has one weight, that of strength_model"}


def test_a_saved_workflow_is_read_where_there_is_no_prompt(stage: Stage) -> None:
    found = read(stage, png(workflow=json.dumps(WORKFLOW)))
    without = {"count": 1, "loras": []}
    expected = {name: value for name, value in COMFYUI_JOB.items() if name != "clip_skip"} | without
    assert (found["source"], found["job"], found["unmapped"]) == ("comfyui", expected, [])


def test_values_and_prompts_may_come_from_other_nodes(stage: Stage) -> None:
    graph = json.loads(json.dumps(COMFYUI))
    graph["3"]["class_type"] = "KSamplerAdvanced"
    del graph["3"]["inputs"]["seed"]
    graph["3"]["inputs"] |= {"noise_seed": ["20", 0], "positive": ["21", 0]}
    graph["20"] = {"class_type": "PrimitiveInt", "inputs": {"value": 9}}
    graph["21"] = {"class_type": "ConditioningSetArea", "inputs": {"conditioning": ["6", 0]}}
    graph["6"]["inputs"]["text"] = ["22", 0]
    graph["22"] = {"class_type": "String", "inputs": {"string": "a wolf"}}
    job = read(stage, json.dumps(graph))["job"]
    assert (job["seed"], job["prompt"]) == (9, "a wolf")


def test_a_graph_that_runs_in_circles_ends(stage: Stage) -> None:
    graph = {
        "1": {"class_type": "KSampler", "inputs": {"model": ["1", 0], "positive": ["1", 0], "seed": ["1", 0]}}
    }
    assert read(stage, json.dumps(graph))["source"] == "comfyui"


def test_metadata_of_invokeai_becomes_a_job(stage: Stage) -> None:
    for body in (json.dumps(INVOKEAI), png(invokeai_metadata=json.dumps(INVOKEAI))):
        found = read(stage, body)
        assert found["source"] == "invokeai"
        assert found["job"] == {
            "prompt": "a red fox",
            "negative_prompt": "blurry",
            "width": 512,
            "height": 512,
            "seed": 7,
            "cfg": 7.5,
            "guidance_rescale": 0.0,
            "steps": 30,
            "scheduler": "euler_a",
            "clip_skip": 2,
            "checkpoint": "m1",
            "loras": [{"model_id": "l1", "weight": 0.75}],
            "long_prompt_technique": "compel",
        }
        assert set(reasons(found)) == {"strength", "hrf_enabled"}
        assert "reference_image_blob" in reasons(found)["strength"]


@pytest.mark.parametrize(
    ("pairs", "field", "value"),
    [
        ("Sampler: Euler a", "scheduler", "euler_a"),
        ("Sampler: DPM++ 2M Karras", "scheduler", "dpmpp_2m_karras"),
        ("Sampler: DPM++ 2M, Schedule type: Automatic", "scheduler", "dpmpp_2m_karras"),
        (
            "Sampler: Euler, Schedule type: SGM Uniform",
            "scheduler_config",
            {"timestep_spacing": "sgm_uniform"},
        ),
        ("Sampler: Euler, Schedule type: Automatic", "scheduler", "euler"),
        ("Sampler: DDIM, Eta: 0.5", "eta", 0.5),
        ("VAE: v.safetensors, VAE hash: 2222222222", "vae", "v1"),
        ('Model: "a, b", Model hash: ABCDEF0123', "checkpoint", "m1"),
    ],
)
def test_pairs_are_mapped(stage: Stage, pairs: str, field: str, value: object) -> None:
    found = read(stage, f"a fox\nSteps: 4, {pairs}")
    assert (found["job"][field], found["unmapped"]) == (value, [])


@pytest.mark.parametrize(
    ("pairs", "name", "reason"),
    [
        ("Sampler: DPM++ 2S a", "Sampler", "dpmpp_2s"),
        ("Sampler: Euler, Schedule type: Polyexponential", "Schedule type", "not available"),
        ("Sampler: DDIM, Schedule type: Normal", "Schedule type", "not available"),
        ("Sampler: Euler, Eta: 0.5", "Eta", "no effect"),
        ("Seed: 99999999999999999999", "Seed", "must be"),
        ("Seed: " + "9" * 5_000, "Seed", ""),
        ("CFG scale: nan", "CFG scale", ""),
        ("CFG scale: 1e999", "CFG scale", ""),
        ("Size: 513x512", "Size", "multiple of 8"),
        ("Size: big", "Size", "two numbers"),
        ("Model: nightmares", "Model", "no checkpoint has this name"),
        ("Model: dreams, Model hash: 1234567890", "Model hash", "another sha256"),
        ("RNG: NV", "RNG", "noise"),
        ("Denoising strength: 0.5", "Denoising strength", "reference_image_blob"),
        ("Denoising strength: 0.5, Hires upscale: 2", "Denoising strength", "second pass"),
        ('ControlNet 0: "Module: canny, Model: x"', "ControlNet 0", "pose_image_blob"),
        ("Variation seed: 3", "Variation seed", "no such value"),
        ("Steps: 4", "steps", "at most"),
    ],
)
def test_what_cannot_be_mapped_is_listed_with_the_reason(
    stage: Stage, pairs: str, name: str, reason: str
) -> None:
    steps = 9_999 if name == "steps" else 4
    found = read(stage, f"a fox\nSteps: {steps}, {pairs}")
    assert reason in reasons(found)[name]
    assert found["job"]["prompt"] == "a fox"


def test_several_models_of_a_name_are_listed(stage: Stage) -> None:
    stage.database.add_model("m2", name="DREAMS")
    stage.database.add_model("m3", name="Dreams")
    found = read(stage, "a fox\nSteps: 4, Model: dREAMS")
    assert "checkpoint" not in found["job"]
    assert "m2" in reasons(found)["Model"]
    assert read(stage, "a fox\nSteps: 4, Model: Dreams")["job"]["checkpoint"] == "m3"


def test_a_lora_that_is_unknown_or_twice_there_is_left_out_of_prompt_and_job(stage: Stage) -> None:
    found = read(stage, "a <lora:detail:0.5> fox <lora:DETAIL:1><lora:none:1> <hypernet:x:1>\nSteps: 4")
    assert found["job"]["prompt"] == "a  fox"
    assert found["job"]["loras"] == [{"model_id": "l1", "weight": 0.5}]
    assert [one["name"] for one in found["unmapped"]] == ["Hypernet", "Lora", "Lora"]


def test_a_prompt_alone_is_an_infotext(stage: Stage) -> None:
    assert read(stage, "a red fox, in the snow: deep")["job"]["prompt"] == "a red fox, in the snow: deep"


def test_an_image_without_a_text_is_told_apart(stage: Stage) -> None:
    for file in (png(), png(Software="GIMP"), png(prompt="{}"), with_exif("JPEG")):
        result = stage.call("POST", "/v1/infotext", body=file)
        assert (result.status_code, result.json["code"]) == (422, "no_infotext")


BOMB = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"a" * (MAX_TEXT_BYTES + 1)))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" \n",
        b"\xff\xfe\x00",
        b"a" * (MAX_TEXT_BYTES + 1),
        b"a" * 600_000,
        b'{"1": [' + b"1," * 200_000 + b"1]}",
        png_of(BOMB),
        png_of(chunk(b"tEXt", b"parameters\0" + b"a" * (MAX_TEXT_BYTES + 1))),
        png_of(*[chunk(b"tEXt", b"%d\0" % n + b"a" * (MAX_TEXT_BYTES - 1)) for n in range(4)]),
        png_of(*[chunk(b"tEXt", b"")] * (MAX_PIECES + 1)),
    ],
    ids=[
        "empty",
        "blank",
        "no text",
        "long",
        "long infotext",
        "many values",
        "bomb",
        "long chunk",
        "all",
        "many",
    ],
)
def test_what_is_too_much_is_refused(stage: Stage, body: bytes) -> None:
    result = stage.call("POST", "/v1/infotext", body=body)
    assert (result.status_code, result.json["code"]) == (422, "invalid_field")
    assert list(fields_of(result)) == ["$"]


def test_json_that_is_nested_deeply_is_a_prompt_like_any_text(stage: Stage) -> None:
    assert read(stage, '{"a":' * 20_000)["source"] == "a1111"


def test_a_form_is_not_the_file_itself(stage: Stage) -> None:
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    result = stage.call("POST", "/v1/infotext", body=b"a=b", headers=headers)
    assert (result.status_code, result.json["code"]) == (415, "unsupported_media_type")


def test_a_file_is_one_whatever_type_it_comes_with(stage: Stage) -> None:
    """curl --data-binary calls it a form."""
    for content_type in ("application/x-www-form-urlencoded", "application/json", "text/plain"):
        assert read(stage, png(parameters="a fox\nSteps: 4"), content_type)["job"]["steps"] == 4


def test_a_body_that_is_too_long_is_refused(stage: Stage) -> None:
    body = bytes(stage.settings.server.max_body_bytes + 1)
    result = stage.call("POST", "/v1/infotext", body=body)
    assert (result.status_code, result.json["code"]) == (413, "too_large")


def test_no_more_than_a_hundred_are_listed(stage: Stage) -> None:
    pairs = ", ".join(f"Value {n}: {n}" for n in range(150))
    found = read(stage, f"a fox\nSteps: 4, {pairs}")
    assert (len(found["unmapped"]), found["more"]) == (100, 50)


OURS = """a <lora:detail:0.6> fox <lora:Other:1>
Negative prompt: blurry
Steps: 20, Sampler: DPM++ 2M, Schedule type: Uniform, CFG scale: 7, Seed: 5, Size: 512x768, \
Model hash: abcdef0123, Model: dreams, RNG: CPU, Lora hashes: "detail: 1111111111", \
{more}Version: automatic-spoon 0.2.0"""


def test_tags_of_loras_are_found_wherever_this_server_wrote_them(stage: Stage) -> None:
    stage.database.add_model("l2", name="other", model_type="lora", sha256="3" * 64)
    found = read(stage, OURS.format(more=""), "text/plain")
    assert (found["source"], found["unmapped"]) == ("automatic-spoon", [])
    assert found["job"]["prompt"] == "a  fox"
    assert [one["model_id"] for one in found["job"]["loras"]] == ["l1", "l2"]
    assert (found["job"]["scheduler"], found["job"]["clip_skip"]) == ("dpmpp_2m", 1)
    assert found["job"]["long_prompt_technique"] == "sd_embed"


def test_tags_that_were_text_stay_text(stage: Stage) -> None:
    stage.database.add_model("l2", name="other", model_type="lora", sha256="3" * 64)
    found = read(stage, OURS.format(more="Lora tags: text, "), "text/plain")
    assert found["job"]["prompt"] == "a <lora:detail:0.6> fox"
    assert [one["model_id"] for one in found["job"]["loras"]] == ["l2"]


def test_what_this_server_wrote_before_it_named_the_schedule_type_is_read_as_before(stage: Stage) -> None:
    older = OURS.format(more="").replace("DPM++ 2M, Schedule type: Uniform", "DPM++ 2M Karras")
    found = read(stage, older.replace("<lora:Other:1>", "<lora:Detail:1>"), "text/plain")
    assert found["job"]["prompt"] == "a <lora:detail:0.6> fox"
    assert (found["job"]["scheduler"], "clip_skip" in found["job"]) == ("dpmpp_2m_karras", False)
