"""Names of engines and models are completed from the database or by a server; without both, none is."""

import subprocess
import sys
from contextlib import closing
from pathlib import Path

import click
import pytest

from api.cli.main import spoon as root
from conf.load import load
from kernel.shell.store import Store
from tests import own_folders
from tests.integration.cli.fake_api import Answer, FakeApi

ROOT = Path(__file__).parents[3]
A_MODEL = """INSERT INTO model (model_id, name, uri, model_type, status, tags, trigger_words, created_at_ms)
VALUES (?, ?, ?, ?, 'ready', '[]', '[]', 1)"""
AN_ENGINE = """INSERT INTO engine (engine_id, name, spec, status, created_at_ms)
VALUES ('e', 'portraits', '{"checkpoint": "0"}', 'closed', 1)"""
ENGINES = {
    "items": [{"name": "portraits"}, {"name": None}, {"name": "posters"}, {"name": "landscapes"}],
    "next": None,
}
MODELS = {"items": [{"name": "dreams"}], "next": None}


def completed(line: str, **variables: str) -> list[str]:
    """What the shell is offered for the last word of a line."""
    words = line.split(" ")
    asked = {"COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}
    environ = own_folders.variables() | {"PYTHONPATH": str(ROOT)} | asked | variables
    command = [sys.executable, "-m", "api.cli.main"]
    ended = subprocess.run(
        command,
        env={"_SPOON_COMPLETE": "bash_complete", **environ},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.stderr == ""
    return [line.partition(",")[2] for line in ended.stdout.splitlines() if line]


@pytest.fixture
def server(api: FakeApi) -> FakeApi:
    api.on("GET", "/v1/engines", Answer(body=ENGINES))
    api.on("GET", "/v1/models", Answer(body=MODELS))
    return api


def test_names_of_engines_are_completed(server: FakeApi) -> None:
    assert completed("spoon engines show po", SPOON_URL=server.url) == ["portraits", "posters"]
    assert completed("spoon draw fox --engine l", SPOON_URL=server.url) == ["landscapes"]
    assert completed(f"spoon --url {server.url} engines stop p") == ["portraits", "posters"]


def test_names_of_models_are_completed_by_their_type(server: FakeApi) -> None:
    assert completed("spoon models show d", SPOON_URL=server.url) == ["dreams"]
    assert completed("spoon draw fox --lora d", SPOON_URL=server.url) == ["dreams"]
    assert completed("spoon draw fox --vae c", SPOON_URL=server.url) == ["checkpoint"]
    assert [one.query.get("model_type") for one in server.asked] == [None, "lora", "vae"]


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "nonsense"])
def test_without_a_server_nothing_is_offered_and_nothing_said(url: str) -> None:
    assert completed("spoon engines show p", SPOON_URL=url) == []


def test_a_wrong_configuration_and_a_strange_server_stay_silent(server: FakeApi) -> None:
    server.on("GET", "/v1/engines", Answer(body={"items": 1}))
    assert completed("spoon engines show p", SPOON_URL=server.url) == []
    assert completed("spoon engines show p", SPOON_SERVER_PROT="1") == []


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """A database with two models and an engine. Returns: the configuration file of its installation."""
    file = tmp_path / "spoon.toml"
    file.touch()
    database = load(file, {}).database_file
    database.parent.mkdir(parents=True)
    with closing(Store(database)) as store:
        for number, (name, model_type) in enumerate([("dreams", "checkpoint"), ("snow", "lora")]):
            store.connection.execute(A_MODEL, (str(number), name, str(number), model_type))
        store.connection.execute(AN_ENGINE)
    return file


def test_without_a_server_names_come_from_the_database(database: Path) -> None:
    environ = {"SPOON_CONFIG": str(database), "SPOON_SERVER_PORT": "1"}
    assert completed("spoon models show d", **environ) == ["dreams"]
    assert completed("spoon draw fox --lora s", **environ) == ["snow"]
    assert completed("spoon draw fox --lora d", **environ) == []
    assert completed("spoon engines show ", **environ) == ["portraits"]


def test_a_database_that_cannot_be_read_is_passed_over_for_the_server(
    server: FakeApi, database: Path
) -> None:
    file = load(database, {}).database_file
    file.write_bytes(b"not a database" * 100)
    port = server.url.rpartition(":")[2]
    assert completed("spoon models show d", SPOON_CONFIG=str(database), SPOON_SERVER_PORT=port) == ["dreams"]


def parameters(group: click.Group) -> list[click.Parameter]:
    found: list[click.Parameter] = []
    for command in group.commands.values():
        found += parameters(command) if isinstance(command, click.Group) else command.params
    return found


def test_every_parameter_that_takes_such_a_name_completes_it(server: FakeApi) -> None:
    kinds, names = ("ENGINE", "MODEL", "LORA[:WEIGHT]"), ("engine", "model", "checkpoint")
    named = [one for one in parameters(root) if one.metavar in kinds or one.name in names]
    context = click.Context(root, obj={"SPOON_URL": server.url})
    assert len(named) > 20
    assert [one for one in named if not one.shell_complete(context, "")] == []
