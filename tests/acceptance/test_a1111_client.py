"""The package webuiapi, unchanged, against a whole server with the fake engine: jobs, progress, options."""

import json
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
import webuiapi
from requests.adapters import HTTPAdapter

from kernel.protocol.api_keys import CreateKey, KeyIssued
from kernel.protocol.enums import Role
from tests.acceptance.conftest import cleaned_up, copy_of
from tests.acceptance.orders import LOADS_FOR_7_S, PLAIN
from tests.acceptance.patience import PATIENCE_S, wait_for
from tests.acceptance.server import Server

SMALL: Final = {"width": 64, "height": 64, "steps": 4}
ANNA, BEN = "127.0.0.1", "127.0.0.2"


class FromAddress(HTTPAdapter):
    """Connects from one of this machine's addresses, so that the server can tell two clients apart."""

    def __init__(self, address: str) -> None:
        self._address = address
        super().__init__()

    def init_poolmanager(self, *args: Any, **more: Any) -> None:
        super().init_poolmanager(*args, source_address=(self._address, 0), **more)


@pytest.fixture(scope="module")
def studio(installed: Path) -> Iterator[Server]:
    with copy_of(installed) as folder, cleaned_up(Server(folder, with_api=True)) as server:
        server.start()
        yield server


@pytest.fixture
def http(studio: Server) -> Iterator[httpx.Client]:
    """A client of our own routes."""
    url = f"http://127.0.0.1:{studio.port}/v1"
    with httpx.Client(base_url=url, timeout=PATIENCE_S, trust_env=False) as client:
        yield client


@pytest.fixture
def anna(studio: Server) -> Iterator[Any]:
    yield from client_at(studio, ANNA)


@pytest.fixture
def ben(studio: Server) -> Iterator[Any]:
    yield from client_at(studio, BEN)


def client_at(studio: Server, address: str) -> Iterator[Any]:
    """The package, with the checkpoint that behaves."""
    api = webuiapi.WebUIApi(port=studio.port)
    api.session.trust_env = False
    api.session.mount("http://", FromAddress(address))
    api.set_options({"sd_model_checkpoint": PLAIN})
    yield api
    api.session.close()


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as pool:
        yield pool


@pytest.fixture
def go(studio: Server, request: pytest.FixtureRequest) -> Path:
    """Jobs with `[until ...]` this file wait for it."""
    return studio.folder / f"go-{request.node.name}"


def held(api: Any, pool: ThreadPoolExecutor, go: Path, **fields: Any) -> "Future[Any]":
    """A request whose job waits for the file."""
    return pool.submit(api.txt2img, prompt=f"a cat [until {go}]", **SMALL, **fields)


def jobs(http: httpx.Client, **filters: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = http.get("/jobs", params={"limit": "200", **filters}).json()["items"]
    return found


def downloads(http: httpx.Client, job_id: str) -> list[int]:
    images = http.get("/images", params={"job_id": job_id}).json()["items"]
    return [image["downloads"] for image in images]


def count(api: Any) -> int:
    found: int = api.get_progress()["state"]["job_count"]
    return found


def test_it_finds_controlnet_and_everything_that_it_lists(anna: Any) -> None:
    assert anna.has_controlnet
    titles = anna.util_get_model_names()
    assert {title.partition(".")[0] for title in titles} >= {PLAIN, LOADS_FOR_7_S}
    assert "Euler a" in anna.util_get_sampler_names()
    assert "karras" in anna.util_get_scheduler_names()
    for name in (
        "cmd_flags", "sd_vae", "upscalers", "latent_upscale_modes", "loras", "hypernetworks",
        "face_restorers", "realesrgan_models", "prompt_styles", "scripts", "embeddings", "memory",
        "schedulers", "samplers",
    ):  # fmt: skip
        assert isinstance(getattr(anna, f"get_{name}")(), list | dict)
    assert anna.refresh_checkpoints() is None
    assert "none" in anna.controlnet_module_list()
    assert anna.controlnet_model_list() == []
    assert anna.controlnet_version() == 2


def test_a_request_is_a_job_like_any_other(anna: Any, http: httpx.Client) -> None:
    made = anna.txt2img(prompt="a red fox", seed=7, n_iter=2, **SMALL)
    assert [image.size for image in made.images] == [(64, 64)] * 2
    assert made.info["all_seeds"] == [7, 8]
    assert json.loads(made.json["info"]) == made.info
    (job,) = [one for one in jobs(http) if one["prompt"] == "a red fox"]
    assert (job["status"], job["seed"], job["count"], job["scheduler"]) == ("finished", 7, 2, "euler_a")
    wait_for("both downloads", lambda: downloads(http, job["job_id"]) == [1, 1], PATIENCE_S)


def test_progress_is_that_of_the_job_while_it_runs(anna: Any, pool: ThreadPoolExecutor, go: Path) -> None:
    anna.util_wait_for_ready(check_interval=0.05)
    made = held(anna, pool, go)
    wait_for("the job to begin", lambda: anna.get_progress()["progress"] > 0, PATIENCE_S)
    go.touch()
    assert len(made.result(PATIENCE_S).images) == 1
    assert (anna.get_progress()["progress"], count(anna)) == (0.0, 0)


def test_two_clients_interrupt_their_own_jobs_only(
    anna: Any, ben: Any, pool: ThreadPoolExecutor, go: Path, http: httpx.Client
) -> None:
    hers, his = held(anna, pool, go), held(ben, pool, go)
    wait_for("both jobs", lambda: count(anna) == count(ben) == 1, PATIENCE_S)
    assert anna.interrupt() == {}
    interrupted = hers.result(PATIENCE_S)
    assert interrupted.images == []
    assert count(ben) == 1
    go.touch()
    assert len(his.result(PATIENCE_S).images) == 1
    assert sorted(job["status"] for job in jobs(http)[:2]) == ["cancelled", "finished"]


def test_the_job_of_an_id_is_found_among_several_of_one_client(
    anna: Any, pool: ThreadPoolExecutor, go: Path, studio: Server
) -> None:
    url = f"http://127.0.0.1:{studio.port}"
    sent = [{"prompt": f"a cat [until {go}]", "force_task_id": f"task({n})", **SMALL} for n in range(3)]
    made = [
        pool.submit(httpx.post, f"{url}/sdapi/v1/txt2img", json=one, timeout=PATIENCE_S, trust_env=False)
        for one in sent
    ]
    wait_for("three jobs", lambda: pending(url) == {"task(0)", "task(1)", "task(2)"}, PATIENCE_S)
    httpx.post(f"{url}/sdapi/v1/interrupt", params={"force_task_id": "task(1)"}, trust_env=False)
    assert made[1].result(PATIENCE_S).json()["images"] == []
    assert pending(url) == {"task(0)", "task(2)"}
    go.touch()
    for one in (made[0], made[2]):
        assert len(one.result(PATIENCE_S).json()["images"]) == 1


def pending(url: str) -> set[str]:
    return set(httpx.get(f"{url}/internal/pending-tasks", trust_env=False).json()["tasks"])


def test_a_chosen_model_is_that_of_the_next_requests(anna: Any, http: httpx.Client) -> None:
    anna.util_set_model(LOADS_FOR_7_S)
    assert anna.util_get_current_model().startswith(LOADS_FOR_7_S)
    made = anna.txt2img(prompt="a slow fox", **SMALL, override_settings={"sd_model_checkpoint": PLAIN})
    assert made.info["sd_model_name"] == PLAIN
    anna.set_options({"sd_model_checkpoint": PLAIN})
    assert anna.txt2img(prompt="a fox", **SMALL).info["sd_model_name"] == PLAIN


def test_the_options_of_a_client_outlive_the_server(anna: Any, studio: Server) -> None:
    anna.set_options({"send_seed": False, "samples_format": "webp"})
    assert studio.stop() == 0
    studio.start()
    found = anna.get_options()
    assert (found["send_seed"], found["samples_format"]) == (False, "webp")
    anna.set_options({"send_seed": True, "samples_format": "png"})


def test_a_key_is_the_password_and_what_is_its_own_is_nobody_elses(
    server_with_api: Server, pool: ThreadPoolExecutor
) -> None:
    """Two people behind one address."""
    server_with_api.start()
    go = server_with_api.folder / "go"
    keys = [
        server_with_api.line.ask(CreateKey(name=name, role=Role.USER), KeyIssued).text or ""
        for name in ("anna", "ben")
    ]
    anna, ben = (webuiapi.WebUIApi(port=server_with_api.port, username="any", password=key) for key in keys)
    assert anna.has_controlnet
    anna.set_options({"sd_model_checkpoint": PLAIN})
    ben.set_options({"sd_model_checkpoint": PLAIN, "CLIP_stop_at_last_layers": 2})
    assert [one.get_options()["CLIP_stop_at_last_layers"] for one in (anna, ben)] == [1, 2]
    hers, his = held(anna, pool, go), held(ben, pool, go)
    wait_for("both jobs", lambda: count(anna) == count(ben) == 1, PATIENCE_S)
    ben.interrupt()
    assert his.result(PATIENCE_S).images == []
    assert count(anna) == 1
    go.touch()
    assert len(hers.result(PATIENCE_S).images) == 1
    nobody = httpx.get(f"http://127.0.0.1:{server_with_api.port}/sdapi/v1/options", trust_env=False)
    assert (nobody.status_code, nobody.json()["error"]) == (401, "key_missing")
    refused = ben.session.post(f"{ben.baseurl}/unload-checkpoint")
    assert (refused.status_code, refused.json()["error"]) == (403, "key_not_allowed")


@pytest.mark.parametrize(
    ("method", "words"),
    [
        (lambda api: api.txt2img(enable_hr=True), "not_supported"),
        (lambda api: api.txt2img(sampler_name="Nothing"), "Sampler not found"),
        (lambda api: api.txt2img(script_name="X/Y/Z plot"), "not found"),
        (lambda api: api.txt2img(n_iter=1000), "n_iter"),
        (lambda api: api.img2img(images=[]), "Init image not found"),
        (lambda api: api.interrogate("x"), "not_supported"),
        (lambda api: api.txt2img(prompt="a fox [fail]", **SMALL), "told the fake engine to fail"),
    ],
)
def test_what_cannot_be_is_an_error_with_the_reason(anna: Any, method: Any, words: str) -> None:
    with pytest.raises(RuntimeError, match="detail") as refused:
        method(anna)
    assert words in str(refused.value)
