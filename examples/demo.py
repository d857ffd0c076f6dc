"""One picture from nothing: `make demo` runs this; with --stay, `make page` does.

It starts a server on a temporary data folder and a free port, and then does with the command `spoon` what a
person would do: registers the checkpoint that ships with the project, draws a picture with it, and stops
the server. With --stay it leaves the server running for its web page, until Ctrl-C.
"""

import argparse
import os
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
START_S: Final = 60.0
STOP_S: Final = 60.0
TAIL_LINES: Final = 40

CONFIGURATION: Final = """\
[database]
folder = "database"
[images]
folder = "images"
min_free = "100MB"
[blobs]
folder = "blobs"
[models]
folder = "models"
file_roots = ["{models}"]
[server]
port = {port}
"""
PAGE_PORT: Final = 7870
"""Where a server has its page unless somebody says otherwise."""
ENGINE: Final = (
    "--scheduler",
    "dpmpp_2m",
    "--steps",
    "20",
    "--cfg",
    "5",
    "--width",
    "128",
    "--height",
    "128",
)
"""What suits the small model."""


class Failed(Exception):
    """A step of the demo did not work; the text says which."""


def main() -> int:
    parser = argparse.ArgumentParser(description="Draw one picture with a server of its own.")
    parser.add_argument("--prompt", default="a large red circle on a blue background")
    parser.add_argument("--out", type=Path, default=Path("demo.png"), help="where the picture goes")
    parser.add_argument("--stay", action="store_true", help="leave the server running for its web page")
    options = parser.parse_args()
    # A short path: that of a socket has 107 bytes at most.
    with TemporaryDirectory(prefix="spoon-", dir="/tmp") as name:
        folder = Path(name)
        try:
            if options.stay:
                stay(folder, options.prompt)
                return 0
            draw(folder, options.prompt, options.out.absolute())
        except Failed as failure:
            print(f"demo: {failure}", file=sys.stderr)
            for line in tail_of_logs(folder):
                print(f"    {line}", file=sys.stderr)
            return 1
    print(f"picture: {options.out}")
    return 0


def draw(folder: Path, prompt: str, out: Path) -> None:
    """Everything from an empty folder to the picture. Raises: Failed."""
    config = configured(folder, 0)
    with server(folder, config):
        register(config, "scenes-sd", "checkpoint", "scenes")
        say(f'drawing "{prompt}"')
        spoon(config, "draw", prompt, "--steps", "20", "--seed", "1", "--out", str(out), "--force")
        say("stopping the server")
        spoon(config, "stop")


def stay(folder: Path, prompt: str) -> None:
    """A server with the models that ship and a first image, until somebody presses Ctrl-C. Raises: Failed."""
    for number in (signal.SIGINT, signal.SIGTERM):  # also where a shell has it ignored
        signal.signal(number, signal.default_int_handler)
    port = free_port()
    config = configured(folder, port)
    with server(folder, config):
        try:
            register(config, "scenes-sd", "checkpoint", "scenes")
            register(config, "stripes-sd", "lora", "stripes")
            spoon(config, "engines", "create", "scenes", "--name", "scenes", *ENGINE)
            spoon(config, "jobs", "submit", prompt, "--engine", "scenes", "--seed", "1")
            say("everything is gone when it ends; `spoon serve` keeps what you make")
            say(f"page: http://127.0.0.1:{port}/  (Ctrl-C stops it)")
            signal.pause()
        except KeyboardInterrupt:
            say("stopping the server")
        spoon(config, "stop")


def free_port() -> int:
    """The usual port, or if somebody has it another one that is free now."""
    for port in (PAGE_PORT, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise Failed("no port is free")


def configured(folder: Path, port: int) -> Path:
    """Write the configuration; port 0: any."""
    config = folder / "spoon.toml"
    config.write_text(CONFIGURATION.format(models=shipped("scenes-sd").parent, port=port), encoding="utf-8")
    return config


def register(config: Path, shipped_name: str, model_type: str, name: str) -> None:
    """Register a model that ships. Raises: Failed."""
    say(f"registering the {model_type} that ships")
    spoon(config, "models", "add", str(shipped(shipped_name)), "--type", model_type, "--name", name, "--wait")


def shipped(name: str) -> Path:
    """Where a small model lies that ships with the project."""
    asked = [sys.executable, "-m", "engine_worker.embedded", name]
    return Path(subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip())


@contextmanager
def server(folder: Path, config: Path) -> Iterator[None]:
    """A running server. Whatever happens, none is left behind. Raises: Failed, if it starts or ends badly."""
    say("starting the server")
    with (
        (folder / "server.log").open("wb") as log,
        subprocess.Popen(
            command(config, "serve"),
            cwd=ROOT,
            env=environment(),
            stdout=log,
            stderr=log,
            start_new_session=True,  # Ctrl-C is for this process, which ends the server in order
        ) as process,
    ):
        try:
            wait_until_ready(process, config)
            yield
            if process.wait(STOP_S) != 0:
                raise Failed(f"the server ended with exit code {process.returncode}")
        except subprocess.TimeoutExpired as error:
            raise Failed("the server did not stop") from error
        finally:
            process.kill()


def wait_until_ready(process: "subprocess.Popen[bytes]", config: Path) -> None:
    """Ask until the server answers. Raises: Failed, if it ends, or a minute does."""
    end = time.monotonic() + START_S
    while time.monotonic() < end:
        if process.poll() is not None:
            raise Failed(f"the server ended with exit code {process.returncode} instead of starting")
        answer = subprocess.run(
            command(config, "engines", "list"), cwd=ROOT, env=environment(), capture_output=True, check=False
        )
        if answer.returncode == 0:
            return
        time.sleep(0.2)
    raise Failed(f"the server does not answer: {answer.stderr.decode().strip()}")


def spoon(config: Path, *arguments: str) -> None:
    """Run one command as a person would, its output below ours. Raises: Failed, if it fails."""
    line = command(config, *arguments)
    ended = subprocess.run(line, cwd=ROOT, env=environment(), check=False)
    if ended.returncode != 0:
        raise Failed(f"this failed with exit code {ended.returncode}: {' '.join(line[1:])}")


def command(config: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "api.cli.main", "--config", str(config), *arguments]


def environment() -> dict[str, str]:
    """Ours, less what would point at another server."""
    return {name: value for name, value in os.environ.items() if not name.startswith("SPOON_")}


def tail_of_logs(folder: Path) -> Iterator[str]:
    """The last lines of the server's log and of those of its workers."""
    for file in [folder / "server.log", *sorted((folder / "database" / "logs").glob("*.log"))]:
        if file.exists():
            yield f"{file.name}:"
            with file.open(encoding="utf-8", errors="replace") as stream:
                yield from (f"  {line.rstrip()}" for line in deque(stream, TAIL_LINES))


def say(text: str) -> None:
    print(f"-- {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
