"""The server as its image runs it: without rights, its root read-only; by a container engine or without."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Protocol
from uuid import uuid4

import pytest
import yaml

from tests.acceptance.patience import PATIENCE_S, wait_for

ROOT: Final = Path(__file__).parents[2]
FILES: Final = ROOT / "examples/deploy/container"
UID: Final = 10_001
"""The user of the image."""
_CONFIG: Final = "/etc/automatic-spoon/spoon.toml"
_BUILD_S: Final = 1_800.0

_INSIDE: Final = """
set -e
umask 022
root=$1 volumes=$2 own_models=$3 config=$4 python=$5
shift 5
show() {
    mkdir -p "$root$2"
    mount --bind "$1" "$root$2"
    mount -o remount,bind,ro "$root$2"
}
mount -t tmpfs -o mode=0755 none "$root"
for place in "$@"; do
    if [ -L "$place" ]; then cp -P "$place" "$root$place"; else show "$place" "$place"; fi
done
show "$own_models" /models
mkdir -p "$root/etc/automatic-spoon" "$root/proc" "$root/tmp" "$root/var/lib/automatic-spoon"
cp "$config" "$root/etc/automatic-spoon/spoon.toml"
mount -t proc none "$root/proc"
mount -t tmpfs none "$root/dev/shm"
mount -t tmpfs -o mode=1777 none "$root/tmp"
mount --bind "$volumes/data" "$root/var/lib/automatic-spoon"
mount --bind "$volumes/models" "$root/var/lib/automatic-spoon/models"
mount -o remount,bind,ro "$root"
"$python" -c '
import fcntl, socket, struct
with socket.socket() as any_socket:  # netdevice(7): SIOCSIFFLAGS with IFF_UP
    fcntl.ioctl(any_socket, 0x8914, struct.pack("16sh22x", b"lo", 1))
'
exec chroot "$root" $AS_USER "$python" -P -m api.cli.main serve
"""
"""Makes the file systems of a container out of folders of this machine, and becomes the server."""
_AS_USER: Final = (
    *("setpriv", "--reuid", str(UID), "--regid", str(UID), "--clear-groups", "--no-new-privs"),
    *("--bounding-set=-all", "--inh-caps=-all", "env", "-i", f"PATH={os.environ['PATH']}"),
    f"SPOON_CONFIG={_CONFIG}",
)
"""Without a home folder, as without everything else of the caller's environment."""
_APART: Final = ("unshare", "--mount", "--pid", "--net", "--fork", "--propagation", "private")
_SYSTEM: Final = ("/usr", "/bin", "/sbin", "/lib", "/lib64", "/dev")
_PACKAGES: Final = ("api", "conf", "engine_worker", "kernel")


class Container(Protocol):
    """A server in a container. Its volumes outlive a stop."""

    def start(self) -> None:
        """Start the server, and do not wait."""

    def run(self, *command: str) -> "subprocess.CompletedProcess[bytes]":
        """Run a command in the container, as its user."""

    def spoon(self, *arguments: str) -> "subprocess.CompletedProcess[bytes]":
        """Run `spoon` there."""

    def stop(self) -> int:
        """Stop it as an engine does: SIGTERM, and wait. Returns: its exit code."""

    def log(self) -> str:
        """What the server said since its start."""


class Namespaces:
    """A container made with unshare(1) out of this machine's Python and packages: no image, but its walls."""

    def __init__(self, folder: Path, own_models: Path) -> None:
        self._folder, self._own_models = folder, own_models
        self._process: subprocess.Popen[bytes] | None = None
        (folder / "root").mkdir()
        for name in ("data", "data/models", "models"):
            (folder / name).mkdir(mode=0o700)
            os.chown(folder / name, UID, UID)

    def start(self) -> None:
        arguments = (
            self._folder / "root",
            self._folder,
            self._own_models,
            FILES / "spoon.toml",
            sys.executable,
        )
        with (self._folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [*_APART, "--kill-child", "sh", "-c", _INSIDE, "sh", *map(str, (*arguments, *_visible()))],
                env=os.environ | {"AS_USER": " ".join(_AS_USER)},
                stdout=log,
                stderr=log,
            )

    def run(self, *command: str) -> "subprocess.CompletedProcess[bytes]":
        inside = ["nsenter", "--target", str(self._pid()), "--mount", "--pid", "--net", "--root", "--wd"]
        return subprocess.run(
            [*inside, *_AS_USER, *command], capture_output=True, check=False, timeout=2 * PATIENCE_S
        )

    def spoon(self, *arguments: str) -> "subprocess.CompletedProcess[bytes]":
        return self.run(sys.executable, "-P", "-m", "api.cli.main", *arguments)

    def stop(self) -> int:
        assert self._process is not None
        os.kill(self._pid(), signal.SIGTERM)
        return self._process.wait(PATIENCE_S)

    def log(self) -> str:
        return (self._folder / "log").read_text(encoding="utf-8", errors="replace")

    def close(self) -> None:
        """End it, whatever state it is in."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def _pid(self) -> int:
        """The server's process, as this machine counts."""
        assert self._process is not None
        number = self._process.pid
        children = Path(f"/proc/{number}/task/{number}/children")
        return wait_for("the server's process", lambda: int(children.read_text() or 0))


class Image:
    """A container of a real engine, from the image that a target of the Dockerfile makes, with the options of
    compose.yaml."""

    def __init__(self, engine: str, target: str, own_models: Path) -> None:
        self._engine, self._own_models = engine, own_models
        self._tag = f"automatic-spoon:{target}"
        self._name = f"spoon-{uuid4().hex[:8]}"
        dockerfile = ("-f", str(FILES / "Dockerfile"), "--target", target, "--tag", self._tag)
        self._must("build", *dockerfile, str(ROOT), timeout_s=_BUILD_S)
        self._must("create", "--name", self._name, *self._options(), self._tag)

    def _options(self) -> Sequence[str]:
        """Those of compose.yaml, with volumes and models of the test."""
        server: dict[str, Any] = yaml.safe_load((FILES / "compose.yaml").read_text())["services"]["server"]
        assert server["read_only"] is True
        options = ["--read-only", "--volume", f"{self._own_models}:/models:ro"]
        for option, key in (
            ("--tmpfs", "tmpfs"),
            ("--cap-drop", "cap_drop"),
            ("--security-opt", "security_opt"),
        ):
            options += [part for value in server[key] for part in (option, value)]
        for volume in ("data:/var/lib/automatic-spoon", "models:/var/lib/automatic-spoon/models"):
            options += ["--volume", f"{self._name}-{volume}"]
        return options

    def start(self) -> None:
        self._must("start", self._name)

    def run(self, *command: str) -> "subprocess.CompletedProcess[bytes]":
        return self._ask("exec", self._name, *command)

    def spoon(self, *arguments: str) -> "subprocess.CompletedProcess[bytes]":
        return self.run("spoon", *arguments)

    def stop(self) -> int:
        self._must("stop", "-t", str(int(PATIENCE_S)), self._name)
        return int(self._must("inspect", "--format", "{{.State.ExitCode}}", self._name))

    def log(self) -> str:
        ended = self._ask("logs", self._name)
        return (ended.stdout + ended.stderr).decode(errors="replace")

    def close(self) -> None:
        """Remove the container and its volumes."""
        self._ask("rm", "--force", self._name)
        self._ask("volume", "rm", f"{self._name}-data", f"{self._name}-models")

    def _must(self, *arguments: str, timeout_s: float = 2 * PATIENCE_S) -> str:
        ended = self._ask(*arguments, timeout_s=timeout_s)
        assert ended.returncode == 0, (ended.stdout + ended.stderr).decode(errors="replace")
        return ended.stdout.decode()

    def _ask(
        self, *arguments: str, timeout_s: float = 2 * PATIENCE_S
    ) -> "subprocess.CompletedProcess[bytes]":
        command = [self._engine, *arguments]
        return subprocess.run(command, capture_output=True, check=False, timeout=timeout_s)


def engine() -> str | None:
    """A container engine that answers, Docker before Podman."""
    for name in ("docker", "podman"):
        program = shutil.which(name)
        if program and subprocess.run([program, "info"], capture_output=True, check=False).returncode == 0:
            return program
    return None


@contextmanager
def a_container(kind: str, folder: Path, own_models: Path) -> Iterator[Container]:
    """A container of a kind: `namespaces`, or `image`, of which IMAGE names the target.

    Skips the test if there can be none.
    """
    made = _namespaces(folder, own_models) if kind == "namespaces" else _image(own_models)
    try:
        yield made
    finally:
        print(made.log())
        made.close()


def _visible() -> list[str]:
    """What of this machine the server needs to see: the system, this Python, its packages, and our own."""
    python = (sys.base_prefix, sys.prefix, *(place for place in sys.path if place.endswith("site-packages")))
    ours = (str(ROOT / name) for name in _PACKAGES)
    found: list[str] = []
    for place in (*_SYSTEM, *python, *ours):
        is_there = any(Path(place).is_relative_to(one) for one in found) or not Path(place).exists()
        found += [] if is_there else [place]
    return found


def _namespaces(folder: Path, own_models: Path) -> Namespaces:
    if subprocess.run([*_APART, "mount", "-t", "tmpfs", "none", folder], check=False).returncode != 0:
        pytest.skip("only root can make namespaces and mount in them")
    return Namespaces(folder, own_models)


def _image(own_models: Path) -> Image:
    target = os.environ.get("IMAGE")
    if target is None:
        pytest.skip("IMAGE=cpu builds and runs the image, where a container engine is: minutes and gigabytes")
    program = engine()
    if program is None:
        pytest.skip("neither docker nor podman answers")
    return Image(program, target, own_models)
