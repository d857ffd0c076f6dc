"""Today's server on the data of every release: all of it is there, and what was left to do gets done."""

import hashlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import chdir, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import apsw
import pytest

from kernel.shell.store import migrations
from tests.acceptance.conftest import cleaned_up
from tests.acceptance.patience import PATIENCE_S
from tests.acceptance.processes import MANAGER, environment
from tests.acceptance.releases.client import Client
from tests.acceptance.releases.recording import (
    KILLED,
    STOPPED,
    Left,
    Said,
    read_recording,
    recorded_versions,
    unpack,
)
from tests.acceptance.releases.story import GO
from tests.acceptance.server import Server

pytestmark = pytest.mark.timeout(180)

ENDS: Final = [
    pytest.param((version, end), id=f"{version}-{end}")
    for version in recorded_versions()
    for end in (STOPPED, KILLED)
]
LEFT_OUT: Final[dict[str, set[str]]] = {
    "model": {"progress"},
    "engine": {
        "status",
        "error",
        "queue",
        "waiting_for_room",
        "device",
        "memory_bytes",
        "started_at",
        "retry_at",
    },
    "job": {"queue_position", "queue_eta_s", "waits_for", "progress"},
    "image": set(),
}
"""Not in the database, or of a run that is over; the states of engines have a test of their own."""
GOES_ON: Final = {"status", "attempts", "error", "warnings", "started_at", "finished_at"}
LEFT_OUT_OF_JOBS: Final[dict[str, set[str]]] = {
    "finished": set(),
    "failed": {"image_id", "image_ids"},
    "cancelled": {"image_id", "image_ids"},
    "waiting": GOES_ON,
    "processing": GOES_ON,
}
"""Open ones go on; of others that did not finish, 0.2.0 listed images that were never made."""


@dataclass(frozen=True)
class Upgraded:
    """A data folder of a release, on which today's server was started."""

    before: Left
    after: Left
    """Soon after the start."""
    server: Server
    client: Client

    def jobs(self, *states: str) -> list[Said]:
        return [job for job in self.before.jobs if job["status"] in states]


@pytest.fixture(scope="module", params=ENDS)
def upgraded(request: pytest.FixtureRequest) -> Iterator[Upgraded]:
    version, end = request.param
    with tempfile.TemporaryDirectory(prefix="spoon-") as name, chdir(name):
        unpack(version, end, Path(name))
        with cleaned_up(Server(Path(name), with_api=True)) as server:
            server.start()
            with closing(Client(server.port, "new-")) as client:
                before, after = read_recording(version).left(end), client.left()
                yield Upgraded(before, after, server, client)


def changes(kind: str, before: list[Said], after: list[Said]) -> list[tuple[str, str]]:
    """The ids and fields of which the API says something else than it had said."""
    found = {one[f"{kind}_id"]: one for one in after}
    return [
        (one_id, name)
        for one_id, old in ((one[f"{kind}_id"], one) for one in before)
        for name, value in old.items()
        if name not in LEFT_OUT[kind] | (LEFT_OUT_OF_JOBS[old["status"]] if kind == "job" else set())
        and (name not in found[one_id] or found[one_id][name] != value)
    ]


def test_every_model_is_as_it_was_but_for_one_that_was_used_in_place_and_is_gone(upgraded: Upgraded) -> None:
    (lost,) = (model for model in upgraded.after.models if model["name"] == "in place")
    differing = changes("model", upgraded.before.models, upgraded.after.models)
    assert differing == [(lost["model_id"], "status"), (lost["model_id"], "error")]
    assert lost["error"]["code"] == "model_lost"


def test_every_engine_has_its_values(upgraded: Upgraded) -> None:
    assert changes("engine", upgraded.before.engines, upgraded.after.engines) == []


def test_no_engine_runs_without_work_and_errors_stay(upgraded: Upgraded) -> None:
    engines = {engine["name"]: engine for engine in upgraded.after.engines}
    busy = {job["engine_id"] for job in upgraded.jobs("waiting", "processing")}
    idle = {engine["status"] for engine in engines.values() if engine["engine_id"] not in busy}
    assert idle == {"closed"}
    broken = engines["broken"]
    assert (broken["status"], broken["error"]["code"]) == ("error", "engine_failed")


def test_every_job_has_its_values_and_those_that_had_ended_their_end(upgraded: Upgraded) -> None:
    assert changes("job", upgraded.before.jobs, upgraded.after.jobs) == []


def test_every_image_is_as_it_was(upgraded: Upgraded) -> None:
    assert changes("image", upgraded.before.images, upgraded.after.images) == []
    reasons = {image["gone"] and image["gone"]["reason"] for image in upgraded.before.images}
    assert reasons == {None, "expired", "used_up", "deleted", "lost"}


def test_every_file_is_served_to_the_byte_and_downloads_go_on_counting(upgraded: Upgraded) -> None:
    for image in upgraded.before.images:
        answer = upgraded.client.http.get(f"images/{image['image_id']}/download")
        if image["gone"]:
            assert answer.json()["code"] == "image_gone"
        else:
            assert hashlib.sha256(answer.content).hexdigest() == image["sha256"]
    (counted,) = (
        image for image in upgraded.before.images if (image["downloads"], image["gone"]) == (1, None)
    )
    now = upgraded.client.get(f"images/{counted['image_id']}")
    assert (counted["download_limit"], now["downloads"], now["gone"]["reason"]) == (2, 2, "used_up")


def test_old_images_are_found_by_the_words_of_their_prompts(upgraded: Upgraded) -> None:
    (job,) = (job for job in upgraded.jobs("finished") if job["prompt"].startswith('a "fox"'))
    found = upgraded.client.get("images?prompt=Füchslein")["items"]
    assert {image["image_id"] for image in found} >= set(job["image_ids"])


def test_jobs_that_had_not_ended_are_run_to_the_end_and_new_ones_after_them(upgraded: Upgraded) -> None:
    client = upgraded.client
    Path(GO).touch()
    for name in ("held", "broken", "hungry"):
        engine_id = client.engine(name)["engine_id"]
        assert client.http.patch(f"engines/{engine_id}/start").is_success
    for old in upgraded.jobs("waiting", "processing"):
        job = client.wait_for_job(old["job_id"])
        assert (job["status"], job["image_ids"]) == ("finished", old["image_ids"]), job["error"]
        assert job["attempts"] == old["attempts"] + 1
        for image_id in job["image_ids"]:
            assert client.http.get(f"images/{image_id}/download").is_success
        assert_inputs_reached_the_engine(job)
    new = client.post("jobs", {"engine": "held", "prompt": "new"})
    assert client.wait_for_job(new["job_id"])["status"] == "finished"
    assert_sound(upgraded.server)


def assert_inputs_reached_the_engine(job: Said) -> None:
    """The fake engine tells of each."""
    if "[echo]" in job["prompt"]:
        told = {warning.split()[0] for warning in job["warnings"]}
        assert told >= set(job["inputs"]), job["warnings"]


def assert_sound(server: Server) -> None:
    found = json.loads(spoon(server, "db", "check", "--deep", "--json"))
    assert (found["wrong"], found["orphans"]) == ([], [])


def spoon(server: Server, *words: str | Path) -> str:
    """What a command that must end well writes."""
    ended = subprocess.run(
        [sys.executable, "-m", "api.cli.main", "--config", server.config_file, *words],
        env=environment(server.folder),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


@pytest.mark.parametrize("left", ENDS)
def test_an_old_database_is_checked_and_backed_up_and_its_backup_starts_elsewhere(
    left: tuple[str, str],
) -> None:
    before = read_recording(left[0]).left(left[1])
    with tempfile.TemporaryDirectory(prefix="spoon-") as name:
        (old_folder := Path(name, "old")).mkdir()
        (new_folder := Path(name, "new")).mkdir()
        unpack(*left, old_folder)
        old = Server(old_folder)
        assert_sound(old)
        spoon(old, "db", "backup", new_folder / "copy.sqlite3")
        for moved in ("images", "blobs", "models"):
            (old_folder / moved).rename(new_folder / moved)
        with cleaned_up(Server(new_folder)) as new:
            (new_folder / "database").mkdir()
            spoon(new, "db", "restore", new_folder / "copy.sqlite3")
            new.start()
            images = {row.image_id: row.gone_reason for row in new.records.images()}
            jobs = {row.job_id for row in new.records.jobs()}
    assert jobs == {job["job_id"] for job in before.jobs}
    for image in before.images:
        assert images[image["image_id"]] == (image["gone"] and image["gone"]["reason"])


def test_a_database_of_a_later_version_is_refused_in_words_and_not_touched(server: Server) -> None:
    newest = len(migrations())
    with closing(apsw.Connection(str(server.database_file))) as connection:
        connection.pragma("user_version", newest + 1)
    before = server.database_file.read_bytes()
    ended = subprocess.run(
        [sys.executable, "-m", MANAGER, "--config", server.config_file],
        env=environment(server.folder),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert ended.returncode == 65
    told = f"the database has schema {newest + 1}, but this version supports {newest}: upgrade"
    assert told in ended.stderr
    assert server.database_file.read_bytes() == before
