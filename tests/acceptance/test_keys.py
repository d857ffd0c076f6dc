"""API keys of a real server: made by the command line, asked for by the API, ended at once."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from kernel.protocol.enums import JobState
from kernel.protocol.ids import JobId
from tests.acceptance.conftest import cleaned_up, copy_of
from tests.acceptance.orders import PLAIN
from tests.acceptance.patience import PATIENCE_S, wait_for
from tests.acceptance.processes import API
from tests.acceptance.server import Server

AT_ONCE_S = 5.0
"""Much longer than it takes, for a busy machine; a lost notice would take twice as long."""


@dataclass
class Shared:
    """A server, and keys by the names of those who have them."""

    server: Server
    keys: dict[str, str] = field(default_factory=dict)

    def make(self, name: str, role: str) -> None:
        self.keys[name] = self.server.make_key(name, role)

    def client(self, name: str | None = None) -> httpx.Client:
        headers = {} if name is None else {"Authorization": f"Bearer {self.keys[name]}"}
        url = f"http://127.0.0.1:{self.server.port}"
        return httpx.Client(base_url=url, headers=headers, timeout=PATIENCE_S)

    def get(self, path: str, name: str | None = None) -> httpx.Response:
        with self.client(name) as client:
            return client.get(path)

    def draw(self, name: str, prompt: str = "a fox") -> dict[str, object]:
        with self.client(name) as client:
            answer = client.post("/v1/jobs", json={"checkpoint": PLAIN, "prompt": prompt, "steps": 2})
        assert answer.status_code == 202, answer.text
        job: dict[str, object] = answer.json()
        return job


@pytest.fixture(scope="module")
def shared(installed: Path) -> Iterator[Shared]:
    """A server that was open until it had its first key."""
    with copy_of(installed) as folder, cleaned_up(Server(folder, with_api=True)) as server:
        server.start()
        made = Shared(server)
        assert made.get("/v1/jobs").status_code == 200
        made.make("root", "admin")
        for name in ("alice", "bob"):
            made.make(name, "user")
        wait_for("the keys", lambda: made.get("/v1/jobs").status_code == 401)
        yield made


def test_everybody_sees_and_downloads_their_own(shared: Shared) -> None:
    job = shared.draw("alice")
    shared.server.records.wait_for_job(JobId(str(job["job_id"])), JobState.FINISHED)
    path = f"/v1/images/{job['image_id']}/download"
    assert shared.get(path, "alice").status_code == 200
    assert shared.get(path, "root").status_code == 200
    assert shared.get(path, "bob").status_code == 404
    assert shared.get(path).status_code == 401
    assert [one["job_id"] for one in shared.get("/v1/jobs", "bob").json()["items"]] == []
    assert [one["image_id"] for one in shared.get("/v1/images", "alice").json()["items"]] == [job["image_id"]]


def test_the_command_line_takes_the_key_from_a_file_or_a_variable_and_never_from_its_arguments(
    shared: Shared, tmp_path: Path
) -> None:
    file = tmp_path / "alice.key"
    file.write_text(shared.keys["alice"] + "\n")
    bare = shared.server.spoon("jobs", "list")
    assert bare.returncode == 10
    assert "[key_missing]" in bare.stderr
    assert "--key-file FILE" in bare.stderr
    assert shared.server.spoon("--key-file", str(file), "jobs", "list").returncode == 0
    assert shared.server.spoon("jobs", "list", SPOON_KEY=shared.keys["alice"]).returncode == 0
    assert shared.server.spoon("jobs", "list", SPOON_KEY_FILE=str(file)).returncode == 0
    refused = shared.server.spoon("queue", "pause", SPOON_KEY=shared.keys["alice"])
    assert (refused.returncode, "[key_not_allowed]" in refused.stderr) == (10, True)


def test_a_revoked_key_and_its_streams_end_at_once(shared: Shared) -> None:
    shared.make("mallory", "user")
    with shared.client("mallory") as client, client.stream("GET", "/v1/events") as stream:
        assert stream.status_code == 200
        lines = stream.iter_lines()
        next(lines)
        revoked = shared.server.spoon("keys", "revoke", "mallory", "--yes")
        at_s = time.monotonic()
        assert revoked.returncode == 0, revoked.stderr
        while client.get("/v1/jobs").status_code == 200:
            assert time.monotonic() - at_s < AT_ONCE_S
        assert client.get("/v1/jobs").json()["code"] == "key_revoked"
        for _ in lines:  # until the server ends it
            assert time.monotonic() - at_s < AT_ONCE_S


def test_the_streams_of_a_key_end_when_it_expires(shared: Shared) -> None:
    """With nothing to send: it is not the next event that ends them."""
    with shared.client("root") as root:
        made = root.post("/v1/keys", json={"name": "ada", "role": "viewer", "expire_after": "3s"}).json()
    shared.keys["ada"] = made["key"]
    with shared.client("ada") as client, client.stream("GET", "/v1/events") as stream:
        assert stream.status_code == 200
        for _ in stream.iter_lines():  # until the server ends it
            assert shared.get("/v1/session", "root").status_code == 200
        assert client.get("/v1/jobs").json()["code"] == "key_expired"


def test_a_key_that_was_revoked_over_http_is_refused_by_the_very_next_request(shared: Shared) -> None:
    for number in range(20):
        with shared.client("root") as root:
            made = root.post("/v1/keys", json={"name": f"brief-{number}", "role": "user"}).json()
            shared.keys["brief"] = made["key"]
            assert shared.get("/v1/session", "brief").json()["name"] == f"brief-{number}"
            assert root.delete(f"/v1/keys/{made['key_id']}").json()["status"] == "revoked"
        assert shared.get("/v1/jobs", "brief").json()["code"] == "key_revoked"


def test_a_session_outlives_the_api_and_ends_with_a_rotation(shared: Shared) -> None:
    with shared.client() as browser:
        signed_in = browser.post("/v1/session", json={"key": shared.keys["bob"]})
        assert signed_in.status_code == 200
        assert browser.get("/v1/session").json()["name"] == "bob"
        (process,) = shared.server.processes(API)
        process.send(9)
        wait_for("another API", lambda: is_served(shared))
        assert browser.get("/v1/session").json()["name"] == "bob"
        shared.keys["bob"] = shared.server.spoon("keys", "rotate", "bob").stdout.strip()
        wait_for("the end of the session", lambda: browser.get("/v1/session").status_code == 401)
    assert shared.get("/v1/session", "bob").json()["name"] == "bob"


def is_served(shared: Shared) -> bool:
    try:
        return shared.get("/v1/health/ready").status_code == 200
    except httpx.TransportError:
        return False


def test_a_stranger_cannot_make_the_server_take_a_body(shared: Shared) -> None:
    """The refusal comes by the head alone, so that nothing of it is stored."""
    with shared.client() as stranger:
        for path in ("/v1/jobs", "/v1/models/upload", "/sdapi/v1/txt2img", "/v1/session"):
            answer = stranger.post(path, content=b"x" * 3_000_000)
            assert answer.status_code in (401, 413), path
            assert ("www-authenticate" in answer.headers) is (answer.status_code == 401)


def test_what_is_done_over_the_bus_has_a_line_in_the_log(shared: Shared) -> None:
    shared.make("carol", "viewer")
    listed = {one["name"]: one["key_id"] for one in shared.get("/v1/keys", "root").json()["items"]}
    log = (shared.server.folder / "log").read_text()
    act = f'action=admin_act operation=create_key path=bus/{listed["carol"]} address=local key_id=""'
    assert log.count(act) == 1


def test_the_secrets_of_keys_are_nowhere(shared: Shared) -> None:
    """Neither in the files of the server, nor in what it says, nor in the arguments of its processes."""
    listed = shared.server.spoon("keys", "list", "--json").stdout + shared.get("/v1/keys", "root").text
    assert {"root", "alice"} <= {one["name"] for one in shared.get("/v1/keys", "root").json()["items"]}
    commands = b"".join(Path(f"/proc/{one.pid}/cmdline").read_bytes() for one in shared.server.processes())
    files = [path for path in shared.server.folder.rglob("*") if path.is_file()]
    assert shared.server.database_file in files
    for key in shared.keys.values():
        secret = key.rpartition("_")[2].encode()
        assert len(secret) == 64
        assert secret not in listed.encode() + commands
        assert [path for path in files if secret in path.read_bytes()] == []
