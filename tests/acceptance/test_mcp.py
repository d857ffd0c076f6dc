"""The client of the official `mcp` package against `spoon mcp` and a whole server with the fake engine."""

import json
import secrets
import signal
from base64 import b64decode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from PIL import Image

pytest.importorskip("mcp")
from mcp.shared.exceptions import MCPError
from mcp_types import BlobResourceContents

from api.cli.main import run
from tests.acceptance.conftest import cleaned_up, copy_of
from tests.acceptance.mcp_host import (
    Host,
    Told,
    by_http,
    images_of,
    job_in,
    links_of,
    on_stdio,
    served,
    text_of,
)
from tests.acceptance.orders import PLAIN
from tests.acceptance.patience import PATIENCE_S, wait_for
from tests.acceptance.processes import API
from tests.acceptance.server import Server
from tests.unit.api.sample_pictures import PNG

SIDE_PX: Final = 64
NOWHERE: Final = "0197c5f2-8a51-7c31-9c7e-2b1f6d2f8e11"


@pytest.fixture(scope="module")
def studio(installed: Path) -> Iterator[Server]:
    with copy_of(installed) as folder, cleaned_up(Server(folder, with_api=True)) as server:
        server.start()
        make_engine(server)
        (folder / "pictures").mkdir()
        (folder / "pictures" / "fox.png").write_bytes(PNG)
        yield server


@pytest.fixture(scope="module")
def stdio(studio: Server) -> Iterator[Host]:
    files = str(studio.folder / "pictures")
    with on_stdio([*options_of(studio), "mcp", "--files", files], studio.folder) as host:
        yield host


@pytest.fixture(scope="module")
def mcp_url(studio: Server) -> Iterator[str]:
    with served(options_of(studio), studio.folder) as url:
        yield url


@pytest.fixture(scope="module")
def web(mcp_url: str) -> Iterator[Host]:
    with by_http(mcp_url) as host:
        yield host


@pytest.fixture(params=["stdio", "web"])
def host(request: pytest.FixtureRequest) -> Host:
    found: Host = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def http(studio: Server) -> Iterator[httpx.Client]:
    """A client of the REST API."""
    with httpx.Client(base_url=url_of(studio) + "/v1", timeout=PATIENCE_S, trust_env=False) as client:
        yield client


@pytest.fixture
def go(studio: Server) -> Path:
    """Jobs with `[until ...]` this file wait for it."""
    return studio.folder / f"go-{secrets.token_hex(4)}"


def options_of(server: Server) -> list[str]:
    return ["--config", str(server.config_file)]


def url_of(server: Server) -> str:
    return f"http://127.0.0.1:{server.port}"


def make_engine(server: Server, key: str | None = None) -> None:
    body = {"name": "studio", "checkpoint": PLAIN, "width": SIDE_PX, "height": SIDE_PX, "steps": 4}
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    answer = httpx.post(f"{url_of(server)}/v1/engines", json=body, headers=headers)
    assert answer.status_code == 201, answer.text


def jobs_about(http: httpx.Client, prompt: str) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = http.get("/jobs", params={"limit": 200}).json()["items"]
    return [job for job in items if prompt in job["prompt"]]


def test_one_call_makes_an_image_and_shows_it(host: Host, http: httpx.Client) -> None:
    result = host.call("generate_image", prompt="a red fox", engine="studio", seed=7)
    assert not result.is_error
    job = http.get(f"/jobs/{job_in(text_of(result))}").json()
    (preview,), (link,) = images_of(result), links_of(result)
    shown = Image.open(BytesIO(b64decode(preview.data)))
    assert (shown.format, shown.size, preview.mime_type) == ("JPEG", (SIDE_PX, SIDE_PX), "image/jpeg")
    assert (job["prompt"], job["seed"], job["image_ids"]) == ("a red fox", 7, [link.name])
    for said in ("64x64", "seed 7", job["job_id"], job["image_id"], f"/v1/images/{link.name}/download"):
        assert said in text_of(result)
    assert (link.mime_type, link.size) == ("image/png", http.get(f"/images/{link.name}").json()["size_bytes"])


def test_the_original_is_a_resource(host: Host, http: httpx.Client) -> None:
    (link,) = links_of(host.call("generate_image", prompt="a resource", engine="studio"))
    (content,) = host.read(str(link.uri)).contents
    assert isinstance(content, BlobResourceContents)
    assert content.mime_type == "image/png"
    assert b64decode(content.blob) == http.get(f"/images/{link.name}/download").content
    for wrong in (NOWHERE, "..%2Fjobs", "%00"):
        with pytest.raises(MCPError):
            host.read(f"spoon://images/{wrong}")


def test_progress_is_told_and_grows(host: Host) -> None:
    told = Told()
    result = host.call("generate_image", told, prompt="slow [slow 700ms]", engine="studio", wait_seconds=60)
    assert images_of(result)
    assert told.shares == sorted(set(told.shares))
    assert any("step" in message for message in told.messages), told


def test_a_job_that_takes_longer_is_asked_for_again_and_made_once(
    host: Host, http: httpx.Client, go: Path
) -> None:
    prompt = f"a patient fox [until {go}]"
    said = host.said("generate_image", prompt=prompt, engine="studio", wait_seconds=0.5)
    job_id = job_in(said)
    assert "Call job_status with this job_id" in said
    assert "not finished" in host.said("job_status", job_id=job_id, wait_seconds=0)
    assert job_id in host.said("queue_status")
    go.touch()
    assert images_of(host.call("job_status", job_id=job_id, wait_seconds=60))
    assert [job["job_id"] for job in jobs_about(http, prompt)] == [job_id]


def test_a_job_can_be_submitted_and_canceled(host: Host, go: Path) -> None:
    said = host.said("generate_image", prompt=f"x [until {go}]", engine="studio", wait_seconds=0)
    for _ in range(2):
        assert host.said("cancel_job", job_id=job_in(said)) == f"Job {job_in(said)} is cancelled."
    assert "was cancelled" in host.said("job_status", job_id=job_in(said))


def test_four_images_are_shown_and_five_refused(stdio: Host) -> None:
    result = stdio.call("generate_image", prompt="four", engine="studio", count=4)
    assert len(images_of(result)) == len(links_of(result)) == 4
    assert "less than or equal to 4" in text_of(
        stdio.call("generate_image", prompt="five", engine="studio", count=5)
    )


def test_arguments_are_checked_without_a_job(stdio: Host, http: httpx.Client) -> None:
    ask = {"prompt": "only checked", "engine": "studio", "validate_only": True}
    assert "valid" in stdio.said("generate_image", **ask)
    assert "width" in text_of(stdio.call("generate_image", **ask, width=63))
    assert jobs_about(http, "only checked") == []


def test_a_failed_job_is_an_error_with_its_reason(stdio: Host) -> None:
    result = stdio.call("generate_image", prompt="a fox [fail]", engine="studio")
    assert result.is_error
    assert "told the fake engine to fail" in text_of(result)
    assert "job_rejected" in text_of(result)


def test_what_the_server_has_is_listed(host: Host) -> None:
    (link,) = links_of(host.call("generate_image", prompt="a lighthouse keeper", engine="studio"))
    assert "studio" in host.said("list_engines")
    assert f"- {PLAIN}: checkpoint for sd" in host.said("list_models", model_type="checkpoint")
    assert "There is no model" in host.said("list_models", model_type="lora")
    found = host.said("find_images", prompt="lighthouse", limit=1)
    assert link.name in found
    assert "Prompt: a lighthouse keeper" in found
    seen = host.call("get_image", image_id=link.name)
    assert len(images_of(seen)) == 1
    assert "Prompt: a lighthouse keeper" in text_of(seen)


def test_a_list_goes_on_where_it_ended(stdio: Host) -> None:
    for _ in range(2):
        stdio.said("generate_image", prompt="a pair of otters", engine="studio")
    first = stdio.said("find_images", prompt="otters", limit=1)
    after = first.rpartition("after=")[2]
    second = stdio.said("find_images", prompt="otters", limit=1, after=after)
    assert first.splitlines()[0] != second.splitlines()[0]


def test_an_image_of_the_server_is_edited(host: Host, http: httpx.Client) -> None:
    (link,) = links_of(host.call("generate_image", prompt="before", engine="studio"))
    said = host.said("edit_image", image=link.name, prompt="after", engine="studio", strength=0.5)
    job = http.get(f"/jobs/{job_in(said)}").json()
    assert (job["inputs"], job["strength"]) == (["reference"], 0.5)
    reference = http.get(f"/images/{job['image_id']}/reference").content
    assert reference == http.get(f"/images/{link.name}/download").content


def test_local_files_are_read_only_in_the_folders_that_were_named(
    stdio: Host, web: Host, studio: Server
) -> None:
    fox = studio.folder / "pictures" / "fox.png"
    assert "is finished" in stdio.said("edit_image", image=str(fox), prompt="a hat", engine="studio")
    (studio.folder / "pictures" / "link.png").symlink_to(studio.config_file)
    outside = [str(studio.config_file), f"{fox.parent}/../spoon.toml", f"{fox.parent}/link.png", "/dev/zero"]
    for path in (*outside, str(fox.parent), f"{fox.parent}/none.png", "a\0b", "~nobody-at-all/x", ""):
        refused = stdio.call("edit_image", image=path, prompt="a hat", engine="studio")
        assert refused.is_error
        assert "image: must be the id of an image" in text_of(refused), path
    refused = web.call("edit_image", image=str(fox), prompt="a hat", engine="studio")
    assert "must be the id of an image of this server" in text_of(refused)


HOSTILE: Final[tuple[tuple[str, dict[str, object], str], ...]] = (
    ("generate_image", {}, "prompt"),
    ("generate_image", {"prompt": 7}, "prompt"),
    ("generate_image", {"prompt": "x", "stepz": 3}, "no argument stepz; it has prompt"),
    ("generate_image", {"prompt": "x", "engine": "nobody"}, "engine"),
    ("generate_image", {"prompt": "x", "engine": "studio", "checkpoint": "plain"}, "checkpoint"),
    ("generate_image", {"prompt": "x", "engine": "studio", "width": -8}, "width"),
    ("generate_image", {"prompt": "x", "engine": "studio", "width": 10**30}, "width"),
    ("generate_image", {"prompt": "x", "engine": "studio", "steps": 0}, "steps"),
    ("generate_image", {"prompt": "x", "engine": "studio", "cfg": "lots"}, "cfg"),
    ("generate_image", {"prompt": "x", "engine": "studio", "scheduler": "magic"}, "scheduler"),
    ("generate_image", {"prompt": "x", "engine": "studio", "seed": -5}, "seed"),
    ("generate_image", {"prompt": "x", "engine": "studio", "loras": {"none": 1}}, "loras"),
    ("generate_image", {"prompt": "x", "engine": "studio", "count": 0}, "count"),
    ("generate_image", {"prompt": "x", "engine": "studio", "wait_seconds": 1e9}, "wait_seconds"),
    ("generate_image", {"prompt": "x\0y", "engine": "studio"}, "prompt"),
    ("generate_image", {"prompt": "x" * 1_000_000, "engine": "studio"}, "prompt"),
    ("edit_image", {"prompt": "x", "engine": "studio", "image": NOWHERE}, "image_not_found"),
    ("edit_image", {"prompt": "x", "engine": "studio", "image": "data:image/png;base64,AA"}, "image"),
    ("job_status", {"job_id": "../images"}, "job_id: must be an id"),
    ("job_status", {"job_id": ""}, "job_id: must be an id"),
    ("job_status", {"job_id": "?limit=1"}, "job_id: must be an id"),
    ("job_status", {"job_id": NOWHERE}, "job_not_found"),
    ("cancel_job", {"job_id": NOWHERE}, "job_not_found"),
    ("get_image", {"image_id": NOWHERE}, "image_not_found"),
    ("get_image", {"image_id": "%2e%2e"}, "image_id: must be an id"),
    ("find_images", {"limit": 1000}, "limit"),
    ("find_images", {"prompt": "!!"}, "prompt"),
    ("find_images", {"after": "elsewhere"}, "after"),
    ("list_models", {"model_type": "weights"}, "model_type"),
    ("delete_everything", {}, "delete_everything"),
)


@pytest.mark.parametrize(("tool", "arguments", "said"), HOSTILE)
def test_wrong_arguments_are_named(
    web: Host, http: httpx.Client, tool: str, arguments: dict[str, object], said: str
) -> None:
    before = len(http.get("/jobs", params={"limit": 200}).json()["items"])
    result = web.call(tool, **arguments)
    assert result.is_error
    assert said in text_of(result)
    assert len(text_of(result)) < 10_000
    assert len(http.get("/jobs", params={"limit": 200}).json()["items"]) == before


def post(url: str, body: dict[str, Any], **headers: str) -> httpx.Response:
    accept = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json"}
    return httpx.post(url, json={"jsonrpc": "2.0", **body}, headers=accept | headers, timeout=PATIENCE_S)


def opened(url: str) -> dict[str, str]:
    """The headers of a new session of an older host."""
    version = "2025-06-18"
    hello = {"protocolVersion": version, "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
    answer = post(url, {"id": 0, "method": "initialize", "params": hello})
    assert answer.status_code == 200, answer.text
    session = {"mcp-session-id": answer.headers["mcp-session-id"], "mcp-protocol-version": version}
    assert post(url, {"method": "notifications/initialized"}, **session).status_code == 202
    return session


def called(url: str, session: dict[str, str], arguments: dict[str, object]) -> str:
    ask = {"name": "generate_image", "arguments": arguments}
    answer = post(url, {"id": 7, "method": "tools/call", "params": ask}, **session)
    return answer.text


def test_a_request_that_a_host_sends_again_makes_no_second_image(mcp_url: str, http: httpx.Client) -> None:
    ask = {"prompt": "sent twice", "engine": "studio", "wait_seconds": 30}
    session = opened(mcp_url)
    first, again = (job_in(called(mcp_url, session, ask)) for _ in range(2))
    other = job_in(called(mcp_url, opened(mcp_url), ask))
    assert first == again
    assert {job["job_id"] for job in jobs_about(http, "sent twice")} == {first, other}


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 421),
        ({"Host": "evil.example:80"}, 421),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
    ],
)
def test_a_page_of_another_site_is_refused(mcp_url: str, headers: dict[str, str], status: int) -> None:
    assert post(mcp_url, {"id": 1, "method": "tools/list"}, **headers).status_code == status


def test_a_body_that_is_too_large_or_no_json_is_refused(mcp_url: str, web: Host) -> None:
    accept = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json"}
    for body in (b"x" * 5_000_000, b"{", b"\xff", b"[" * 100_000):
        assert 400 <= httpx.post(mcp_url, content=body, headers=accept).status_code < 500
    assert "studio" in web.said("list_engines")


@pytest.mark.parametrize("end", ["api", "manager"])
def test_a_server_that_is_killed_meanwhile_loses_nothing(
    stdio: Host, studio: Server, http: httpx.Client, go: Path, end: str
) -> None:
    prompt = f"survivor {end} [until {go}]"
    with ThreadPoolExecutor(1) as pool:
        result = pool.submit(stdio.call, "generate_image", prompt=prompt, engine="studio", wait_seconds=90)
        wait_for("the job", lambda: jobs_about(http, prompt))
        kill(studio, end)
        go.touch()
        made = result.result(PATIENCE_S)
    assert len(images_of(made)) == 1, text_of(made)
    assert len(jobs_about(http, prompt)) == 1


def kill(studio: Server, end: str) -> None:
    if end == "manager":
        studio.kill()
        studio.start()
        return
    (api,) = studio.processes(API)
    api.send(signal.SIGKILL)
    wait_for("another API", lambda: [one.pid for one in studio.processes(API)] not in ([], [api.pid]))


def test_without_a_server_the_way_out_is_told(studio: Server) -> None:
    with on_stdio(["--url", "http://127.0.0.1:1", "mcp"], studio.folder) as host:
        result = host.call("list_engines")
        assert result.is_error
        assert "start it with `spoon serve`" in text_of(result)


def test_older_hosts_are_served_too(studio: Server, mcp_url: str) -> None:
    with ExitStack() as stack:
        for host in (
            stack.enter_context(on_stdio([*options_of(studio), "mcp"], studio.folder, mode="legacy")),
            stack.enter_context(by_http(mcp_url, mode="legacy")),
        ):
            told = Told()
            result = host.call("generate_image", told, prompt="old [slow 500ms]", engine="studio")
            assert images_of(result)
            assert told.shares


def test_other_machines_are_not_served_without_keys(
    studio: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["--url", url_of(studio), "mcp", "--http", "0", "--host", "0.0.0.0"]
    assert run(asked, {}) == 2
    assert "has no API keys" in capsys.readouterr().err


@pytest.fixture(scope="module")
def keyed(installed: Path) -> Iterator[tuple[Server, dict[str, str]]]:
    """A server with keys, and these."""
    with copy_of(installed) as folder, cleaned_up(Server(folder, with_api=True)) as server:
        server.start()
        keys = {}
        for name, role in (("root", "admin"), ("alice", "user"), ("bob", "user"), ("wall", "viewer")):
            file = folder / f"{name}.key"
            create = ["keys", "create", name, "--role", role, "--out", str(file)]
            assert run([*options_of(server), *create], {}) == 0
            keys[name] = file.read_text().strip()
        make_engine(server, keys["root"])
        yield server, keys


def test_each_client_acts_with_its_own_key(keyed: tuple[Server, dict[str, str]]) -> None:
    server, keys = keyed
    ask: dict[str, object] = {"prompt": "mine", "engine": "studio"}
    with ExitStack() as stack:
        mine, everywhere = {"SPOON_KEY": keys["root"]}, ("--host", "0.0.0.0")
        url = stack.enter_context(served(options_of(server), server.folder, mine, everywhere))
        url = url.replace("0.0.0.0", "127.0.0.1")
        alice, bob, wall, nobody = (
            stack.enter_context(by_http(url, keys.get(name))) for name in ("alice", "bob", "wall", "nobody")
        )
        said = alice.said("generate_image", **ask)
        assert "Prompt: mine" in alice.said("find_images")
        assert "There is no image" in bob.said("find_images")
        assert "job_not_found" in text_of(bob.call("job_status", job_id=job_in(said)))
        assert "key_not_allowed" in text_of(wall.call("generate_image", **ask))
        assert "Prompt: mine" in wall.said("find_images")
        refused = text_of(nobody.call("generate_image", **ask))
        assert "key_missing" in refused
        assert "Authorization: Bearer KEY" in refused
        wrong = stack.enter_context(by_http(url, keys["alice"][:-1] + "x"))
        assert "key_unknown" in text_of(wrong.call("list_engines"))


def test_on_stdio_the_key_is_that_of_the_command(keyed: tuple[Server, dict[str, str]]) -> None:
    server, _ = keyed
    key_file = ["--key-file", str(server.folder / "alice.key")]
    with on_stdio([*options_of(server), *key_file, "mcp"], server.folder) as host:
        assert "studio" in host.said("list_engines")
    with on_stdio([*options_of(server), "mcp"], server.folder) as host:
        assert "SPOON_KEY" in text_of(host.call("list_engines"))


def test_no_prompt_is_logged(web: Host, studio: Server) -> None:
    for prompt in ("an otter [fail]", "<lora:otter:1>"):
        assert web.call("generate_image", prompt=prompt, engine="studio").is_error
    (log,) = studio.folder.glob("mcp-*.log")
    assert "otter" not in log.read_text()


def test_a_page_of_the_documentation_has_the_tools(stdio: Host) -> None:
    """Docs and annotations are in step: nothing deletes, and what reads says so."""
    tools = stdio.portal.call(stdio.client.list_tools).tools
    page = (Path(__file__).parents[2] / "docs" / "clients.md").read_text()
    assert [tool.name for tool in tools if f"`{tool.name}`" not in page] == []
    hints = {tool.name: tool.annotations for tool in tools}
    assert {name for name, one in hints.items() if one and one.destructive_hint} == {"cancel_job"}
    assert {name for name, one in hints.items() if one and not one.read_only_hint} == {
        "generate_image",
        "edit_image",
        "cancel_job",
    }
    assert all(tool.description and len(json.dumps(tool.input_schema)) < 6_000 for tool in tools)
