"""--out of every command: - is stdout, and no file is overwritten without --force."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest

from api.cli.main import spoon as root
from tests.integration.cli.command import Spoon
from tests.integration.cli.fake_api import Answer, FakeApi, events
from tests.own_folders import variables

JOB = {"job_id": "j1", "status": "finished", "image_ids": ["i1"], "prompt": "a fox", "seed": 7}
BYTES = b"\x89PNG\r\n\x1a\n\xff\x00" + bytes(range(256))
ROOT = Path(__file__).parents[3]
SAVING = [
    ("draw", "a fox"),
    ("jobs", "submit", "a fox"),
    ("jobs", "watch", "j1"),
    ("images", "download", "i1"),
    ("images", "zip", "i1"),
]
OF_SECRETS = {"keys create", "keys rotate", "workers token create"}
"""Tested with their commands: nobody but the owner may read what they save."""
NAMES = [" ".join(command[:2]) for command in SAVING]


@pytest.fixture
def fox(api: FakeApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeApi:
    """A server that has drawn a fox, and a folder to save it in."""
    monkeypatch.chdir(tmp_path)
    api.on("POST", "/v1/jobs", Answer(202, JOB))
    has(api, "i1")
    return api


def has(api: FakeApi, *image_ids: str) -> None:
    api.on("GET", "/v1/jobs/j1", Answer(body=JOB | {"image_ids": image_ids}))
    api.on("GET", "/v1/jobs/j1/events", events("event: state", 'data: {"status": "finished"}', ""))
    for index, image_id in enumerate(image_ids):
        image = {
            "image_id": image_id,
            "seed": 7 + index,
            "index": index,
            "created_at": "2026-01-31T12:00:05Z",
        }
        api.on("GET", f"/v1/images/{image_id}", Answer(body=image))
        api.on("GET", f"/v1/images/{image_id}/download", Answer(raw=BYTES, mime="image/png"))
    api.on("GET", "/v1/images/zip", Answer(raw=BYTES, mime="application/zip"))


@pytest.fixture
def piped(fox: FakeApi) -> Callable[..., "subprocess.CompletedProcess[bytes]"]:
    """The command in a process of its own, for the bytes of its stdout."""

    def run(*arguments: str) -> "subprocess.CompletedProcess[bytes]":
        environ = variables() | {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "SPOON_URL": fox.url}
        command = [sys.executable, "-m", "api.cli.main", *arguments]
        return subprocess.run(command, env=environ, capture_output=True, check=False)

    return run


def commands_with_out(group: click.Group, path: tuple[str, ...] = ()) -> list[str]:
    found = []
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            found += commands_with_out(command, (*path, name))
        elif any(option.name == "out" for option in command.params):
            found.append(" ".join((*path, name)))
    return found


def test_every_command_with_out_is_tested_here_and_has_force() -> None:
    assert set(commands_with_out(root)) == {*OF_SECRETS, "draw", *NAMES[1:]}


@pytest.mark.parametrize("command", SAVING, ids=NAMES)
def test_a_dash_is_stdout_which_gets_the_image_and_nothing_else(
    piped: Callable[..., "subprocess.CompletedProcess[bytes]"], tmp_path: Path, command: tuple[str, ...]
) -> None:
    ended = piped(*command, "--out", "-")
    assert (ended.returncode, ended.stdout) == (0, BYTES), ended.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", SAVING, ids=NAMES)
def test_a_file_is_overwritten_only_with_force(spoon: Spoon, fox: FakeApi, command: tuple[str, ...]) -> None:
    Path("fox.png").write_bytes(b"mine")
    refused = spoon(*command, "--out", "fox.png")
    assert (refused.code, fox.asked) == (4, [])
    assert "fox.png already exists; pass --force to overwrite it" in refused.err
    assert Path("fox.png").read_bytes() == b"mine"
    assert spoon(*command, "--out", "fox.png", "--force").code == 0
    assert Path("fox.png").read_bytes() == BYTES


def test_a_file_without_a_name_of_ours_is_kept_as_well(spoon: Spoon, fox: FakeApi) -> None:
    assert [spoon("images", "download", "i1").code for _ in range(2)] == [0, 4]
    assert spoon("images", "download", "i1", "--force").code == 0


def test_each_of_several_files_is_looked_for_before_the_job_is_submitted(spoon: Spoon, fox: FakeApi) -> None:
    Path("fox-2.png").write_bytes(b"mine")
    assert spoon("draw", "a fox", "--count", "2", "--out", "fox.png").code == 4
    assert fox.asked == []


def test_a_file_whose_name_is_known_last_is_kept_and_the_image_can_be_had(spoon: Spoon, fox: FakeApi) -> None:
    Path("7.png").write_bytes(b"mine")
    ended = spoon("draw", "a fox", "--out", "{seed}.png")
    assert ended.code == 4
    assert "get it with `spoon images download i1`" in ended.err
    assert Path("7.png").read_bytes() == b"mine"


def test_names_of_drawn_files_have_fields(spoon: Spoon, fox: FakeApi) -> None:
    has(fox, "i1", "i2")
    ended = spoon("draw", "a fox", "--out", "{date}-{seed}-{image_id}.png")
    assert ended.out == "2026-01-31-7-i1.png\n2026-01-31-8-i2.png\n"
    assert sorted(file.name for file in Path().iterdir()) == ended.out.split()


@pytest.mark.parametrize("arguments", [("draw", "a fox", "--count", "2"), ("jobs", "submit", "a", "--json")])
def test_stdout_takes_one_thing_alone(spoon: Spoon, fox: FakeApi, arguments: tuple[str, ...]) -> None:
    ended = spoon(*arguments, "--out", "-")
    assert (ended.code, fox.asked) == (2, [])
    assert "stdout" in ended.err


def test_a_job_that_turns_out_to_have_two_images_writes_none_to_stdout(spoon: Spoon, fox: FakeApi) -> None:
    has(fox, "i1", "i2")
    ended = spoon("jobs", "watch", "j1", "--out", "-")
    assert (ended.code, ended.out) == (4, "")
    assert "2 images cannot be told apart on stdout" in ended.err
