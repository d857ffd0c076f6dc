"""`spoon draw`, and the engine of a job, against a server."""

import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.integration.cli.command import Spoon
from tests.integration.cli.fake_api import Answer, FakeApi, events, problem
from tests.own_folders import variables

WAITING = {"job_id": "j1", "status": "waiting", "image_ids": ["i1"]}
FINISHED = WAITING | {"status": "finished", "prompt": "A red fox, in the deep snow!", "seed": 7}
ROOT = Path(__file__).parents[3]
PICTURE = b"\x89PNG" + bytes(1000)


@pytest.fixture
def fox(api: FakeApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeApi:
    """A server that draws a fox, and a folder to save it in."""
    monkeypatch.chdir(tmp_path)
    engines = [{"engine_id": "e1", "name": "portraits", "status": "ready"}]
    api.on("GET", "/v1/engines", Answer(body={"items": engines, "next": None}))
    for engine in engines:
        api.on("GET", f"/v1/engines/{engine['name']}", Answer(body=engine))
    api.on("POST", "/v1/jobs", Answer(202, WAITING))
    draws(api, FINISHED)
    return api


def draws(api: FakeApi, job: dict[str, Any]) -> None:
    api.on("GET", "/v1/jobs/j1", Answer(body=job))
    stream = events("event: progress", 'data: {"step": 4, "steps": 4}', "", "event: state",
                    'data: {"status": "finished"}', "")  # fmt: skip
    api.on("GET", "/v1/jobs/j1/events", stream)
    for image_id in job["image_ids"]:
        api.on("GET", f"/v1/images/{image_id}/download", Answer(raw=PICTURE, mime="image/png"))


def sent(api: FakeApi) -> object:
    """The job that was submitted last."""
    return api.sent("POST", "/v1/jobs")[-1].body


def test_a_prompt_is_enough_for_an_image_whose_file_is_named_after_it(spoon: Spoon, fox: FakeApi) -> None:
    ended = spoon("draw", "a red fox")
    assert (ended.code, ended.out) == (0, "a-red-fox-in-the-7.png\n")
    assert sent(fox) == {"prompt": "a red fox"}
    assert Path("a-red-fox-in-the-7.png").read_bytes() == PICTURE


def test_no_file_is_ever_overwritten_by_chance(spoon: Spoon, fox: FakeApi) -> None:
    Path("a-red-fox-in-the-7.png").write_bytes(b"mine")
    Path("a-red-fox-in-the-7-2.png").symlink_to("nowhere")
    assert spoon("draw", "a red fox").out == "a-red-fox-in-the-7-3.png\n"
    assert Path("a-red-fox-in-the-7.png").read_bytes() == b"mine"


def test_each_image_of_a_job_has_its_own_seed_in_its_name(spoon: Spoon, fox: FakeApi) -> None:
    draws(fox, FINISHED | {"image_ids": ["i1", "i2"], "prompt": "", "image_file_type": "jpeg"})
    assert spoon("draw", "", "--count", "2", "--file-type", "jpeg").out == "image-7.jpg\nimage-8.jpg\n"
    assert sent(fox) == {"prompt": "", "count": 2, "image_file_type": "jpeg"}


def test_names_keep_to_what_every_disk_takes(spoon: Spoon, fox: FakeApi) -> None:
    draws(fox, FINISHED | {"prompt": "../(été:1.2) /\n\x1b " + "雪" * 300})
    (name,) = spoon("draw", "-").out.splitlines()
    assert name.startswith("été-1-2-雪雪")
    assert len(name.encode()) < 255


def test_a_named_file_is_written_as_by_other_commands(spoon: Spoon, fox: FakeApi) -> None:
    draws(fox, FINISHED | {"image_ids": ["i1", "i2"]})
    ended = spoon("draw", "a fox", "--out", "fox.webp", "--preview-to", "rough.jpg")
    assert ended.out == "fox-1.webp\nfox-2.webp\n"
    assert sent(fox) == {"prompt": "a fox", "image_file_type": "webp", "previews": True}


@pytest.mark.parametrize("command", [("draw", "a fox"), ("jobs", "submit", "a fox")], ids=["draw", "submit"])
@pytest.mark.parametrize(
    ("options", "engine", "where"),
    [
        ((), None, {}),
        (("--engine", "portraits"), None, {"engine_id": "e1"}),
        (("--engine", "portraits"), "landscapes", {"engine_id": "e1"}),
        ((), "portraits", {"engine_id": "e1"}),
        (("-m", "dreams"), "landscapes", {"checkpoint": "dreams"}),
    ],
)
def test_engine_is_the_option_else_the_variable_else_the_servers_choice(
    spoon: Spoon,
    fox: FakeApi,
    command: tuple[str, ...],
    options: tuple[str, ...],
    engine: str | None,
    where: dict[str, str],
) -> None:
    spoon.environ |= {} if engine is None else {"SPOON_ENGINE": engine}
    assert spoon(*command, *options).code == 0
    assert sent(fox) == {"prompt": "a fox"} | where


def test_an_engine_and_a_checkpoint_are_one_too_many(spoon: Spoon, fox: FakeApi) -> None:
    ended = spoon("draw", "a fox", "--engine", "portraits", "-m", "dreams")
    assert ended.code == 2
    assert "--engine and --checkpoint cannot be used together" in ended.err
    assert not fox.sent("POST", "/v1/jobs")


def test_who_has_no_checkpoint_is_told_how_to_register_one(spoon: Spoon, fox: FakeApi) -> None:
    detail = "checkpoint: no checkpoint is registered: `spoon models add FILE --type checkpoint`"
    fox.on("POST", "/v1/jobs", problem(409, "model_missing", detail))
    ended = spoon("draw", "a fox")
    assert ended.code == 4
    assert "spoon models add" in ended.err


def test_who_has_no_server_is_told_how_to_start_one(here: Spoon) -> None:
    ended = here("draw", "a fox")
    assert ended.code == 5
    assert "spoon serve" in ended.err


def test_a_failed_job_saves_nothing(spoon: Spoon, fox: FakeApi, tmp_path: Path) -> None:
    error = {"code": "out_of_memory", "detail": "out of memory"}
    fox.on("GET", "/v1/jobs/j1", Answer(body=WAITING | {"status": "failed", "error": error}))
    ended = spoon("draw", "a fox")
    assert (ended.code, ended.out) == (6, "")
    assert not list(tmp_path.iterdir())


def test_a_terminal_that_can_shows_the_image_before_its_name(fox: FakeApi) -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "api.cli.main", "--url", fox.url, "draw", "a red fox"]
    environ = variables() | {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "TERM_PROGRAM": "WezTerm"}
    subprocess.run(command, env=environ, stdout=theirs, stderr=subprocess.DEVNULL, check=True)
    shown = b""
    while not shown.endswith(b".png\r\n"):
        shown += os.read(ours, 4096)
    os.close(theirs)
    os.close(ours)
    assert shown.startswith(b"\x1b]1337;File=inline=1;size=1004:iVBORw")
    assert shown.endswith(b"\a\r\na-red-fox-in-the-7.png\r\n")


@pytest.mark.parametrize(("exit_code", "warning"), [(0, ""), (3, "warning: no program to open")])
def test_the_image_is_opened_by_the_desktop(
    spoon: Spoon, fox: FakeApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exit_code: int, warning: str
) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("xdg-open", "open"):
        (programs / name).write_text(f'#!/bin/sh\necho "$1" > opened\nexit {exit_code}\n')
        (programs / name).chmod(0o700)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    ended = spoon("draw", "a fox", "--open")
    assert (ended.code, ended.out) == (0, "a-red-fox-in-the-7.png\n")
    assert Path("opened").read_text() == "a-red-fox-in-the-7.png\n"
    assert warning in ended.err


def test_an_image_can_be_drawn_again_without_a_prompt(
    spoon: Spoon, fox: FakeApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPOON_ENGINE", "portraits")
    assert spoon("draw", "--like", "i7", "--seed", "8").code == 0
    assert sent(fox) == {"like": "i7", "seed": 8}
    assert spoon("draw", "a wolf", "--like", "i7", "--engine", "portraits").code == 0
    assert sent(fox) == {"like": "i7", "prompt": "a wolf", "engine_id": "e1"}


@pytest.mark.parametrize("command", [("draw",), ("jobs", "submit")])
def test_without_an_image_a_prompt_is_missing(spoon: Spoon, fox: FakeApi, command: tuple[str, ...]) -> None:
    ended = spoon(*command, "--seed", "8")
    assert ended.code == 2
    assert "Missing argument 'PROMPT'" in ended.err
    assert fox.sent("POST", "/v1/jobs") == []


def test_a_file_tells_how_its_image_was_made_and_what_is_left_over(spoon: Spoon, fox: FakeApi) -> None:
    Path("old.png").write_bytes(PICTURE)
    job = {"prompt": "a cat", "seed": 3, "checkpoint": "m1", "steps": 9, "scheduler_config": {}}
    left = [{"name": "ENSD", "value": "31337", "reason": "this server has no such value"}]
    told = {"source": "a1111", "job": job, "unmapped": left, "more": 2}
    fox.on("POST", "/v1/infotext", Answer(body=told))
    ended = spoon("draw", "--like", "old.png", "--seed", "8")
    assert ended.code == 0, ended.err
    assert "not taken from old.png: ENSD 31337: this server has no such value\n" in ended.err
    assert "not taken from old.png: 2 more\n" in ended.err
    (asked,) = fox.sent("POST", "/v1/infotext")
    assert (asked.body, asked.headers["content-type"]) == (PICTURE, "application/octet-stream")
    assert sent(fox) == job | {"seed": 8}
    options = ("--engine", "portraits", "--scheduler", "euler")
    assert spoon("draw", "a dog", "--like", "old.png", *options).code == 0
    expected = {"prompt": "a dog", "seed": 3, "steps": 9, "engine_id": "e1", "scheduler": "euler"}
    assert sent(fox) == expected


def test_a_file_that_is_not_there_is_no_image(spoon: Spoon, fox: FakeApi) -> None:
    ended = spoon("draw", "--like", "none.png")
    assert ended.code == 2
    assert "there is no file 'none.png'" in ended.err
    assert fox.sent("POST", "/v1/jobs") == []
