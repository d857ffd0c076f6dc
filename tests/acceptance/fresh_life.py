"""What a person does with the program on a fresh account, from the installation to the removal.

    python -m tests.acceptance.fresh_life WHEEL

tells each step with its time. Commands are as people type them. Dependencies are those of the environment
that runs this, so that nothing is downloaded.
"""

import json
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import numpy as np
from PIL import Image

from kernel.protocol.version import VERSION
from tests.acceptance.fresh_account import PATIENCE_S, Account, fresh_account, write_dependencies
from tests.acceptance.next_version import NEXT, write_next_version
from tests.acceptance.patience import wait_for
from tests.judge import judge
from training.scenes import Colour, Shape

PROMPT: Final = "'a large red circle on a blue background'"
IMAGES: Final = 4
PROFILE: Final = 'export OMP_NUM_THREADS=1 PATH="$HOME/spoon/bin:$PATH"\n'
"""As activating the environment does it; and one thread, beside other tests."""
PAUSE: Final = "sleep 0.3"
"""Between two looks, since each is a process that others have to wait for."""
DATA, STATE = Path(".local/share/automatic-spoon"), Path(".local/state/automatic-spoon")
CONFIGURATION: Final = Path(".config/automatic-spoon/spoon.toml")
"""Below the home folder: with the data, what stays (docs/installation.md)."""


class Life:
    """Its steps, each of which needs the one before."""

    def __init__(self, account: Account, wheel: Path) -> None:
        self._account = account
        self._old = account.give(wheel)
        self._new = write_next_version(wheel, account.home)
        self._server: subprocess.Popen[bytes] | None = None

    def install(self) -> None:
        """Into an environment of its own."""
        home = self._account.home
        (home / ".profile").write_text(PROFILE)
        write_dependencies(home.parent / "dependencies")
        self._account.run(f"{shlex.quote(self._account.python)} -m venv --without-pip spoon")
        self._account.run(
            f"echo {home.parent}/dependencies > $(echo spoon/lib/python*/site-packages)/all.pth"
        )
        self._pip(f"install --no-index './{self._old.name}[worker]'")
        assert VERSION in self._account.run("spoon --version")

    def configure(self) -> None:
        """A folder with the model that ships, and a configuration that names it."""
        self._account.run('mkdir weights && cp "$(python -m engine_worker.embedded scenes-sd)" weights/')
        self._account.run("spoon init --models weights --port 0 --reach this-machine --yes")
        assert (self._account.home / CONFIGURATION).is_file()

    def draw(self) -> None:
        """The first image shows what was asked for."""
        self._serve()
        self._account.run(f"spoon draw {PROMPT} --seed 1 --out first.png")
        seen = judge(np.asarray(Image.open(self._account.home / "first.png").convert("RGB"))).scene
        assert (seen.shape, seen.colour, seen.background) == (Shape.CIRCLE, Colour.RED, Colour.BLUE)

    def upgrade(self) -> None:
        """While a job runs; after a restart it is finished, and everything is there."""
        job_id = self._json(f"jobs submit {PROMPT} --count {IMAGES} --steps 40")["job_id"]
        wait_for("the job to begin", lambda: self._is_begun(job_id), PATIENCE_S)
        self._pip(f"install --no-index ./{self._new.name}")
        assert NEXT in self._account.run("spoon --version")
        assert self._json("status")["version"] == VERSION, "it runs on until it is restarted"
        self._stop("--now")
        self._serve()
        assert self._json("status")["version"] == NEXT
        self._account.run(f"spoon jobs watch {job_id}")
        assert self._json(f"jobs show {job_id}")["status"] == "finished"
        assert len(self._json("images list")) == IMAGES + 1
        self._account.run("spoon doctor | grep '^ok  *own files'")

    def go_back(self) -> None:
        """The old version does not touch the data of the new one."""
        self._stop()
        self._pip(f"install --no-index ./{self._old.name}")
        assert "but this version supports" in self._account.run("spoon serve", code=65)

    def uninstall(self) -> None:
        """Nothing of the program is left, and everything of the person's."""
        self._pip("uninstall --yes automatic-spoon")
        home = self._account.home
        left = {path.relative_to(home) for path in home.rglob("*") if path.is_file()}
        environment = {path for path in left if path.parts[0] == "spoon"}
        assert {path.name for path in environment if "site-packages" in path.parts} == {"all.pth"}
        assert Path("spoon/bin/spoon") not in environment
        assert (
            len([path for path in left if path.is_relative_to(DATA / "images") and path.suffix == ".png"])
            == IMAGES + 1
        )
        hidden = {path for path in left if path.parts[0].startswith(".")}
        theirs = {path for path in hidden if path.is_relative_to(DATA) or path.is_relative_to(STATE)}
        assert hidden - theirs - {Path(name) for name in (".profile", ".bashrc", ".bash_logout")} == {
            CONFIGURATION
        }

    def close(self) -> None:
        """Whatever has happened, nothing runs on."""
        if self._server is not None:
            self._account.outcome("spoon stop --now")
            self._server.kill()
            self._server.wait()

    def _serve(self) -> None:
        """In another terminal, until it accepts work."""
        log = self._account.home / "serve.log"
        self._server = server = self._account.start("exec spoon serve", log)

        def is_healthy() -> bool:
            assert server.poll() is None, log.read_text()
            return self._account.outcome(f"{PAUSE}; spoon health")[0] == 0

        wait_for("the server", is_healthy, PATIENCE_S)

    def _stop(self, how: str = "") -> None:
        self._account.run(f"spoon stop {how}")
        assert self._server is not None
        assert self._server.wait(PATIENCE_S) == 0
        self._server = None

    def _pip(self, words: str) -> None:
        self._account.run(f"python -m pip --no-cache-dir {words}")

    def _json(self, words: str) -> Any:
        return json.loads(self._account.run(f"spoon {words} --json"))

    def _is_begun(self, job_id: str) -> bool:
        self._account.run(PAUSE)
        return bool(self._json(f"jobs show {job_id}")["status"] == "processing")


def live(wheel: Path, tell: Callable[[str], None]) -> None:
    """Every step, each of which is told with its seconds."""
    with fresh_account() as account, closing(Life(account, wheel)) as life:
        tell(f"a fresh account: {' '.join(account.shell)}, {account.python}")
        for step in (life.install, life.configure, life.draw, life.upgrade, life.go_back, life.uninstall):
            began_s = time.monotonic()
            step()
            tell(f"{step.__name__:<10} {time.monotonic() - began_s:6.1f} s")


if __name__ == "__main__":
    live(Path(sys.argv[1]).absolute(), print)
