"""A user account that was never used: a real one, if root runs this, else an empty home folder."""

import os
import pwd
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

PATIENCE_S: Final = 120.0
PYTHON: Final = f"python{sys.version_info.major}.{sys.version_info.minor}"
PACKAGES: Final = [Path(path) for path in sys.path if path.endswith("-packages")]
"""What the environment that runs this has installed."""
OURS: Final = ("automatic_spoon", "__editable__")
"""How files that belong to an installation of this project begin, there."""
_CHECK: Final = "import os, sys, venv; sys.exit(not all(os.access(path, os.X_OK) for path in sys.argv[1:]))"
_NOBODY: Final = 65_534


@dataclass(frozen=True)
class Account:
    """A user, and how commands are run as this user. `python` is one that the user can execute."""

    home: Path
    python: str
    shell: tuple[str, ...]
    environ: dict[str, str]

    def start(self, command: str, log: Path) -> "subprocess.Popen[bytes]":
        """Run a command of the shell in the home folder, and do not wait."""
        with log.open("ab") as output:
            return subprocess.Popen(
                [*self.shell, "-c", f"cd {shlex.quote(str(self.home))} && . ./.profile && {command}"],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=self.environ,
            )

    def run(self, command: str, code: int = 0) -> str:
        """What a command writes, errors included, which must end with this code."""
        found, text = self.outcome(command)
        assert found == code, f"{command}: {found}\n{text}"
        return text

    def outcome(self, command: str) -> tuple[int, str]:
        """How a command ends, and what it writes."""
        with tempfile.NamedTemporaryFile() as output:
            code = self.start(command, Path(output.name)).wait(PATIENCE_S)
            return code, Path(output.name).read_text()

    def give(self, file: Path) -> Path:
        """Put a file into the home folder, where the user can read it."""
        target = self.home / file.name
        shutil.copyfile(file, target)
        target.chmod(0o644)
        return target


@contextmanager
def fresh_account() -> Iterator[Account]:
    """An account with an empty home folder. Nothing of it is left afterwards, nor runs."""
    with tempfile.TemporaryDirectory(prefix="spoon-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        python = _python_for_all() if os.geteuid() == 0 and shutil.which("useradd") else None
        if python is None:
            (folder / "home").mkdir()
            environ = {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(folder / "home")}
            yield Account(folder / "home", sys.executable, ("sh",), environ)
        else:
            with _user(folder / "home") as user:
                environ = {"PATH": os.defpath}
                yield Account(folder / "home", python, ("su", "-", user), environ)


def _python_for_all() -> str | None:
    """A Python of this version that every user can execute, if they can read the packages, too."""
    paths = [os.path.realpath(sys.executable), f"/usr/bin/{PYTHON}", f"/usr/local/bin/{PYTHON}"]
    for path in paths:
        with suppress(OSError):
            command = [path, "-c", _CHECK, *PACKAGES]
            if not subprocess.run(command, cwd="/", user=_NOBODY, group=_NOBODY, check=False).returncode:
                return path
    return None


@contextmanager
def _user(home: Path) -> Iterator[str]:
    name = f"spoon-{os.getpid()}"
    options = ["--create-home", "--home-dir", home, "--shell", "/bin/sh"]
    subprocess.run(["useradd", *options, name], check=True)
    try:
        yield name
    finally:
        _end_all(pwd.getpwnam(name).pw_uid)
        subprocess.run(["userdel", name], check=True)


def _end_all(uid: int) -> None:
    """The processes of the account, which can only be ours."""
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            if entry.name.isdigit() and entry.stat().st_uid == uid:
                os.kill(int(entry.name), signal.SIGKILL)


def write_dependencies(folder: Path) -> None:
    """Links to all that is installed here but this project, so that an environment can use it."""
    folder.mkdir()
    for package in (one for packages in PACKAGES for one in packages.iterdir()):
        if not package.name.startswith(OURS) and not (folder / package.name).exists():
            (folder / package.name).symlink_to(package)
