"""Names of engines and models are completed by the server that runs, and nothing is said where none does."""

import subprocess
import sys
from pathlib import Path

import click
import pytest

from api.cli.main import spoon as root
from tests.integration.cli.fake_api import Answer, FakeApi

ROOT = Path(__file__).parents[3]
ENGINES = {
    "items": [{"name": "portraits"}, {"name": None}, {"name": "posters"}, {"name": "landscapes"}],
    "next": None,
}
MODELS = {"items": [{"name": "dreams"}], "next": None}


def completed(line: str, **variables: str) -> list[str]:
    """What the shell is offered for the last word of a line."""
    words = line.split(" ")
    environ = {"PYTHONPATH": str(ROOT), "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)} | variables
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
