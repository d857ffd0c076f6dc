"""Tables on a terminal: they fit it, ids stay whole, and colors come only where they are wanted."""

import os
import pty
import re
import subprocess
import sys
from pathlib import Path
from unicodedata import east_asian_width

import pytest

from api.cli.output import COLORS
from kernel.protocol.enums import EngineState, JobState, KeyState, ModelState
from tests import own_folders
from tests.integration.cli.command import Spoon
from tests.integration.cli.fake_api import Answer, FakeApi

ROOT = Path(__file__).parents[3]
IDS = [f"0197c5f2-8a51-7c31-9c7e-2b1f6d2f8e{n:02}" for n in range(3)]
PROMPTS = ["a fox", "a red fox in the deep snow of a long winter, oil on canvas", "雪の中の赤い狐" * 9]
NAMES = {"e1": "an engine with quite a long name"}
JOBS = [
    {"job_id": job_id, "status": status, "engine_id": "e1", "names": NAMES, "prompt": prompt,
     "created_at": "2026-01-31T12:00:05.123Z"}
    for job_id, prompt, status in zip(IDS, PROMPTS, ["finished", "failed", "waiting"], strict=True)
]  # fmt: skip
COLOR = re.compile(r"\x1b\[[0-9;]*m")


@pytest.fixture
def jobs(api: FakeApi) -> FakeApi:
    api.on("GET", "/v1/jobs", Answer(body={"items": JOBS, "next": None}))
    return api


def on_terminal(api: FakeApi, *arguments: str, **variables: str) -> list[str]:
    """The lines that a command prints on a terminal."""
    ours, theirs = pty.openpty()
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "SPOON_URL": api.url}
    environ |= own_folders.variables() | variables
    command = [sys.executable, "-m", "api.cli.main", *arguments]
    stderr = theirs if variables.pop("both", None) else subprocess.DEVNULL
    subprocess.run(command, env=environ, stdout=theirs, stderr=stderr, stdin=subprocess.DEVNULL, check=True)
    os.close(theirs)
    said = b""
    try:
        while piece := os.read(ours, 1 << 16):
            said += piece
    except OSError:  # Linux says so at the end
        pass
    os.close(ours)
    return said.decode().splitlines()


def columns(text: str) -> int:
    return sum(2 if east_asian_width(c) in "WF" else 1 for c in COLOR.sub("", text))


@pytest.mark.parametrize("width", [60, 80, 110])
def test_every_line_fits_the_terminal_and_has_its_id_whole(jobs: FakeApi, width: int) -> None:
    title, *lines = on_terminal(jobs, "jobs", "list", COLUMNS=str(width))
    assert max(columns(line) for line in (title, *lines)) <= width
    assert [COLOR.sub("", line).split()[0] for line in lines] == IDS
    assert "…" in lines[1]


def test_columns_without_room_are_left_out_before_the_last_and_named(jobs: FakeApi) -> None:
    title, *lines, told = on_terminal(jobs, "jobs", "list", COLUMNS="80", both="1")
    assert COLOR.sub("", title).split() == ["ID", "STATUS", "ENGINE", "PROMPT"]
    assert told == "no room for PROGRESS, CREATED: use a wider terminal, or --json"
    assert all(columns(line) <= 80 for line in lines)


def test_a_wide_terminal_and_a_pipe_get_the_cells_as_they_are(jobs: FakeApi, spoon: Spoon) -> None:
    wide = [COLOR.sub("", line) for line in on_terminal(jobs, "jobs", "list", COLUMNS="300")]
    piped = spoon("jobs", "list").out.splitlines()
    assert wide == piped
    assert not any("…" in line for line in piped)


def test_columns_stand_below_each_other_whatever_the_script(jobs: FakeApi, spoon: Spoon) -> None:
    named = [JOBS[0] | {"names": {"e1": "雪狐"}}, *JOBS[1:]]
    jobs.on("GET", "/v1/jobs", Answer(body={"items": named, "next": None}))
    title, *lines = spoon("jobs", "list").out.splitlines()
    (at,) = {columns(line[: line.index("2026")]) for line in lines}
    assert at == title.index("CREATED")


def test_states_have_colors_on_a_terminal(jobs: FakeApi) -> None:
    _, finished, failed, _ = on_terminal(jobs, "jobs", "list", COLUMNS="200")
    assert re.search(r"\x1b\[32mfinished *\x1b\[0m", finished)
    assert re.search(r"\x1b\[31mfailed *\x1b\[0m", failed)


@pytest.mark.parametrize("variables", [{"NO_COLOR": "1"}, {"TERM": "dumb"}], ids=["NO_COLOR", "dumb"])
def test_colors_are_left_out_where_they_are_not_wanted(jobs: FakeApi, variables: dict[str, str]) -> None:
    assert not any(COLOR.search(line) for line in on_terminal(jobs, "jobs", "list", **variables))


def test_a_pipe_gets_no_colors(jobs: FakeApi, spoon: Spoon) -> None:
    assert not COLOR.search(spoon("jobs", "list").out)


def test_only_words_that_exist_have_colors() -> None:
    assert set(COLORS) <= {*ModelState, *EngineState, *JobState, *KeyState, "ok", "note", "missing"}
