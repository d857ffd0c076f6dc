"""The process `python -m api.main`: it says where it listens, and leaves as it should."""

import os
import re
import select
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from api.main import EXIT_CONFIGURATION
from kernel.protocol.endpoints import API_URL_FILE
from tests.integration.api.fake_manager import FakeManager
from tests.unit.views.database import SampleDatabase

ROOT = Path(__file__).parents[3]
LISTENING = "action=api_listening url="


def configuration(bus_folder: Path) -> Path:
    """Of a server whose Manager has made its database."""
    file, database = bus_folder / "spoon.toml", bus_folder / "data/database/spoon.sqlite3"
    database.parent.mkdir(parents=True, exist_ok=True)
    SampleDatabase(database).close()
    file.write_text(f'[bus]\nfolder = "{bus_folder}"\n[server]\nport = 0\nthreads = 4\n')
    return file


@contextmanager
def started(bus_folder: Path, *options: str) -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, "-m", "api.main", "--config", str(configuration(bus_folder)), *options]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def url_of(process: "subprocess.Popen[str]") -> str:
    assert process.stderr is not None
    start, _, url = process.stderr.readline().partition(LISTENING)
    assert re.fullmatch(r"at=\S+Z level=info process=api ", start), "as the Manager's lines begin"
    return url.strip()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_says_where_it_listens_and_leaves_when_asked(bus_folder: Path, number: signal.Signals) -> None:
    with FakeManager(bus_folder), started(bus_folder) as process:
        url = url_of(process)
        assert (bus_folder / API_URL_FILE).read_text() == f"{url}\n"
        with urllib.request.urlopen(f"{url}/v1/devices", timeout=10) as answer:
            assert answer.status == 200
        process.send_signal(number)
        assert process.wait(10) == 0
        assert not (bus_folder / API_URL_FILE).exists()
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.read() == ""
        assert process.stderr.read().endswith(" level=info process=api action=api_stopped\n")


def test_signals_that_come_while_it_ends_change_nothing(bus_folder: Path) -> None:
    with FakeManager(bus_folder), started(bus_folder) as process:
        url_of(process)
        while process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.send_signal(signal.SIGINT)
            time.sleep(0.002)
        assert process.returncode == 0
        assert process.stderr is not None
        assert process.stderr.read().endswith(" level=info process=api action=api_stopped\n")


def test_it_ends_when_its_parent_is_gone_already(bus_folder: Path) -> None:
    with started(bus_folder, "--parent-pid", "1") as process:
        assert process.wait(30) == 0


def test_it_ends_with_its_parent(bus_folder: Path) -> None:
    """The parent is a process in between, which is killed."""
    program = (
        "import os, subprocess, sys, time\n"
        f"command = [sys.executable, '-m', 'api.main', '--config', {str(configuration(bus_folder))!r}]\n"
        "child = subprocess.Popen([*command, '--parent-pid', str(os.getpid())], stderr=sys.stdout)\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    with (
        FakeManager(bus_folder),
        subprocess.Popen(
            [sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, text=True
        ) as parent,
    ):
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert LISTENING in parent.stdout.readline()
        ended = os.pidfd_open(child)
        parent.kill()
        assert has_ended(ended, 10.0), "the API outlived its parent"
        os.close(ended)


def has_ended(descriptor: int, timeout_s: float) -> bool:
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(timeout_s * 1_000))


def test_without_a_manager_it_says_so(tmp_path: Path) -> None:
    with started(tmp_path) as process:
        assert process.wait(30) == 78
        assert process.stderr is not None
        assert "is the Manager running?" in process.stderr.read()


def test_a_port_that_is_taken_is_told(bus_folder: Path) -> None:
    with FakeManager(bus_folder), started(bus_folder) as first:
        port = url_of(first).rpartition(":")[2]
        file = configuration(bus_folder)
        file.write_text(file.read_text().replace("port = 0", f"port = {port}"))
        command = [sys.executable, "-m", "api.main", "--config", str(file)]
        second = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)
        assert second.returncode == 78
        assert f"server.port {port}" in second.stderr


def test_it_imports_neither_the_kernels_inside_nor_torch() -> None:
    program = (
        "import sys, api.main\n"
        "heavy = ('torch', 'diffusers', 'numpy', 'PIL', 'engine_worker', 'kernel.core', 'kernel.shell')\n"
        "print(sorted(name for name in sys.modules if name.startswith(heavy)))\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("more", "has_key", "is_served"),
    [
        ({}, False, False),
        ({}, True, True),
        ({"SPOON_SERVER_OPEN_WITHOUT_KEYS": "true"}, False, True),
        ({"SPOON_SERVER_HOST": "127.0.0.1"}, False, True),
    ],
)
def test_other_machines_are_served_only_if_there_is_a_key_or_the_owner_says_so(
    bus_folder: Path, more: dict[str, str], has_key: bool, is_served: bool
) -> None:
    command = [sys.executable, "-m", "api.main", "--config", str(configuration(bus_folder))]
    if has_key:
        database = SampleDatabase(bus_folder / "data/database/spoon.sqlite3")
        database.add_key("00000000-0000-7000-8000-000000000001", "me", "admin")
        database.close()
    environ = os.environ | {"SPOON_SERVER_HOST": "0.0.0.0"} | more
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, env=environ) as process:
        assert process.stderr is not None
        said = process.stderr.readline()
        if not is_served:
            assert process.wait(10) == EXIT_CONFIGURATION
            assert said.startswith("api: server.host is 0.0.0.0, which other machines can reach")
            assert "spoon keys create NAME --role admin" in said
            return
        assert LISTENING in said
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
