"""What the tests of the command line share: a server to talk to, and the command itself."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from fake_api import FakeApi, running

from api.admin.main import run


@dataclass(frozen=True)
class Ended:
    code: int
    out: str
    err: str


class Spoon:
    """Runs `spoon` in this process, with an environment of its own."""

    def __init__(self, capture: pytest.CaptureFixture[str], environ: dict[str, str]) -> None:
        self.environ = environ
        self._capture = capture

    def __call__(self, *arguments: str) -> Ended:
        self._capture.readouterr()
        code = run(arguments, self.environ)
        said = self._capture.readouterr()
        return Ended(int(code), said.out, said.err)


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
    return Spoon(capsys, {"SPOON_SERVER_PORT": "1"})
