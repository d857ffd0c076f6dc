"""`spoon status` and `stop` over the bus."""

import json
import subprocess
import sys
import threading
from pathlib import Path

import msgspec
import pytest

from api.cli.client.bus import ManagerConnection
from api.cli.commands.server import is_alive
from api.cli.exit_codes import ExitCode
from kernel.protocol.client import Refused, Shutdown
from kernel.protocol.enums import Phase
from kernel.protocol.errors import ManagerUnreachable, ShuttingDown
from kernel.protocol.status import ApiLife, DeviceStatus
from tests.integration.cli import fake_manager
from tests.integration.cli.command import Spoon
from tests.integration.cli.fake_api import Answer, FakeApi
from tests.integration.cli.fake_manager import RUNNING, FakeManager

BUS = Path("data/database/bus")


def test_the_status_is_said_in_words(here: Spoon) -> None:
    gpu = DeviceStatus(device="cuda:0", name="H200", total_bytes=140 * 10**9, free_bytes=70 * 10**9)
    status = msgspec.structs.replace(RUNNING, devices=(gpu,), is_disk_low=True, is_models_disk_low=True)
    with fake_manager.running(BUS, FakeManager(status=status)):
        ended = here("status")
    assert ended.out.splitlines() == [
        f"Manager 9.9: running, pid {RUNNING.pid}, up 90s",
        "jobs: 1 processing, 3 waiting",
        "engines: 2 running",
        "warning: the disk is almost full; new jobs and downloads are refused",
        "warning: the disk of models.folder is almost full; new downloads and uploads are refused",
        "DEVICE  NAME  FREE     TOTAL",
        "cuda:0  H200  70.0 GB  140.0 GB",
    ]


@pytest.mark.parametrize(
    ("is_running", "words"),
    [
        (True, "API: running, restarted 3 times after a failure (last: exit code 1)"),
        (False, "API: not running, next start in 26s, restarted 3 times"),
    ],
)
def test_the_status_says_that_the_api_dies(here: Spoon, is_running: bool, words: str) -> None:
    next_start_s = None if is_running else 25.6
    api = ApiLife(is_running=is_running, restarts=3, last_failure="exit code 1", next_start_s=next_start_s)
    with fake_manager.running(BUS, FakeManager(status=msgspec.structs.replace(RUNNING, api=api))):
        assert words in here("status").out


READY = {name: {"ok": True, "detail": "fine"} for name in ("manager", "database", "disk")}


def test_a_server_that_accepts_work_is_healthy(spoon: Spoon, api: FakeApi) -> None:
    api.on("GET", "/v1/health/ready", Answer(body={"status": "ready", **READY, "api_restarts": 0}))
    ended = spoon("health")
    assert (ended.code, ended.out) == (0, "ready\n")
    assert json.loads(spoon("health", "--json").out)["disk"] == READY["disk"]


def test_a_server_that_accepts_no_work_is_not_healthy_and_says_why(spoon: Spoon, api: FakeApi) -> None:
    checks = READY | {"disk": {"ok": False, "detail": "low"}}
    api.on("GET", "/v1/health/ready", Answer(503, {"status": "not_ready", **checks}))
    ended = spoon("health")
    assert (ended.code, ended.out) == (ExitCode.TRY_LATER, "not ready\ndisk: low\n")
    assert spoon("health", "--json").code == ExitCode.TRY_LATER


def test_a_server_that_does_not_answer_is_not_healthy(here: Spoon) -> None:
    ended = here("health")
    assert ended.code == ExitCode.UNREACHABLE
    assert "cannot reach the server" in ended.err


def test_what_is_no_server_of_ours_is_not_healthy(spoon: Spoon, api: FakeApi) -> None:
    api.on("GET", "/v1/health/ready", Answer(raw=b"<html>", mime="text/html"))
    assert spoon("health").code == ExitCode.FAILURE


def test_the_status_is_said_in_json(here: Spoon) -> None:
    with fake_manager.running(BUS, FakeManager()):
        assert json.loads(here("status", "--json").out)["jobs_waiting"] == 3


def test_without_a_manager_the_status_says_where_it_looked(here: Spoon) -> None:
    ended = here("status")
    assert ended.code == 5
    assert "this user can read no keys in" in ended.err
    assert "certificate" not in ended.err
    assert "data/database/bus" in ended.err


@pytest.mark.parametrize("damaged", ["", 'public-key = "short"', "\0"])
@pytest.mark.parametrize("name", ["manager.key", "admin.key_secret"])
def test_a_damaged_key_is_told(here: Spoon, name: str, damaged: str) -> None:
    fake_manager.write_keys(BUS)
    (BUS / name).write_text(damaged)
    ended = here("status")
    assert ended.code == ExitCode.MISCONFIGURED
    assert "the keys in" in ended.err
    assert "are damaged" in ended.err


def test_a_manager_that_has_gone_and_left_its_keys_is_not_waited_for_long(tmp_path: Path) -> None:
    fake_manager.write_keys(tmp_path / "bus")
    with (
        ManagerConnection(tmp_path / "bus") as connection,
        pytest.raises(ManagerUnreachable, match="does not answer"),
    ):
        connection.status(timeout_s=0.05)


def test_a_question_that_was_not_heard_is_sent_again_under_the_same_key(tmp_path: Path) -> None:
    with (
        fake_manager.running(tmp_path / "bus", FakeManager(deaf_for=1)) as manager,
        ManagerConnection(tmp_path / "bus") as connection,
    ):
        connection.ask(Shutdown())
    first, second = manager.commands
    assert first == second


def test_a_refusal_is_the_error_that_it_stands_for(tmp_path: Path) -> None:
    refused = Refused(code="shutting_down", detail="it is on its way out")
    with (
        fake_manager.running(tmp_path / "bus", FakeManager(reply=refused)),
        ManagerConnection(tmp_path / "bus") as connection,
        pytest.raises(ShuttingDown, match="on its way out"),
    ):
        connection.ask(Shutdown())


def test_stop_waits_until_the_process_is_gone(here: Spoon) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        status = msgspec.structs.replace(RUNNING, pid=process.pid, phase=Phase.DRAINING)
        with fake_manager.running(BUS, FakeManager(status=status)) as manager:
            assert process.stdin is not None
            end = threading.Timer(0.5, process.stdin.close)
            end.start()
            ended = here("stop", "--now")
            end.join()
    assert (ended.code, ended.out) == (0, "stopped\n")
    assert ended.err == "draining: waiting for 1 running job\n"
    assert [command.ask for command in manager.commands] == [Shutdown(now=True)]


def test_stop_says_how_long_the_running_jobs_will_take_if_the_api_tells(here: Spoon, api: FakeApi) -> None:
    here.environ["SPOON_URL"] = api.url
    job = {"job_id": "j1", "status": "processing", "progress": {"step": 1, "steps": 9, "eta_s": 65.0}}
    api.on("GET", "/v1/jobs", Answer(body={"items": [job]}))
    with fake_manager.running(BUS, FakeManager()):
        ended = here("stop", "--timeout", "1s")
    assert ended.err.splitlines()[0].endswith("waiting for 1 running job, about 1 min 5 s")


def test_stop_gives_up_after_its_timeout(here: Spoon) -> None:
    with fake_manager.running(BUS, FakeManager()):
        ended = here("stop", "--timeout", "100ms")
    assert ended.code == 9
    assert "the server is still stopping" in ended.err


def test_a_child_that_has_ended_and_was_not_fetched_is_not_alive() -> None:
    with subprocess.Popen([sys.executable, "-c", "print()"], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.read() == b"\n"
        while is_alive(process.pid):
            pass
        assert process.returncode is None
