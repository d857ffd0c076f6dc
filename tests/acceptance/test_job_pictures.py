"""Jobs with pictures, adapters and control, from HTTP to the worker and back: nothing changes on the way."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.acceptance.orders import PLAIN
from tests.acceptance.patience import PATIENCE_S, wait_for
from tests.acceptance.server import Server
from tests.unit.api.sample_pictures import JPEG, PNG, WEBP, as_text
from tests.unit.worker.model_files import Shapes, controlnet, lora, write_safetensors

ADAPTERS: dict[str, tuple[str, Shapes]] = {
    "detail": ("lora", lora("lora_unet_mid_block_attentions_0_transformer_blocks_0_attn2_to_k", 768)),
    "poses": ("controlnet", controlnet(width=768)),
}
JOB = {"engine": "studio", "prompt": "a fox [echo]", "seed": 7, "width": 64, "height": 64, "steps": 4}


@pytest.fixture
def http(server_with_api: Server) -> Iterator[httpx.Client]:
    """A client of a server with a LoRA, a ControlNet, and an engine that has both by their names."""
    server_with_api.start()
    url = f"http://127.0.0.1:{server_with_api.port}/v1"
    with httpx.Client(base_url=url, timeout=PATIENCE_S, trust_env=False) as client:
        for name, (kind, shapes) in ADAPTERS.items():
            register(client, server_with_api.folder, name, kind, shapes)
        engine = {
            "name": "studio",
            "checkpoint": PLAIN,
            "control_models": ["poses"],
            "control_net": "openpose",
        }
        assert client.post("/engines", json=engine).status_code == 201
        yield client


def register(client: httpx.Client, folder: Path, name: str, kind: str, shapes: Shapes) -> None:
    path = write_safetensors(folder / f"{name}.safetensors", shapes)
    model = {"name": name, "path": path.as_uri(), "model_type": kind}
    if kind == "controlnet":
        model["control_type"] = "openpose"
    answer = client.post("/models", params={"wait": 30}, json=model)
    assert (answer.status_code, answer.json()["status"]) == (201, "ready"), answer.text


def finished(client: httpx.Client, accepted: httpx.Response) -> dict[str, Any]:
    """The job once it has ended."""
    assert accepted.status_code == 202, accepted.text

    def look() -> dict[str, Any] | None:
        job: dict[str, Any] = client.get(f"/jobs/{accepted.json()['job_id']}").json()
        return job if job["status"] in ("finished", "failed") else None

    job = wait_for("the end of the job", look)
    assert job["status"] == "finished", job["error"]
    return job


def echo_of(**pictures: bytes) -> set[str]:
    """What the fake engine warns of when these pictures came along."""
    return {f"{kind} {hashlib.sha256(data).hexdigest()}" for kind, data in pictures.items()}


def test_pictures_arrive_as_they_were_sent_and_can_be_had_again(http: httpx.Client) -> None:
    as_json = {
        **JOB,
        "reference_image_blob": as_text(PNG),
        "mask_image_blob": f"data:image/webp;base64,{as_text(WEBP)}",
        "pose_image_blob": as_text(JPEG),
        "loras": [{"model_id": "detail", "weight": 0.5}],
    }
    as_form = {name: value if isinstance(value, str) else json.dumps(value) for name, value in JOB.items()}
    files = {
        "reference_image_blob": ("a.png", PNG),
        "mask_image_blob": ("a.webp", WEBP),
        "pose_image_blob": ("a.jpg", JPEG),
    }
    answers = (
        http.post("/jobs", json=as_json),
        http.post("/jobs", data={**as_form, "loras": '[{"model_id": "detail", "weight": 0.5}]'}, files=files),
    )
    jobs = [finished(http, answer) for answer in answers]
    for job in jobs:
        arrived = echo_of(reference=PNG, mask=WEBP, pose=JPEG) | {"lora detail", "controlnet poses"}
        assert arrived <= set(job["warnings"])
        assert (job["inputs"], job["type_pose"]) == (["reference", "mask", "pose"], ["openpose"])
        image = http.get(f"/images/{job['image_id']}").json()
        for name, data in (("reference", PNG), ("mask", WEBP), ("pose", JPEG)):
            answer = http.get(image[f"{name}_image_path"].removeprefix("/v1"))
            assert (answer.status_code, answer.content) == (200, data)
        drawn = http.get(image["poses"]["openpose_path"].removeprefix("/v1"))
        assert (drawn.status_code, drawn.headers["content-type"]) == (200, "image/png")
        assert drawn.headers["etag"] == f'"{hashlib.sha256(drawn.content).hexdigest()}"'
    downloads = [http.get(f"/images/{job['image_id']}/download").content for job in jobs]
    assert downloads[0] == downloads[1], "JSON and a form are two ways of saying the same"


def test_the_stream_of_a_job_shows_previews_and_stages(http: httpx.Client) -> None:
    job = {**JOB, "prompt": "a fox [slow 100ms]", "previews": True}
    accepted = http.post("/jobs", json=job).json()
    previews, stages = [], set()
    with http.stream("GET", f"/jobs/{accepted['job_id']}/events") as stream:
        event = ""
        for line in stream.iter_lines():
            name, _, value = line.partition(": ")
            if name == "event":
                event = value
            elif name == "data" and event == "preview":
                previews.append(json.loads(value))
            elif name == "data" and event == "progress":
                stages.add(json.loads(value)["stage"])
    assert previews
    assert all(one["data_url"].startswith("data:image/jpeg;base64,/9j/") for one in previews)
    assert {one["index"] for one in previews} == {0}
    assert "denoising" in stages


def test_a_refusal_of_the_manager_names_the_field_of_http(http: httpx.Client) -> None:
    job = {**JOB, "pose_image_blob": as_text(PNG), "type_pose": "canny"}
    answer = http.post("/jobs", json=job)
    assert answer.status_code == 422
    assert [one["field"] for one in answer.json()["fields"]] == ["type_pose[0]"]
    answer = http.post("/jobs", json={**JOB, "loras": ["poses"]})
    assert [one["field"] for one in answer.json()["fields"]] == ["loras[0]"]


def test_a_job_says_how_long_its_pictures_stay(http: httpx.Client) -> None:
    job = finished(http, http.post("/jobs", json={**JOB, "expire_after": "1h", "delete_after_downloads": 1}))
    image = http.get(f"/images/{job['image_id']}").json()
    assert (image["download_limit"], job["expire_after_s"]) == (1, 3600.0)
    assert http.get(f"/images/{job['image_id']}/download").status_code == 200
    gone = wait_for("the image to be used up", lambda: http.get(f"/images/{job['image_id']}").json()["gone"])
    assert gone["reason"] == "used_up"
