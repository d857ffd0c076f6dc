"""A server is found from every folder, without a configuration file and with one that `spoon init` wrote."""

import json
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from conf.installation import SYSTEM_FILE
from tests.acceptance.orders import write_checkpoint
from tests.acceptance.patience import PATIENCE_S, wait_for
from tests.acceptance.processes import MANAGER, environment
from tests.acceptance.server import free_port
from tests.own_folders import user_in

pytestmark = pytest.mark.skipif(SYSTEM_FILE.exists(), reason=f"{SYSTEM_FILE} is found in place of nothing")

ROOT = Path(__file__).parents[2]
FREE_PORT = {"SPOON_SERVER_PORT": "0"}
Ended = subprocess.CompletedProcess[str]


@dataclass(frozen=True)
class Person:
    """Somebody with a home folder, in which nothing of ours is yet."""

    home: Path

    @property
    def environ(self) -> dict[str, str]:
        own = user_in(self.home) | {"HOME": str(self.home), "PYTHONPATH": str(ROOT)}
        return environment(self.home) | own

    def folder(self, name: str) -> Path:
        """A folder to work in."""
        (self.home / name).mkdir(exist_ok=True)
        return self.home / name

    def spoon(self, where: str, *arguments: str, **variables: str) -> Ended:
        """A command in one of the folders."""
        return subprocess.run(
            [sys.executable, "-P", "-m", "api.cli.main", *arguments],
            cwd=self.folder(where),
            env=self.environ | variables,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )

    @contextmanager
    def server(self, where: str, **variables: str) -> Iterator["subprocess.Popen[bytes]"]:
        """What `spoon serve` turns into in one of the folders, with fake engines."""
        command = [sys.executable, "-P", "-m", MANAGER, "--with-api", "--fake-engines"]
        roots = {"SPOON_IMAGES_MIN_FREE": "0", "SPOON_MODELS_FILE_ROOTS": str(self.home)}
        with (
            (self.home / "log").open("wb") as log,
            subprocess.Popen(
                command, cwd=self.folder(where), env=self.environ | roots | variables, stdout=log, stderr=log
            ) as manager,
        ):
            try:
                wait_for("the API", lambda: self.spoon(where, "jobs", "list").returncode == 0)
                yield manager
            finally:
                manager.send_signal(signal.SIGKILL)
                print((self.home / "log").read_text())


@pytest.fixture
def person() -> Iterator[Person]:
    """With a short path to the home folder: sockets are below it."""
    with tempfile.TemporaryDirectory(prefix="spoon-") as name:
        yield Person(Path(name))


def pid_of(status: Ended) -> int:
    assert status.returncode == 0, status.stderr
    return int(json.loads(status.stdout)["pid"])


def test_without_any_file_a_server_is_found_from_every_folder_and_its_folders_are_private(
    person: Person,
) -> None:
    write_checkpoint(person.folder("weights") / "dreams.safetensors")
    with person.server("here", **FREE_PORT) as manager:
        assert pid_of(person.spoon("there", "status", "--json")) == manager.pid
        file = ("../weights/dreams.safetensors", "--type", "checkpoint", "--name", "dreams", "--wait")
        added = person.spoon("there", "models", "add", *file)
        assert added.returncode == 0, added.stderr
        drawn = person.spoon(
            "there", "draw", "a fox", "--seed", "1", "--width", "64", "--height", "64", "--steps", "2"
        )
        assert (drawn.returncode, drawn.stdout) == (0, "a-fox-1.png\n"), drawn.stderr
        assert person.spoon("elsewhere", "stop").returncode == 0
        assert manager.wait(PATIENCE_S) == 0

    assert list(person.folder("here").iterdir()) == []
    assert [file.name for file in person.folder("there").iterdir()] == ["a-fox-1.png"]
    data, state = (person.home / kind / "automatic-spoon" for kind in ("data", "state"))
    assert {folder.name for folder in data.iterdir()} == {"database", "images", "blobs", "models"}
    assert {folder.name for folder in state.iterdir()} == {"bus", "logs"}
    folders = [data, *data.iterdir(), state, *state.iterdir()]
    assert {stat.S_IMODE(folder.stat().st_mode) for folder in folders} == {0o700}
    assert not (person.home / "config").exists()

    word = {"COMP_WORDS": "spoon models show d", "COMP_CWORD": "3"}
    completed = person.spoon("there", _SPOON_COMPLETE="bash_complete", **word)
    assert (completed.stdout, completed.stderr) == ("plain,dreams\n", ""), "without a server"


def test_a_file_from_init_configures_the_server_of_every_folder(person: Person) -> None:
    weights, port = person.folder("weights"), str(free_port())
    made = person.spoon("here", "init", "--models", "../weights", "--port", port, "--reach", "this-machine")
    assert (made.returncode, made.stderr) == (0, "")
    file = person.home / "config/automatic-spoon/spoon.toml"
    assert made.stdout == f"{file} is written; next: spoon serve\n"

    with person.server("here") as manager:
        assert pid_of(person.spoon("there", "status", "--json")) == manager.pid
        assert f"api_listening url=http://127.0.0.1:{port}" in (person.home / "log").read_text()
        explained = {
            one["key"]: one for one in json.loads(person.spoon("there", "config", "check", "--json").stdout)
        }
        assert explained["models.folders"]["value"] == f'["{weights}"]'
        assert explained["models.folders"]["origin"].startswith(f"{file}:")


def test_data_of_earlier_versions_are_found_in_their_folder_and_after_init_from_every_folder(
    person: Person, installed: Path
) -> None:
    old = person.folder("old") / "data"
    for name in ("database", "images", "blobs", "models"):
        shutil.copytree(installed / name, old / name)
    with person.server("old", **FREE_PORT) as manager:
        log = (person.home / "log").read_text()
        assert log.count("action=installation_found") == 1
        status = person.spoon("old", "status")
        assert (
            status.stderr
            == f"spoon: using the data in {old}; run `spoon init` here to use it from every folder\n"
        )
        told = person.spoon("old", "status", "--json")
        assert (pid_of(told), told.stderr) == (manager.pid, "")
        assert person.spoon("there", "status").returncode == 5

        made = person.spoon("old", "init", "--yes", "--port", "0")
        assert (made.returncode, made.stderr) == (0, f"keeping the data in {old}\n")
        assert pid_of(person.spoon("there", "status", "--json")) == manager.pid
        assert person.spoon("old", "status").stderr == ""
        assert "plain" in person.spoon("there", "models", "list").stdout
