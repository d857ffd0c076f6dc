"""Running `spoon` in the test's own process."""

from dataclasses import dataclass

import pytest

from api.cli.main import run


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
