"""An engine that is changed while it runs, and one that is deleted without its images, with real workers."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import skimage.data
from PIL import Image

from bench.pictures import png
from engine_worker.embedded.random_checkpoint import write_random_checkpoint
from kernel.protocol.enums import ModelBase
from tests.acceptance.image_server import ImageServer, opened_image_server
from tests.acceptance.patience import wait_for
from tests.acceptance.weights import write_weights

pytestmark = [pytest.mark.torch, pytest.mark.slow, pytest.mark.timeout(300)]

FINERY: dict[str, Any] = {
    "vae": "negative",
    "loras": [{"model_id": "peft", "weight": 0.5}],
    "long_prompt_technique": "compel",
    "steps": 4,
    "cfg": 2,
    "max_batch": 1,
}
NOTHING: dict[str, Any] = {
    "vae": None, "loras": None, "long_prompt_technique": None, "steps": 3, "cfg": 4, "max_batch": None
}  # fmt: skip
POSE = {"pose_image_blob": png(Image.fromarray(skimage.data.astronaut()))}


@pytest.fixture(scope="module")
def image_server() -> Iterator[ImageServer]:
    """A server with two checkpoints of SD and one of SDXL, and what can be added to them."""
    with opened_image_server() as server:
        write_weights(server.folder)
        write_random_checkpoint(server.folder / "other.safetensors", base=ModelBase.SD, seed=8)
        for kind, name, file in (
            ("checkpoint", "sd", "sd.safetensors"),
            ("checkpoint", "other", "other.safetensors"),
            ("checkpoint", "sdxl", "sdxl.safetensors"),
            ("lora", "peft", "peft.safetensors"),
            ("vae", "negative", "negative.safetensors"),
            ("controlnet", "canny", "canny"),
        ):
            server.register(kind, name, (server.folder / file).as_uri())
        yield server


def edit(server: ImageServer, engine: str, **values: object) -> bool:
    """Edit an engine. Returns: whether it reloads."""
    answer = server.http.patch(f"/engines/{engine}", json=values)
    assert answer.status_code == 200, answer.text
    return bool(answer.json()["reloads"])


def shown(server: ImageServer, engine: str) -> dict[str, Any]:
    found: dict[str, Any] = server.http.get(f"/engines/{engine}").json()
    return found


def closed(server: ImageServer, engine: str) -> None:
    assert server.http.patch(f"/engines/{engine}/stop").status_code == 202
    wait_for("the engine to close", lambda: shown(server, engine)["status"] == "closed", 60)


def test_a_running_engine_becomes_another_one_without_a_new_worker(image_server: ImageServer) -> None:
    image_server.create_engine("plain", "sd")
    image_server.create_engine("dressed", "sd", **FINERY, control_models=["canny"], control_net="canny")
    prompt = "a (red)1.4 ball"
    dressed = image_server.draw(engine="dressed", prompt=prompt).pixels
    controlled = image_server.draw(engine="dressed", files=POSE, prompt=prompt).pixels
    closed(image_server, "dressed")
    plain = image_server.draw(engine="plain", prompt=prompt).pixels
    began = shown(image_server, "plain")["started_at"]

    assert not edit(image_server, "plain", **FINERY)
    assert np.array_equal(image_server.draw(engine="plain", prompt=prompt).pixels, dressed)
    named = image_server.draw(engine="plain", files=POSE, prompt=prompt, control_models=["canny"])
    assert np.array_equal(named.pixels, controlled), "a ControlNet that the job names itself"
    assert not edit(image_server, "plain", control_models=["canny"], control_net="canny", replicas=1)
    assert np.array_equal(image_server.draw(engine="plain", files=POSE, prompt=prompt).pixels, controlled)
    assert not edit(image_server, "plain", control_models=None, control_net=None, name="simple", **NOTHING)
    assert np.array_equal(image_server.draw(engine="simple", prompt=prompt).pixels, plain)
    assert not np.array_equal(plain, dressed)

    assert shown(image_server, "simple")["started_at"] == began, "the same worker made all of them"
    closed(image_server, "simple")


def test_another_checkpoint_is_loaded_after_the_running_jobs_and_makes_the_waiting_ones(
    image_server: ImageServer,
) -> None:
    image_server.create_engine("reference", "other")
    wanted = image_server.draw(engine="reference", seed=9).pixels
    closed(image_server, "reference")
    image_server.create_engine("turncoat", "sd", max_batch=1)
    first = image_server.draw(engine="turncoat")
    jobs = [image_server.submit(engine="turncoat", seed=9, steps=60 if n < 2 else 3) for n in range(4)]
    wait_for("a job at work", lambda: shown(image_server, "turncoat")["queue"]["processing"], 60)

    refused = image_server.http.patch("/engines/turncoat", json={"checkpoint": "sdxl"})
    assert (refused.status_code, refused.json()["code"]) == (409, "illegal_move")
    assert refused.json()["fields"][0]["field"] == "checkpoint"
    assert edit(image_server, "turncoat", checkpoint="other")

    made = [image_server.drawn(job_id) for job_id in jobs]
    checkpoints = [one.images[0]["names"][one.images[0]["checkpoint"]] for one in made]
    assert (checkpoints[0], checkpoints[-1]) == ("sd", "other")
    assert np.array_equal(made[-1].pixels, wanted)
    assert (
        image_server.http.get(f"/images/{first.images[0]['image_id']}").json()["checkpoint"]
        == (first.images[0]["checkpoint"])
    ), "an image stays what it was made with"
    closed(image_server, "turncoat")


def test_images_stay_when_their_engine_is_deleted_without_them(image_server: ImageServer) -> None:
    image_server.create_engine("passing", "sd")
    made = image_server.draw(engine="passing", prompt="a green box")
    closed(image_server, "passing")
    answer = image_server.http.delete("/engines/passing", params={"images": "keep"})
    assert answer.status_code == 204, answer.text

    assert image_server.http.get("/engines/passing").status_code == 404
    (image,) = image_server.http.get("/images", params={"engine": "passing"}).json()["items"]
    assert (image["image_id"], image["prompt"]) == (made.images[0]["image_id"], "a green box")
    assert image["names"][image["engine_id"]] == "passing"
    assert image_server.download(image["download"]) == made.files[0]
    found = image_server.http.get("/images", params={"checkpoint": "sd", "prompt": "green"}).json()["items"]
    assert [one["image_id"] for one in found] == [image["image_id"]]
    job = image_server.http.get(f"/jobs/{image['job_id']}").json()
    assert (job["status"], job["engine_id"]) == ("finished", image["engine_id"])
    image_server.create_engine("passing", "sd")
