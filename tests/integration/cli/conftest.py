"""What the tests of the command line share: a server to talk to, and the command itself."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.cli.command import Spoon
from tests.integration.cli.fake_api import FakeApi, running
from tests.own_folders import user_in


@pytest.fixture
def api() -> Iterator[FakeApi]:
    with running() as fake:
        yield fake


@pytest.fixture
def spoon(capsys: pytest.CaptureFixture[str], api: FakeApi) -> Spoon:
    """The command, told where the fake server is."""
    return Spoon(capsys, {"SPOON_URL": api.url})


@pytest.fixture
def here(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Spoon:
    """The command of an installation in a new folder, where no server runs."""
    monkeypatch.chdir(tmp_path)
    Path("spoon.toml").touch()
    return Spoon(capsys, {"SPOON_SERVER_PORT": "1", "SPOON_CONFIG": "spoon.toml"})


@pytest.fixture
def newcomer(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Spoon:
    """The command of a user who has nothing yet, in a new folder."""
    monkeypatch.chdir(tmp_path)
    for name, folder in user_in(tmp_path / "user").items():
        monkeypatch.setenv(name, folder)
    return Spoon(capsys, {"SPOON_SERVER_PORT": "1"})
