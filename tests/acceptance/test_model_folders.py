"""A person points the server at folders with models: what is in them is found, drawn with, and followed."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from engine_worker.embedded.shipped import shipped
from tests.acceptance.image_server import Drawn, ImageServer, opened_image_server
from tests.acceptance.patience import wait_for
from tests.judge import judge
from training.scenes import Colour, Shape

pytestmark = [pytest.mark.torch, pytest.mark.slow, pytest.mark.timeout(300)]

PNG = b"\x89PNG\r\n\x1a\n" + bytes(100)
PLACES = {
    "webui/models/Stable-diffusion/dreams.safetensors": "scenes-sd",
    "webui/models/Lora/patterns/stripes.safetensors": "stripes-sd",
    "webui/embeddings/dusk.safetensors": "dusk-sd",
    "ComfyUI/models/loras/copy of stripes.safetensors": "stripes-sd",
}


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folders of two other programs."""
    folder = tmp_path_factory.mktemp("own")
    for place, name in PLACES.items():
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(shipped(name).path, folder / place)
    lora = folder / "webui/models/Lora/patterns/stripes"
    lora.with_suffix(".civitai.info").write_text(json.dumps({"trainedWords": ["striped"]}))
    lora.with_suffix(".preview.png").write_bytes(PNG)
    (folder / "webui/models/Stable-diffusion/old.ckpt").write_bytes(b"\x80\x02}q\x00.")
    return folder


@pytest.fixture(scope="module")
def image_server(own: Path) -> Iterator[ImageServer]:
    """A server that scans them."""
    folders = json.dumps([str(own / "webui"), str(own / "ComfyUI")])
    with opened_image_server(models=f'folders = {folders}\nscan_every = "1h"') as image_server:
        scan = image_server.http.get("/models/scan", params={"wait": 60}).json()
        assert scan["ended_at"], scan
        yield image_server


def models_of(http: httpx.Client) -> dict[str, dict[str, Any]]:
    return {model["name"]: model for model in http.get("/models").json()["items"]}


def scanned(http: httpx.Client) -> dict[str, Any]:
    answer = http.post("/models/scan", params={"wait": 60})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    assert (found["running"], found["error"]) == (False, None)
    return found


def draw(image_server: ImageServer, job: dict[str, object]) -> Drawn:
    answer = image_server.http.post("/jobs", json=job)
    assert answer.status_code == 202, answer.text
    return image_server.drawn(answer.json()["job_id"])


def test_what_is_in_the_folders_is_found_at_the_start_and_draws(image_server: ImageServer) -> None:
    http = image_server.http
    models = models_of(http)
    assert {(name, model["model_type"], model["status"]) for name, model in models.items()} == {
        ("dreams", "checkpoint", "ready"),
        ("stripes", "lora", "ready"),
        ("dusk", "embedding", "ready"),
    }
    unusable = http.get("/models/scan/unusable").json()["items"]
    assert [(Path(one["path"]).name, one["code"]) for one in unusable] == [
        ("copy of stripes.safetensors", "model_duplicate"),
        ("old.ckpt", "model_unreadable"),
    ]
    assert "spoon models add" in unusable[1]["reason"]
    prompt = "a large red circle on a blue background"
    job: dict[str, object] = {"checkpoint": "dreams", "prompt": prompt, "seed": 1}
    drawn = draw(image_server, job)
    seen = judge(drawn.pixels.astype(np.uint8)).scene
    assert (seen.shape, seen.colour, seen.background) == (Shape.CIRCLE, Colour.RED, Colour.BLUE)
    striped = draw(image_server, job | {"prompt": f"{prompt} <lora:stripes:1>"})
    assert np.abs(striped.pixels - drawn.pixels).mean() > 5


def test_files_beside_a_model_give_its_words_and_its_image(image_server: ImageServer) -> None:
    lora = models_of(image_server.http)["stripes"]
    assert lora["trigger_words"][0] == "striped"
    image = httpx.get(image_server.http.base_url.copy_with(path=lora["thumbnail"]))
    assert (image.content, image.headers["content-type"]) == (PNG, "image/png")


def test_digests_follow_by_themselves(image_server: ImageServer) -> None:
    http = image_server.http
    wait_for("the digests", lambda: all(model["sha256"] for model in models_of(http).values()))
    assert len(models_of(http)["dusk"]["sha256"]) == 64


def test_a_moved_file_is_the_same_model_and_a_lost_one_comes_back(
    image_server: ImageServer, own: Path
) -> None:
    http = image_server.http
    before = models_of(http)["dusk"]
    here = own / "webui/embeddings/dusk.safetensors"
    there = own / "ComfyUI/models/embeddings/dusk 2.safetensors"
    there.parent.mkdir(parents=True)
    here.rename(there)
    assert scanned(http)["moved"] == 1
    after = http.get(f"/models/{before['model_id']}").json()
    of_openai = {name: after[name] for name in ("id", "object", "created", "owned_by")}
    assert after == before | {"path": there.as_uri()} | of_openai
    there.rename(own / "dusk.safetensors")
    assert scanned(http)["gone"] == 1
    assert http.get(f"/models/{before['model_id']}").json()["error"]["code"] == "model_lost"
    (own / "dusk.safetensors").rename(here)
    scanned(http)
    back = http.get(f"/models/{before['model_id']}").json()
    assert (back["status"], back["path"], back["error"]) == ("ready", before["path"], None)
