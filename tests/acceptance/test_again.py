"""Images that are made again by real processes, to the last bit."""

import hashlib
from collections.abc import Iterator
from typing import Any

import pytest
from PIL import Image, ImageOps

from bench.pictures import half_mask, photograph, png
from engine_worker.embedded.shipped import SHIPPED, shipped
from tests.acceptance.image_server import Drawn, ImageServer, opened_image_server

pytestmark = [pytest.mark.torch, pytest.mark.slow, pytest.mark.timeout(300)]

REGISTERED = ("scenes-sd", "stripes-sd", "frame-sd", "dusk-sd", "grey-sd", "canny-sd")
PHOTOGRAPH = png(photograph(80, 64))
POSE = png(ImageOps.expand(Image.new("RGB", (40, 24), "red"), 20, "white"))


@pytest.fixture(scope="module")
def image_server() -> Iterator[ImageServer]:
    """A server with the models that ship, and an engine with defaults of its own."""
    with opened_image_server() as image_server:
        for one in SHIPPED:
            if one.name in REGISTERED:
                more = {"control_type": "canny"} if one.name == "canny-sd" else {}
                image_server.register(one.model_type, one.name, shipped(one.name).path.as_uri(), **more)
        defaults = {
            "loras": [{"model_id": "frame-sd", "weight": 0.5}],
            "clip_skip": 2,
            "embeddings": ["dusk-sd"],
        }
        image_server.create_engine("plain", "scenes-sd", control_models=["canny-sd"], max_batch=1, **defaults)
        yield image_server


def again(image_server: ImageServer, **body: object) -> Drawn:
    answer = image_server.http.post("/jobs", json=body)
    assert answer.status_code == 202, answer.text
    return image_server.drawn(answer.json()["job_id"])


def sha256(file: bytes) -> str:
    return hashlib.sha256(file).hexdigest()


@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    ("files", "job"),
    [
        (None, {"prompt": "a large red circle on a blue background", "count": 3}),
        (None, {"loras": ["stripes-sd"], "embeddings": [], "vae": "grey-sd", "scheduler": "ddim", "eta": 0.5,
                "negative_prompt": "a star", "cfg": 5.123456789, "guidance_rescale": 0.3, "height": 96}),
        ({"reference_image_blob": PHOTOGRAPH, "mask_image_blob": png(half_mask(80, 64))},
         {"strength": 0.7, "image_fit": "stretch", "count": 2, "image_file_type": "jpeg", "quality": 70}),
        ({"pose_image_blob": POSE}, {"type_pose": "canny", "control_scale": 0.8, "control_end": 0.9}),
    ],
    ids=["several", "everything", "inpainted", "controlled"],
)  # fmt: skip
def test_each_image_of_a_job_comes_again_alone_with_the_same_bits(
    image_server: ImageServer, files: dict[str, bytes] | None, job: dict[str, Any]
) -> None:
    first = image_server.draw(files, **job)
    for image, file in zip(first.images, first.files, strict=True):
        found = again(image_server, like=image["image_id"])
        assert (found.job["count"], found.job["seed"]) == (1, image["seed"])
        assert found.files == [file]
        assert (found.images[0]["sha256"], sha256(file)) == (image["sha256"], image["sha256"])


def test_what_is_said_changes_and_the_rest_stays(image_server: ImageServer) -> None:
    first = image_server.draw(loras=[], cfg=3.5)
    other = again(image_server, like=first.images[0]["image_id"], seed=8, steps=2)
    own = (
        "image_id",
        "job_id",
        "seed",
        "steps",
        "sha256",
        "size_bytes",
        "download",
        "created_at",
        "expires_at",
    )
    same = {name: value for name, value in first.images[0].items() if name not in own}
    assert {name: other.images[0][name] for name in same} == same
    assert (other.job["seed"], other.job["steps"]) == (8, 2)
    assert other.files != first.files


def test_an_image_whose_file_and_lora_are_gone(image_server: ImageServer) -> None:
    image_server.register("lora", "gone", shipped("stripes-sd").path.as_uri())
    first = image_server.draw(loras=["gone"])
    like = first.images[0]["image_id"]
    assert image_server.http.delete(f"/images/{like}").status_code == 204
    assert again(image_server, like=like).files == first.files
    models = image_server.http.get("/models", params={"name": "gone"}).json()["items"]
    assert image_server.http.delete(f"/models/{models[0]['model_id']}").status_code == 204
    refused = image_server.http.post("/jobs", json={"like": like})
    assert (refused.status_code, refused.json()["code"]) == (409, "model_missing")
    assert [one["field"] for one in refused.json()["fields"]] == ["like"]
    assert "loras[0]" in refused.json()["detail"]
    assert again(image_server, like=like, loras=[]).job["loras"] == []


@pytest.mark.parametrize(
    "job",
    [
        {
            "prompt": "a large red circle, on a blue background",
            "negative_prompt": 'a "star": small',
            "count": 2,
        },
        {"loras": [{"model_id": "stripes-sd", "weight": 0.123456789}, "frame-sd"], "embeddings": ["dusk-sd"]},
        {
            "loras": [],
            "embeddings": [],
            "vae": "grey-sd",
            "clip_skip": 1,
            "cfg": 5.123456789,
            "scheduler": "tcd",
            "eta": 0.5,
            "scheduler_config": {"original_inference_steps": 40},
            "guidance_rescale": 0.1,
            "height": 96,
        },
    ],
    ids=["prompts", "loras", "everything"],
)
def test_what_a_file_says_makes_its_image_again_with_the_same_bits(
    image_server: ImageServer, job: dict[str, Any]
) -> None:
    """From the infotext alone, without the database: on an engine whose defaults are others."""
    first = image_server.draw(**{"clip_skip": 2, **job})
    for file in first.files:
        answer = image_server.http.post("/infotext", content=file)
        assert (answer.status_code, answer.json()["source"], answer.json()["unmapped"]) == (
            200, "automatic-spoon", [],
        )  # fmt: skip
        assert again(image_server, **answer.json()["job"]).files == [file]
