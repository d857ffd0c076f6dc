"""The commands that need no server: configuration, doctor, help, and those that become the server."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from kernel.protocol.join import WORKER_ENVIRON
from kernel.protocol.version import VERSION
from tests.integration.cli.command import Spoon

ROOT = Path(__file__).parents[3]


def test_the_effective_configuration_is_listed_with_its_origins(here: Spoon) -> None:
    Path("mine.toml").write_text("images.disk_quota = '50GB'\n", encoding="utf-8")
    first, *lines = here("--config", "mine.toml", "config", "check").out.splitlines()
    assert first == "configuration file: mine.toml"
    words = [line.split() for line in lines]
    assert ["images.disk_quota", '"50GB"', "mine.toml:1"] in words
    assert ["server.port", "1", "SPOON_SERVER_PORT"] in words
    assert ["images.expire_after", '"7d"', "default"] in words


def test_the_effective_configuration_is_listed_in_json(here: Spoon) -> None:
    listed = json.loads(here("config", "check", "--json").out)
    assert {"key": "images.expire_after", "value": '"7d"', "origin": "default",
            "variable": "SPOON_IMAGES_EXPIRE_AFTER"} in listed  # fmt: skip


@pytest.mark.parametrize(
    ("command", "code"),
    [("serve", 78), ("manager", 78), ("api", 78), ("config check", 78), ("jobs list", 78)],
)
def test_a_wrong_configuration_is_told_with_all_its_mistakes(here: Spoon, command: str, code: int) -> None:
    Path("mine.toml").write_text('[server]\nprot = 1\nport = "x"\n', encoding="utf-8")
    ended = here("--config", "mine.toml", *command.split())
    assert ended.code == code
    assert ended.err == (
        "spoon: mine.toml:2: unknown key server.prot: did you mean server.port?\n"
        'mine.toml:3: server.port: "x" is not allowed: must be a whole number from 0 to 65535 '
        "[bad_configuration]\n"
    )


@pytest.mark.parametrize(
    ("arguments", "code", "field"),
    [
        (("--config", "wrong.toml", "config", "check"), "bad_configuration", "server.prot server.port"),
        (("--config", "absent.toml", "jobs", "list"), "bad_configuration", None),
        (("jobs", "list"), "server_unreachable", None),
        (("jobs", "list", "--status", "lost"), "usage", "--status"),
        (("jobs", "list", "--stauts", "lost"), "usage", None),
        (("jobs", "show"), "usage", "job"),
        (("jobs", "list", "--config", "mine.toml"), "usage", None),
        (("db", "check"), "database_unusable", None),
    ],
)
def test_with_json_an_error_is_one_object_on_stderr(
    here: Spoon, arguments: tuple[str, ...], code: str, field: str | None
) -> None:
    Path("wrong.toml").write_text("[server]\nprot = 1\nport = 'x'\n", encoding="utf-8")
    plain, ended = here(*arguments), here(*arguments, "--json")
    assert (ended.code, ended.out) == (plain.code, "")
    assert ended.code != 0
    (line,) = ended.err.splitlines()
    told = json.loads(line)
    assert told["code"] == code
    assert [one["field"] for one in told["fields"]] == (field or "").split()
    assert told["detail"]


def test_the_version_is_printed_alone(here: Spoon) -> None:
    ended = here("--version")
    assert (ended.code, ended.out) == (0, f"{VERSION}\n")


def test_an_unknown_command_is_a_mistake_of_usage(here: Spoon) -> None:
    ended = here("jbos")
    assert ended.code == 2
    assert "No such command 'jbos'" in ended.err


def test_the_doctor_says_what_is_there_and_what_is_not(here: Spoon) -> None:
    here.environ["SPOON_IMAGES_MIN_FREE"] = "1000TB"
    ended = here("doctor", "--json")
    found = {one["subject"]: one for one in json.loads(ended.out)}
    assert ended.code == 1
    assert found["python"]["verdict"] == "ok"
    assert found["SQLite"]["verdict"] == "ok"
    assert found["disk"]["verdict"] == "missing"
    assert "move images.folder to a larger disk" in found["disk"]["remedy"]
    assert found["Manager"]["verdict"] == "note"
    assert "non-commercial use only" in found["detector openpose"]["remedy"]


def test_the_doctor_names_the_remedy_below_the_table(here: Spoon) -> None:
    here.environ["SPOON_BUS_FOLDER"] = "x" * 120
    assert "socket paths: set bus.folder to a shorter path" in here("doctor").out


def test_the_doctor_ends_with_the_sum_of_it(here: Spoon) -> None:
    fine = here("doctor")
    here.environ["SPOON_IMAGES_MIN_FREE"] = "1000TB"
    *_, remedy, last = here("doctor").out.splitlines()
    assert re.fullmatch(r"\d+ checks: nothing required is missing; \d+ notes", fine.out.splitlines()[-1])
    assert re.fullmatch(r"\d+ checks: 2 requirements are missing; \d+ notes", last)
    assert "models.folder to a larger disk" in remedy


def test_the_doctor_says_what_others_can_read_and_how_to_close_it(here: Spoon) -> None:
    blobs = Path("data/blobs")
    blobs.mkdir(parents=True)
    blobs.chmod(0o750)
    assert f"chmod go= {blobs.absolute()}, unless" in here("doctor").out
    blobs.chmod(0o700)
    assert "privacy" not in here("doctor").out


def test_the_doctor_says_when_the_group_cannot_reach_the_pictures_that_it_may_read(here: Spoon) -> None:
    here.environ["SPOON_IMAGES_GROUP_READABLE"] = "true"
    images = Path("data/images")
    images.mkdir(parents=True)
    images.chmod(0o750)
    images.parent.chmod(0o700)
    assert f"chmod g+x {images.parent.absolute()}" in here("doctor").out


@pytest.mark.parametrize(
    ("arguments", "module"),
    [
        (["serve"], ["kernel.main", "--with-api"]),
        (["serve", "--verbose"], ["kernel.main", "--with-api", "--verbose"]),
        (["manager"], ["kernel.main"]),
        (["manager", "--verbose"], ["kernel.main", "--verbose"]),
        (["api"], ["api.main"]),
    ],
)
def test_a_command_becomes_its_process(
    here: Spoon, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, arguments: list[str], module: list[str]
) -> None:
    became: list[list[str]] = []
    monkeypatch.setattr(os, "execve", lambda path, argv, environ: became.append([path, *argv]))
    Path("mine.toml").touch()
    assert here("--config", "mine.toml", *arguments).code == 0
    last = ["--config", str(tmp_path / "mine.toml")]
    assert became == [[sys.executable, sys.executable, "-P", "-m", *module, *last]]


def test_a_worker_of_a_pool_becomes_its_supervisor_with_the_folders_of_its_own_host(
    here: Spoon, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    became: list[list[str]] = []
    monkeypatch.setattr(os, "execve", lambda path, argv, environ: became.append(argv))
    Path("token").touch()
    where = ("--token-file", "token", "--manager", "tcp://10.0.0.1:7871", "--launch", "job-7")
    files = ("--file-root", "/weights", "--map", "/a=/b", "--cache-folder", "/c", "--cache-size", "5GB")
    assert here("worker", *where, *files).code == 0
    detectors = str(tmp_path / "data/models/detectors")
    expected = ["--token-file", str(tmp_path / "token"), "--manager", "tcp://10.0.0.1:7871"]
    expected += ["--file-root", "/weights", "--detectors-folder", detectors, "--launch", "job-7"]
    expected += ["--map=/a=/b", "--cache-folder", "/c", "--cache-bytes", "5000000000"]
    assert became == [[sys.executable, "-P", "-m", "engine_worker.supervisor", *expected]]


@pytest.mark.parametrize(
    ("is_set", "found"), [({}, WORKER_ENVIRON["GLIBC_TUNABLES"]), ({"GLIBC_TUNABLES": "x"}, "x")]
)
def test_a_worker_by_hand_has_the_environment_of_others_unless_it_is_set(
    here: Spoon, monkeypatch: pytest.MonkeyPatch, is_set: dict[str, str], found: str
) -> None:
    became: list[dict[str, str]] = []
    monkeypatch.setattr(os, "execve", lambda path, argv, environ: became.append(environ))
    others = {name: value for name, value in os.environ.items() if name not in WORKER_ENVIRON}
    monkeypatch.setattr(os, "environ", others | is_set)
    Path("token").touch()
    assert here("worker", "--token-file", "token", "--manager", "tcp://10.0.0.1:7871").code == 0
    assert became[0]["GLIBC_TUNABLES"] == found
    assert others.items() <= became[0].items()


@pytest.mark.parametrize("command", ["serve", "manager", "api"])
def test_the_configuration_may_also_be_named_behind_the_command(
    here: Spoon, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, command: str
) -> None:
    became: list[list[str]] = []
    monkeypatch.setattr(os, "execve", lambda path, argv, environ: became.append([path, *argv]))
    Path("mine.toml").touch()
    assert here(command, "--config", "mine.toml").code == 0
    assert became[0][-2:] == ["--config", str(tmp_path / "mine.toml")]


def test_an_option_of_the_whole_command_is_said_to_stand_before_the_subcommand(here: Spoon) -> None:
    ended = here("config", "check", "--config", "mine.toml")
    assert ended.code == 2
    assert "--config goes before the subcommand: spoon --config ... config check" in ended.err


def test_a_reader_that_has_had_enough_is_not_complained_about() -> None:
    command = f"{sys.executable} -m api.cli.main config check | true"
    ended = subprocess.run(["bash", "-c", command], capture_output=True, text=True, cwd=ROOT, check=False)
    assert ended.stderr == ""


def test_the_help_comes_without_anything_heavy() -> None:
    code = (
        "import sys\nfrom api.cli.main import run\nrun(['--help'], {})\n"
        "heavy = {'httpx', 'zmq', 'apsw', 'falcon', 'torch', 'asyncio'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert "Quick start:" in ended.stdout
    assert ended.stderr == "[]\n"


def test_without_any_file_the_folders_are_those_of_the_user(newcomer: Spoon, tmp_path: Path) -> None:
    found = {one["key"]: one for one in json.loads(newcomer("config", "check", "--json").out)}
    database, bus = found["database.folder"], found["bus.folder"]
    assert database["value"] == f'"{tmp_path}/user/data/automatic-spoon/database"'
    assert (database["origin"], bus["origin"]) == ("default (user's folder)",) * 2
    assert str(tmp_path / "user/state/automatic-spoon/bus") in newcomer("status").err


def test_data_in_the_current_folder_are_told_once_and_never_with_json(newcomer: Spoon) -> None:
    Path("data/database").mkdir(parents=True)
    Path("data/database/spoon.sqlite3").touch()
    notice = f"spoon: using the data in {Path('data').absolute()}; run `spoon init` here"
    assert newcomer("db", "check").err.count(notice) == 1
    assert newcomer("stop").err.count(notice) == 1
    assert newcomer("db", "check", "--json").err.count(notice) == 0
    newcomer.environ["SPOON_URL"] = "http://127.0.0.1:1"
    assert newcomer("jobs", "list").err.count(notice) == 0
