"""What a job and an engine can be asked for with options, as it reaches the server."""

import json
from base64 import b64encode
from email import message_from_bytes
from pathlib import Path

import pytest

from tests.integration.cli.command import Spoon
from tests.integration.cli.fake_api import Answer, Asked, FakeApi, events, problem

WAITING = {"job_id": "j1", "status": "waiting", "image_ids": ["i1"]}
ENGINE = {"engine_id": "e1", "name": "portraits", "status": "ready"}
PICTURE = b"\x89PNG and so on"


@pytest.fixture
def image_server(api: FakeApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeApi:
    """A server with an engine, and three pictures in the current folder."""
    api.on("GET", "/v1/engines/e1", Answer(body=ENGINE))
    api.on("POST", "/v1/jobs", Answer(202, WAITING))
    api.on("GET", "/v1/jobs/j1", Answer(body=WAITING), Answer(body=WAITING | {"status": "finished"}))
    monkeypatch.chdir(tmp_path)
    for name in ("fox.png", "mask.png", "pose.jpg"):
        Path(name).write_bytes(PICTURE + name.encode())
    return api


def job_of(spoon: Spoon, api: FakeApi, *options: str) -> dict[str, object]:
    ended = spoon("jobs", "submit", "a fox", "--engine", "e1", *options)
    assert ended.code == 0, ended.err
    (submitted,) = api.sent("POST", "/v1/jobs")
    assert isinstance(submitted.body, dict)
    return {name: value for name, value in submitted.body.items() if name not in ("engine_id", "prompt")}


@pytest.mark.parametrize(
    ("options", "body"),
    [
        (("--lora", "detail"), {"loras": [{"model_id": "detail", "weight": 1.0}]}),
        (
            ("--lora", "detail:0.6", "--lora", "a:b", "--lora", ":x"),
            {
                "loras": [
                    {"model_id": "detail", "weight": 0.6},
                    {"model_id": "a:b", "weight": 1.0},
                    {"model_id": ":x", "weight": 1.0},
                ]
            },
        ),
        (("--embedding", "t1", "--embedding", "t2"), {"embeddings": ["t1", "t2"]}),
        (("--vae", "v1", "--clip-skip", "2"), {"vae": "v1", "clip_skip": 2}),
        (
            ("--remove-background", "b1", "--background-color", "#00ff00", "--file-type", "JPG"),
            {
                "remove_background_models": ["b1"],
                "background_color": "#00ff00",
                "image_file_type": "jpeg",
            },
        ),
        (
            ("--expire-after", "1h", "--delete-after-downloads", "2", "--previews"),
            {"expire_after": 3600.0, "delete_after_downloads": 2, "previews": True},
        ),
        (("--give-up-after", "10m"), {"give_up_after": 600.0}),
        (("--scheduler", "dpm_2_ancestral"), {"scheduler": "dpm2_a"}),
        (("--scheduler", "Euler a Simple"), {"scheduler": "Euler a Simple"}),
        (("--lora-tags",), {"lora_tags": True}),
        (("--wildcards",), {"wildcards": True}),
        (("--long-prompt-technique", "SD-Embed"), {"long_prompt_technique": "sd_embed"}),
        (
            ("--scheduler-option", "beta_start=0.001", "--scheduler-option", "beta_schedule=linear"),
            {"scheduler_config": {"beta_start": 0.001, "beta_schedule": "linear"}},
        ),
        (
            ("--no-loras", "--no-embeddings", "--no-scheduler-options", "--no-lora-tags"),
            {"loras": [], "embeddings": [], "scheduler_config": {}, "lora_tags": False},
        ),
    ],
)
def test_an_option_becomes_a_field(
    spoon: Spoon, image_server: FakeApi, options: tuple[str, ...], body: dict[str, object]
) -> None:
    assert job_of(spoon, image_server, *options) == body


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--no-loras", "--lora", "detail"), "--no-loras and --lora cannot be used together"),
        (("--no-embeddings", "--embedding", "t1"), "--no-embeddings and --embedding cannot be used together"),
        (
            ("--no-scheduler-options", "--scheduler-option", "eta=1"),
            "--no-scheduler-options and --scheduler-option cannot be used together",
        ),
        (("--scheduler-option", "eta"), "'--scheduler-option': 'eta' is not NAME=VALUE"),
        (("--scheduler-option", "betas=[1]"), "'--scheduler-option': betas=[1] is not a number"),
        (
            ("--scheduler-option", "a=1", "--scheduler-option", "a=2"),
            "'--scheduler-option': each scheduler option may be given only once",
        ),
    ],
)
def test_what_makes_no_sense_is_a_mistake_of_usage_that_names_its_option(
    spoon: Spoon, image_server: FakeApi, options: tuple[str, ...], says: str
) -> None:
    ended = spoon("jobs", "submit", "a fox", "--engine", "e1", *options)
    assert ended.code == 2
    assert says in ended.err
    assert image_server.sent("POST", "/v1/jobs") == []


def parts_of(asked: Asked) -> dict[str, tuple[str | None, bytes]]:
    """The parts of a form by their names: file name and content."""
    assert isinstance(asked.body, bytes)
    head = f"Content-Type: {asked.headers['content-type']}\r\n\r\n".encode()
    found = {}
    for part in message_from_bytes(head + asked.body).walk():
        data = part.get_payload(decode=True)
        name = part.get_param("name", header="content-disposition")
        if isinstance(name, str) and isinstance(data, bytes):
            found[name] = (part.get_filename(), data)
    return found


def test_pictures_are_sent_as_files_of_a_form(spoon: Spoon, image_server: FakeApi) -> None:
    ended = spoon(
        "jobs", "submit", "a fox", "--engine", "e1", "--reference", "fox.png", "--strength", "0.5",
        "--mask", "mask.png", "--image-fit", "pad", "--pose", "pose.jpg", "--type-pose", "openpose",
        "--type-pose", "midaspose", "--control-scale", "0.5", "--control-end", "0.8", "--control-end", "1",
        "--steps", "12", "--idempotency-key", "k", "--validate-only",
    )  # fmt: skip
    assert (ended.code, ended.out) == (0, "the job would be accepted\n")
    (submitted,) = image_server.sent("POST", "/v1/jobs")
    assert (submitted.query, submitted.headers["idempotency-key"]) == ({"validate_only": "true"}, "k")
    parts = parts_of(submitted)
    assert parts["reference_image_blob"] == ("fox.png", PICTURE + b"fox.png")
    assert parts["mask_image_blob"] == ("mask.png", PICTURE + b"mask.png")
    assert parts["pose_image_blob"] == ("pose.jpg", PICTURE + b"pose.jpg")
    texts = {name: data.decode() for name, (file, data) in parts.items() if file is None}
    assert texts == {
        "engine_id": "e1",
        "prompt": "a fox",
        "strength": "0.5",
        "image_fit": "pad",
        "type_pose": '["openpose","midas"]',
        "control_scale": "0.5",
        "control_end": "[0.8,1.0]",
        "steps": "12",
    }


def test_the_values_of_a_mask_are_sent_in_the_words_of_the_api(spoon: Spoon, image_server: FakeApi) -> None:
    ended = spoon(
        "jobs", "submit", "a fox", "--engine", "e1", "--reference", "fox.png", "--mask", "mask.png",
        "--mask-mode", "Inpaint not masked", "--mask-blur", "0", "--inpaint-area", "Only masked",
        "--inpaint-padding", "0", "--inpaint-fill", "latent noise", "--validate-only",
    )  # fmt: skip
    assert ended.code == 0
    (submitted,) = image_server.sent("POST", "/v1/jobs")
    texts = {name: data.decode() for name, (file, data) in parts_of(submitted).items() if file is None}
    assert texts == {
        "engine_id": "e1",
        "prompt": "a fox",
        "mask_mode": "inverted",
        "mask_blur": "0",
        "inpaint_area": "masked",
        "inpaint_padding": "0",
        "inpaint_fill": "latent_noise",
    }


def test_the_resize_mode_that_there_is_not_is_refused_with_the_nearest(spoon: Spoon) -> None:
    ended = spoon("jobs", "submit", "a fox", "--image-fit", "Just resize (latent upscale)")
    assert ended.code == 2
    assert "the closest is stretch" in ended.err


def test_a_picture_that_is_not_there_is_a_mistake_of_usage(spoon: Spoon, image_server: FakeApi) -> None:
    ended = spoon("jobs", "submit", "a fox", "--engine", "e1", "--reference", "wolf.png")
    assert ended.code == 2
    assert "'wolf.png' does not exist" in ended.err
    assert image_server.asked == []


def preview(index: int, data: bytes) -> tuple[str, str, str]:
    url = f"data:image/jpeg;base64,{b64encode(data).decode()}"
    return "event: preview", f"data: {json.dumps({'index': index, 'step': 1, 'data_url': url})}", ""


def test_the_newest_preview_of_each_picture_is_kept(spoon: Spoon, image_server: FakeApi) -> None:
    lines = (*preview(0, b"first"), *preview(1, b"other"), *preview(0, b"second"))
    image_server.on("GET", "/v1/jobs/j1/events", events(*lines))
    ended = spoon("jobs", "submit", "a fox", "--engine", "e1", "--preview-to", "rough.jpg")
    assert (ended.code, ended.out) == (0, "j1  finished  i1\n")
    (submitted,) = image_server.sent("POST", "/v1/jobs")
    assert submitted.body == {"engine_id": "e1", "prompt": "a fox", "previews": True}
    assert (Path("rough.jpg").read_bytes(), Path("rough-2.jpg").read_bytes()) == (b"second", b"other")
    assert not list(Path().glob(".*part"))


def test_a_preview_that_is_none_is_told(spoon: Spoon, image_server: FakeApi) -> None:
    image_server.on(
        "GET", "/v1/jobs/j1/events", events("event: preview", 'data: {"data_url": "a;base64,~"}', "")
    )
    ended = spoon("jobs", "watch", "j1", "--preview-to", "rough.jpg")
    assert ended.code == 1
    assert "the server sent an invalid preview" in ended.err


@pytest.mark.parametrize(
    ("options", "path", "query", "name"),
    [
        (("--what", "reference"), "reference", {}, "i1-reference.jpg"),
        (("--what", "mask"), "mask", {}, "i1-mask.jpg"),
        (("--what", "pose"), "pose", {}, "i1-pose.jpg"),
        (("--what", "image"), "download", {}, "i1.jpg"),
        (("--what", "picture"), "download", {}, "i1.jpg"),
        (("--what", "map"), "pose_map", {}, "i1-map.jpg"),
        (("--what", "map", "--type", "OpenPose"), "pose_map", {"type": "openpose"}, "i1-openpose.jpg"),
    ],
)
def test_what_a_picture_was_made_from_is_saved_beside_it(
    spoon: Spoon, image_server: FakeApi, options: tuple[str, ...], path: str, query: dict[str, str], name: str
) -> None:
    image_server.on("GET", f"/v1/images/i1/{path}", Answer(raw=PICTURE, mime="image/jpeg"))
    assert spoon("images", "download", "i1", *options).err == f"saved {name}\n"
    assert Path(name).read_bytes() == PICTURE
    assert image_server.asked[-1].query == query


def test_only_a_map_has_a_type(spoon: Spoon, image_server: FakeApi) -> None:
    ended = spoon("images", "download", "i1", "--type", "openpose")
    assert ended.code == 2
    assert "only valid with --what map" in ended.err


def test_an_engine_is_made_of_what_its_options_say(spoon: Spoon, image_server: FakeApi) -> None:
    image_server.on(
        "GET", "/v1/models/m1", Answer(body={"model_id": "m1", "name": "dreams", "status": "ready"})
    )
    image_server.on("POST", "/v1/engines", Answer(201, ENGINE))
    ended = spoon(
        "engines", "create", "m1", "--vae", "v1", "--lora", "detail:0.5", "--embedding", "t1",
        "--long-prompt-technique", "sd-embed", "--control-net", "openpose", "--control-model", "c1",
        "--control-model", "c2", "--clip-skip", "1", "--scheduler-option", "eta=0.5",
    )  # fmt: skip
    assert ended.code == 0, ended.err
    (created,) = image_server.sent("POST", "/v1/engines")
    assert created.body == {
        "checkpoint": "m1",
        "vae": "v1",
        "loras": [{"model_id": "detail", "weight": 0.5}],
        "embeddings": ["t1"],
        "long_prompt_technique": "sd_embed",
        "control_net": "openpose",
        "control_models": ["c1", "c2"],
        "clip_skip": 1,
        "scheduler_config": {"eta": 0.5},
    }


def test_a_controlnet_is_registered_with_its_type(spoon: Spoon, image_server: FakeApi) -> None:
    model = {"model_id": "c1", "name": "poses", "status": "downloading"}
    image_server.on("POST", "/v1/models", Answer(202, model))
    Path("poses.safetensors").write_bytes(b"")
    options = ("--type", "controlnet", "--control-type", "midaspose")
    assert spoon("models", "add", "./poses.safetensors", *options).code == 0
    (added,) = image_server.sent("POST", "/v1/models")
    assert isinstance(added.body, dict)
    assert (added.body["model_type"], added.body["control_type"]) == ("controlnet", "midas")


def test_a_refusal_speaks_of_the_options_that_were_given(spoon: Spoon, image_server: FakeApi) -> None:
    told = ("mask_image_blob", "requires reference_image_blob")
    image_server.on("POST", "/v1/jobs", problem(422, "invalid_field", ": ".join(told), told))
    ended = spoon("jobs", "submit", "a fox", "--engine", "e1", "--mask", "mask.png")
    assert (ended.code, ended.err) == (
        7, "spoon: --mask: requires --reference [invalid_field]\n"
    )  # fmt: skip


def test_a_refusal_of_an_engine_speaks_of_its_options_too(spoon: Spoon, image_server: FakeApi) -> None:
    image_server.on(
        "GET", "/v1/models/m1", Answer(body={"model_id": "m1", "name": "dreams", "status": "ready"})
    )
    told = ("scheduler_config.eta", "must fit in 64 bits")
    image_server.on("POST", "/v1/engines", problem(422, "invalid_field", ": ".join(told), told))
    ended = spoon("engines", "create", "m1", "--scheduler-option", "eta=1")
    assert (ended.code, ended.err) == (
        7,
        "spoon: --scheduler-option eta: must fit in 64 bits [invalid_field]\n",
    )
