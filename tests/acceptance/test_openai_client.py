"""OpenAI's own client, unchanged, against a whole server with the fake engine."""

import asyncio
import base64
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import httpx
import openai
import pytest
from openai import OpenAI
from PIL import Image

from tests.acceptance.conftest import cleaned_up, copy_of
from tests.acceptance.orders import PLAIN
from tests.acceptance.patience import PATIENCE_S, wait_for
from tests.acceptance.processes import API
from tests.acceptance.server import Server
from tests.unit.api.sample_pictures import PNG, as_text

KEY: Final = "sk-none"
STEPS: Final = 4
ASKED: Final = {"steps": 3, "scheduler": "euler", "negative_prompt": "a dog"}


@pytest.fixture(scope="module")
def studio(installed: Path) -> Iterator[Server]:
    """A server with two checkpoints, and the engine `studio` on one of them."""
    with copy_of(installed) as folder, cleaned_up(Server(folder, with_api=True)) as server:
        server.start()
        engine = {"name": "studio", "checkpoint": PLAIN, "width": 64, "height": 64, "steps": STEPS}
        assert httpx.post(f"{url_of(server)}/engines", json=engine).status_code == 201
        yield server


@pytest.fixture
def http(studio: Server) -> Iterator[httpx.Client]:
    """A client of our own routes."""
    with httpx.Client(base_url=url_of(studio), timeout=PATIENCE_S, trust_env=False) as client:
        yield client


@pytest.fixture
def client(studio: Server) -> Iterator[OpenAI]:
    with OpenAI(base_url=url_of(studio), api_key=KEY, max_retries=0, timeout=PATIENCE_S) as client:
        yield client


@pytest.fixture
def go(studio: Server, request: pytest.FixtureRequest) -> Path:
    """Jobs with `[until ...]` this file wait for it."""
    return studio.folder / f"go-{request.node.name}"


def url_of(server: Server) -> str:
    return f"http://127.0.0.1:{server.port}/v1"


def decoded(image: Any) -> bytes:
    return base64.b64decode(image.b64_json)


def jobs_about(http: httpx.Client, prompt: str = "") -> list[dict[str, Any]]:
    """Those whose prompts contain this, newest first."""
    return [
        job for job in http.get("/jobs", params={"limit": 200}).json()["items"] if prompt in job["prompt"]
    ]


def test_an_image_is_that_of_our_own_route(client: OpenAI, http: httpx.Client) -> None:
    """To the byte, and as often as it is asked for."""
    more = ASKED | {"seed": 7}
    first, again = (
        client.images.generate(model="studio", prompt="a red fox", extra_body=more) for _ in range(2)
    )
    ours = http.post(
        "/jobs",
        params={"wait": 30},
        json={"engine": "studio", "prompt": "a red fox", "give_up_after": 30, "seed": 7, **ASKED},
    ).json()
    file = http.get(f"/images/{ours['image_id']}/download").content
    assert first.data is not None
    assert again.data is not None
    assert [decoded(image) for image in (*first.data, *again.data)] == [file, file]
    assert (first.size, first.output_format, first.background) == ("64x64", "png", "opaque")


def test_its_jobs_are_jobs_like_any_other(client: OpenAI, http: httpx.Client) -> None:
    answer = client.images.with_raw_response.generate(
        model="studio",
        prompt="a blue fox",
        n=2,
        size="128x64",
        user="me",
        extra_body={"num_inference_steps": 3},
    )
    (job,) = jobs_about(http, "a blue fox")
    assert answer.headers["x-spoon-job"] == job["job_id"]
    assert (job["prompt"], job["count"], job["steps"], job["width"]) == ("a blue fox", 2, 3, 128)
    images = answer.parse()
    assert images.data is not None
    assert [image.to_dict()["image_id"] for image in images.data] == job["image_ids"]
    assert images.to_dict()["warnings"] == ["user has no effect: nothing is kept about users"]
    first = f"/images/{job['image_ids'][0]}"
    wait_for("its download counted", lambda: http.get(first).json()["downloads"] == 1)


def test_a_link_works_without_a_key_and_after_a_restart(client: OpenAI, studio: Server) -> None:
    made = client.images.generate(model="studio", prompt="a fox", response_format="url", n=2)
    assert made.data is not None
    links = [str(image.url) for image in made.data]
    files = [httpx.get(link) for link in links]
    assert [Image.open(BytesIO(file.content)).size for file in files] == [(64, 64)] * 2
    assert studio.stop() == 0
    studio.start()
    assert [httpx.get(link).content for link in links] == [file.content for file in files]
    changed = httpx.get(links[0].replace("signature=", "signature=A"))
    assert (changed.status_code, changed.json()["code"]) == (403, "bad_signature")
    assert (studio.folder / "bus" / "links.key").stat().st_mode & 0o777 == 0o600


def test_a_stream_shows_the_image_as_it_becomes(client: OpenAI) -> None:
    stream = client.images.generate(
        model="studio", prompt="a fox [slow 600ms]", stream=True, partial_images=2, output_format="png"
    )
    *partial, last = stream
    assert [event.type for event in partial] == ["image_generation.partial_image"] * 2
    assert [event.to_dict()["partial_image_index"] for event in partial] == [0, 1]
    assert all(Image.open(BytesIO(decoded(event))).format == "JPEG" for event in partial)
    assert last.type == "image_generation.completed"
    assert (last.size, last.output_format, last.usage.total_tokens) == ("64x64", "png", 0)
    assert Image.open(BytesIO(decoded(last))).size == (64, 64)


def test_a_stream_raises_the_error_of_its_job(client: OpenAI) -> None:
    stream = client.images.generate(model="studio", prompt="a fox [fail]", stream=True)
    with pytest.raises(openai.APIError, match="told the fake engine to fail") as raised:
        list(stream)
    assert raised.value.code == "job_rejected"


def test_an_edit_sends_its_images_and_mask(client: OpenAI) -> None:
    mask = Image.new("RGBA", (24, 24), (0, 0, 0, 255))
    mask.paste((0, 0, 0, 0), (4, 4, 12, 12))
    file = BytesIO()
    mask.save(file, "PNG")
    edited = client.images.edit(
        model="studio", prompt="[echo] a hat", image=[PNG, PNG], mask=file.getvalue(), input_fidelity="high"
    )
    warnings = " ".join(edited.to_dict()["warnings"])  # type: ignore[arg-type]
    assert "reference " in warnings
    assert "mask " in warnings
    assert "only the first one has an effect" in warnings
    assert "input_fidelity has no effect" in warnings
    stream = client.images.edit(model="studio", prompt="a hat", image=PNG, stream=True, partial_images=1)
    assert [event.type for event in stream][-1] == "image_edit.completed"


def test_variations_are_images_of_an_image(client: OpenAI) -> None:
    with pytest.deprecated_call():  # by OpenAI
        made = client.images.create_variation(model="studio", image=PNG, n=2, size="256x256")
    assert made.data is not None
    assert len({image.b64_json for image in made.data}) == 2


def test_models_are_listed_and_found(client: OpenAI) -> None:
    names = [model.id for model in client.models.list()]
    assert {"studio", PLAIN} <= set(names)
    assert [client.models.retrieve(name).id for name in names] == names
    with pytest.raises(openai.NotFoundError, match="no model has the id or name 'none'"):
        client.models.retrieve("none")


@pytest.mark.parametrize(
    ("asked", "kind", "param", "code", "told"),
    [
        ({"model": "dall-e-3"}, openai.NotFoundError, "model", "model_not_found", "use one of studio"),
        ({"size": "65x64"}, openai.BadRequestError, "size", "invalid_field", "must be a multiple of 8"),
        ({"n": 1_000}, openai.BadRequestError, "n", "invalid_field", "must be at most 16"),
        ({"output_format": "gif"}, openai.BadRequestError, "output_format", "invalid_field", "not supported"),
        (
            {"background": "transparent"},
            openai.BadRequestError,
            "background",
            "invalid_field",
            "spoon models add",
        ),
        ({"extra_body": {"cgf": 4}}, openai.BadRequestError, "cgf", "invalid_field", "did you mean cfg"),
        ({"prompt": "[fail]"}, openai.BadRequestError, None, "job_rejected", "told the fake engine"),
        ({"prompt": "[oom]"}, openai.InternalServerError, None, "out_of_memory", "told the fake engine"),
    ],
)
def test_an_error_shows_what_to_change(
    client: OpenAI,
    asked: dict[str, Any],
    kind: type[openai.APIStatusError],
    param: str | None,
    code: str,
    told: str,
) -> None:
    with pytest.raises(kind, match=told) as raised:
        client.images.generate(**{"model": "studio", "prompt": "a fox"} | asked)
    assert (raised.value.param, raised.value.code) == (param, code)


def test_a_job_that_failed_is_not_sent_again(client: OpenAI, http: httpx.Client) -> None:
    """The client would repeat it after any other 5xx."""
    with pytest.raises(openai.InternalServerError):
        client.with_options(max_retries=2).images.generate(model="studio", prompt="one [oom]")
    assert len(jobs_about(http, "one [oom]")) == 1


class Tries(openai.DefaultHttpxClient):
    """The client's own transport; it tells before each try how many there were."""

    def __init__(self, told: Callable[[int], None]) -> None:
        self.count = 0
        self._told = told
        super().__init__(event_hooks={"request": [self._tell]})

    def _tell(self, request: object) -> None:
        self._told(self.count)
        self.count += 1


def test_a_client_that_was_impatient_gets_the_image_of_its_first_try(
    studio: Server, http: httpx.Client, go: Path
) -> None:
    """The first answer does not come in time; the second try joins the job that is being made."""
    with Tries(lambda tries: go.touch() if tries else None) as tries:
        client = OpenAI(base_url=url_of(studio), api_key=KEY, max_retries=2, http_client=tries)
        prompt = f"impatient [until {go}]"
        made = client.with_options(timeout=2).images.generate(model="studio", prompt=prompt)
    (job,) = jobs_about(http, "impatient")
    assert made.to_dict()["job_id"] == job["job_id"]
    assert tries.count == 2


def test_an_edit_is_joined_although_no_form_is_like_another(
    studio: Server, http: httpx.Client, go: Path
) -> None:
    with Tries(lambda tries: go.touch() if tries else None) as tries:
        client = OpenAI(base_url=url_of(studio), api_key=KEY, max_retries=2, http_client=tries)
        prompt = f"hasty [until {go}]"
        client.with_options(timeout=2).images.edit(model="studio", prompt=prompt, image=PNG)
    assert len(jobs_about(http, "hasty")) == 1
    assert tries.count == 2


def test_a_client_whose_api_died_gets_the_image_of_its_first_try(
    studio: Server, http: httpx.Client, go: Path
) -> None:
    """The process that knew of the request is gone: the Manager's keys tell."""
    client = OpenAI(base_url=url_of(studio), api_key=KEY, max_retries=6, timeout=PATIENCE_S)
    with ThreadPoolExecutor() as pool:
        made = pool.submit(client.images.generate, model="studio", prompt=f"bereft [until {go}]")
        (job,) = wait_for("the job", lambda: jobs_about(http, "bereft"))
        (api,) = studio.processes(API)
        api.send(signal.SIGKILL)
        wait_for("another API", lambda: api not in studio.processes(API) and studio.is_api_there())
        go.touch()
        assert made.result(PATIENCE_S).to_dict()["job_id"] == job["job_id"]
    assert len(jobs_about(http, "bereft")) == 1


def test_the_same_request_of_a_person_is_another_image(client: OpenAI, http: httpx.Client) -> None:
    first, second = (client.images.generate(model="studio", prompt="twice") for _ in range(2))
    assert first.to_dict()["job_id"] != second.to_dict()["job_id"]
    assert len(jobs_about(http, "twice")) == 2


def test_a_job_whose_client_left_goes_on(client: OpenAI, http: httpx.Client, go: Path) -> None:
    """It may come back, and the image is in the list; who does not want it cancels the job."""
    stream = client.images.generate(model="studio", prompt=f"left [until {go}]", stream=True)
    stream.close()
    (job,) = jobs_about(http, "left")
    go.touch()
    wait_for("its image", lambda: http.get(f"/jobs/{job['job_id']}").json()["status"] == "finished")


def test_a_job_that_somebody_cancels_is_an_error_of_its_client(
    client: OpenAI, http: httpx.Client, go: Path
) -> None:
    with ThreadPoolExecutor() as pool:
        made = pool.submit(client.images.generate, model="studio", prompt=f"unwanted [until {go}]")
        (job,) = wait_for("the job", lambda: jobs_about(http, "unwanted"))
        http.post(f"/jobs/{job['job_id']}/cancel").raise_for_status()
        with pytest.raises(openai.BadRequestError, match="was cancelled"):
            made.result(PATIENCE_S)
    go.touch()


def test_many_clients_wait_at_once(studio: Server, go: Path) -> None:
    """More than there are threads: none is held meanwhile."""

    async def ask() -> list[openai.types.ImagesResponse]:
        async with openai.AsyncOpenAI(base_url=url_of(studio), api_key=KEY, max_retries=0) as client:
            tasks = [
                asyncio.create_task(client.images.generate(model="studio", prompt=f"crowd [until {go}]"))
                for _ in range(80)
            ]
            _, waiting = await asyncio.wait(tasks, timeout=2)
            assert len(waiting) == len(tasks)
            assert (await client.models.list()).data
            go.touch()
            return await asyncio.gather(*tasks)

    assert len(asyncio.run(ask())) == 80


OPEN_WEBUI: Final = {"prompt": "a fox", "n": 1, "size": "64x64", "response_format": "b64_json"}
N8N: Final = {"prompt": "a fox", "quality": "standard", "style": "vivid", "response_format": "url"}


def test_requests_as_other_programs_send_them(http: httpx.Client) -> None:
    with_key = {"Authorization": f"Bearer {KEY}"}
    answer = http.post("/images/generations", json={"model": "studio", **OPEN_WEBUI}, headers=with_key)
    assert answer.status_code == 200, answer.text
    assert base64.b64decode(answer.json()["data"][0]["b64_json"]).startswith(PNG[:8])
    edited = http.post(
        "/images/edits",
        data={"model": "studio", "prompt": "a hat", "n": "1", "response_format": "b64_json"},
        files=[("image[]", ("a.png", PNG, "image/png")), ("image[]", ("b.png", PNG, "image/png"))],
        headers=with_key,
    )
    assert edited.status_code == 200, edited.text
    linked = http.post("/images/generations", json={"model": "studio", **N8N}, headers=with_key)
    assert httpx.get(linked.json()["data"][0]["url"], headers=with_key).status_code == 200
    assert len(linked.json()["warnings"]) == 2


BOMB: Final = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\xff\xff\0\0\xff\xff\x08\2\0\0\0" + bytes(64)
"""A PNG that says that it has four thousand million pixels."""
FORM: Final = "multipart/form-data; boundary=seam"


@pytest.mark.parametrize(
    ("path", "request_", "status"),
    [
        ("generations", {"content": b""}, 415),
        ("generations", {"json": []}, 400),
        ("generations", {"json": {"prompt": None}}, 400),
        ("generations", {"json": {"prompt": ["a"]}}, 400),
        ("generations", {"json": {"prompt": "a" * 100_001}}, 400),
        ("generations", {"json": {"prompt": "a\0b"}}, 400),
        ("generations", {"json": {"prompt": "a", "n": 0}}, 400),
        ("generations", {"json": {"prompt": "a", "n": 1e9}}, 400),
        ("generations", {"json": {"prompt": "a", "n": True}}, 400),
        ("generations", {"json": {"prompt": "a", "size": "9999999x9999999"}}, 400),
        ("generations", {"json": {"prompt": "a", "size": "8192x8192"}}, 400),
        ("generations", {"json": {"prompt": "a", "size": 512}}, 400),
        ("generations", {"json": {"prompt": "a", "stream": "yes"}}, 400),
        ("generations", {"json": {"prompt": "a", "model": ""}}, 400),
        ("generations", {"json": {"prompt": "a", "model": "../../etc/passwd"}}, 404),
        ("generations", {"json": {"prompt": "a", "model": "a\nb"}}, 400),
        ("generations", {"json": {"prompt": "a", "model": "x" * 201}}, 400),
        ("generations", {"json": {"prompt": "a", "quality": ["high"]}}, 400),
        ("generations", {"json": {"prompt": "a", "response_format": "file"}}, 400),
        ("generations", {"json": {"prompt": "a", "reference_image_blob": as_text(BOMB)}}, 400),
        ("generations", {"json": {"prompt": "a", "like": "none"}}, 404),
        ("generations", {"json": {"prompt": "a", "callback_url": "ftp://127.0.0.1/"}}, 400),
        ("generations", {"content": b"{" * 100, "headers": {"Content-Type": "application/json"}}, 400),
        ("generations", {"content": b'{"prompt":"a","prompt":"b"}',
                         "headers": {"Content-Type": "application/json"}}, 400),
        ("generations", {"content": b'{"prompt":"a","seed":NaN}',
                         "headers": {"Content-Type": "application/json"}}, 400),
        ("generations?size=64x64", {"json": {"prompt": "a"}}, 400),
        ("generations", {"json": {"prompt": "a"}, "headers": {"Host": "evil.example"}}, 403),
        ("generations", {"json": {"prompt": "a"}, "headers": {"Origin": "https://evil.example"}}, 403),
        ("generations", {"json": {"prompt": "a"}, "headers": {"Idempotency-Key": "k" * 201}}, 400),
        ("edits", {"json": {"prompt": "a"}}, 400),
        ("edits", {"json": {"prompt": "a", "image": "%%%"}}, 400),
        ("edits", {"json": {"prompt": "a", "image": []}}, 400),
        ("edits", {"json": {"prompt": "a", "image": 7}}, 400),
        ("edits", {"data": {"prompt": "a"}, "files": {"image": ("a.png", BOMB)}}, 400),
        ("edits", {"data": {"prompt": "a"}, "files": {"image": ("a.gif", b"GIF89a")}}, 400),
        ("edits", {"data": {"prompt": "a"}, "files": {"image": ("a.png", b"")}}, 400),
        ("edits", {"data": {"prompt": "a", "n": "1e3"}, "files": {"image": ("a.png", PNG)}}, 400),
        ("edits", {"data": {"prompt": "a", "n": "-1"}, "files": {"image": ("a.png", PNG)}}, 400),
        ("edits", {"data": {"prompt": "a"}, "files": [("mask", ("a.png", PNG))] * 2}, 400),
        ("edits", {"data": {"prompt": ["a", "b"]}, "files": {"image": ("a.png", PNG)}}, 400),
        ("edits", {"content": b"--seam\r\n", "headers": {"Content-Type": FORM}}, 400),
        ("edits", {"content": b"x" * 99, "headers": {"Content-Type": "multipart/form-data"}}, 400),
        ("edits", {"content": b"x" * (33 << 20), "headers": {"Content-Type": FORM}}, 413),
        ("variations", {"json": {}}, 400),
        ("variations", {"data": {"n": "99"}, "files": {"image": ("a.png", PNG)}}, 400),
    ],
)  # fmt: skip
def test_wrong_requests_are_refused_in_the_shape_of_openai(
    http: httpx.Client, path: str, request_: dict[str, Any], status: int
) -> None:
    before = jobs_about(http)
    answer = http.post(f"/images/{path}", **request_)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/json")
    error = answer.json()["error"]
    assert list(error) == ["message", "type", "param", "code"]
    assert len(answer.content) < 10_000
    assert jobs_about(http) == before
