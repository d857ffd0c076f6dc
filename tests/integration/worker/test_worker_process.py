"""A real worker process with the fake engine, over a real socket."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest

from engine_worker.engine.fake.engine import CRASH_STATUS
from engine_worker.session.actions import ExitCode
from kernel.protocol.enums import WorkerRole
from kernel.protocol.ids import JobId, Lease
from kernel.protocol.join import write_join
from kernel.protocol.specs import JobOrder
from kernel.protocol.worker import (
    Accepted,
    CancelJob,
    Drain,
    EngineFailed,
    EngineReady,
    Goodbye,
    Hello,
    ImageReady,
    ImageStored,
    JobDone,
    JobDropped,
    Leave,
    Ping,
    Progress,
    Refuse,
    RunJob,
)
from tests.integration.worker.small_manager import SmallManager
from tests.unit.worker.orders import job, load

JOB = JobId("job-1")


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "worker.log"


@pytest.fixture
def worker(manager: SmallManager, log: Path) -> "subprocess.Popen[str]":
    """A worker whose fake engine is loaded."""
    process = manager.start(manager.ticket(), log)
    manager.welcome()
    manager.order(load())
    manager.expect(EngineReady)
    return process


def run(manager: SmallManager, order: JobOrder, lease: int = 1) -> None:
    manager.order(RunJob(attempt=1, lease=Lease(lease), order=order))
    manager.expect(Accepted)


def store(manager: SmallManager, ready: ImageReady) -> None:
    manager.order(ImageStored(job_id=ready.job_id, lease=ready.lease, index=ready.index))


def test_a_worker_introduces_itself(manager: SmallManager, log: Path) -> None:
    process = manager.start(manager.ticket(), log)
    hello, received = manager.expect_whole(Hello)
    assert (hello.role, hello.worker_id, hello.token, hello.pid) == (
        WorkerRole.ENGINE,
        "worker-1",
        "the token",
        process.pid,
    )
    assert received.head.epoch == 0


def test_a_job_is_made_and_its_picture_comes_over_the_bus(
    manager: SmallManager, worker: "subprocess.Popen[str]"
) -> None:
    run(manager, job(steps=3, pictures=2))
    pictures = [manager.expect_whole(ImageReady) for _ in range(2)]
    for ready, received in pictures:
        [blob] = received.blobs
        assert bytes(blob).startswith(b"\x89PNG")
        assert hashlib.sha256(blob).hexdigest() == ready.sha256
        assert ready.size_bytes == len(blob)
    assert [ready.index for ready, _ in pictures] == [0, 1]
    assert manager.expect(JobDone) == JobDone(job_id=JOB, lease=Lease(1))
    steps = [one.body for one in manager.heard if isinstance(one.body, Progress)]
    assert steps[-1].step == steps[-1].steps == 6


def test_a_running_job_can_be_cancelled(manager: SmallManager, worker: "subprocess.Popen[str]") -> None:
    run(manager, job(prompt="[slow 20ms]", steps=10_000))
    manager.expect(Progress)
    manager.order(CancelJob(job_id=JOB, lease=Lease(1)))
    assert manager.expect(JobDropped) == JobDropped(job_id=JOB, lease=Lease(1))


def test_a_drained_worker_finishes_its_job_and_leaves(
    manager: SmallManager, worker: "subprocess.Popen[str]", tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    run(manager, job(prompt=f"[until {gate}]"))
    manager.order(Drain())
    gate.touch()
    store(manager, manager.expect(ImageReady))
    manager.expect(JobDone)
    manager.expect(Goodbye)
    assert manager.exit_code(worker) == ExitCode.LEFT


def test_a_worker_that_is_told_to_leave_does_not_wait_for_a_hanging_engine(
    manager: SmallManager, worker: "subprocess.Popen[str]"
) -> None:
    run(manager, job(prompt="[hang]"))
    manager.order(Leave())
    manager.expect(Goodbye)
    assert manager.exit_code(worker) == ExitCode.LEFT


def test_a_worker_pings_while_its_engine_hangs(
    manager: SmallManager, worker: "subprocess.Popen[str]"
) -> None:
    run(manager, job(prompt="[hang]"))
    for _ in range(3):
        manager.expect(Ping)


def test_a_worker_leaves_a_silent_manager(manager: SmallManager, log: Path) -> None:
    manager.silence_s = 0.6
    process = manager.start(manager.ticket(), log)
    manager.welcome()
    manager.is_silent = True
    assert manager.exit_code(process) == ExitCode.MANAGER_GONE


def test_a_refused_worker_leaves(manager: SmallManager, log: Path) -> None:
    process = manager.start(manager.ticket(), log)
    manager.expect(Hello)
    manager.order(Refuse(code="not_permitted", text="this token was used"))
    assert manager.exit_code(process) == ExitCode.REFUSED
    assert "this token was used" in log.read_text()


def test_a_worker_whose_key_is_unknown_leaves_at_once(manager: SmallManager, log: Path) -> None:
    join = manager.ticket()
    manager.allowed.keys.clear()
    process = manager.start(join, log)
    assert manager.exit_code(process) == ExitCode.REFUSED
    assert manager.heard == []


def test_sigterm_lets_the_job_finish(
    manager: SmallManager, worker: "subprocess.Popen[str]", tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    run(manager, job(prompt=f"[until {gate}]"))
    worker.send_signal(signal.SIGTERM)
    manager.expect(Ping)
    gate.touch()
    store(manager, manager.expect(ImageReady))
    manager.expect(Goodbye)
    assert manager.exit_code(worker) == ExitCode.LEFT


def test_a_second_sigterm_leaves_even_a_hanging_engine(
    manager: SmallManager, worker: "subprocess.Popen[str]"
) -> None:
    run(manager, job(prompt="[hang]"))
    worker.send_signal(signal.SIGTERM)
    manager.expect(Ping)
    manager.expect(Ping)
    worker.send_signal(signal.SIGTERM)
    manager.expect(Goodbye)
    assert manager.exit_code(worker) == ExitCode.LEFT


def test_ctrl_c_in_the_managers_terminal_does_not_reach_the_worker(
    manager: SmallManager, worker: "subprocess.Popen[str]"
) -> None:
    worker.send_signal(signal.SIGINT)
    run(manager, job())
    manager.expect(JobDone)


def test_a_told_crash_is_seen_as_one(manager: SmallManager, worker: "subprocess.Popen[str]") -> None:
    manager.order(RunJob(attempt=1, lease=Lease(1), order=job(prompt="[crash]")))
    # It may die before it has sent a word: whatever lay with ZeroMQ goes with the process.
    assert manager.exit_code(worker) == CRASH_STATUS


def test_a_defect_of_the_engine_ends_the_worker_and_shows_in_its_last_words(
    manager: SmallManager, worker: "subprocess.Popen[str]", log: Path
) -> None:
    run(manager, job(prompt="[bug]"))
    assert manager.exit_code(worker) == ExitCode.BUG
    assert "the prompt asked for a defect" in log.read_text()


def test_an_engine_that_cannot_be_loaded_is_reported(manager: SmallManager, log: Path) -> None:
    manager.start(manager.ticket(), log)
    manager.welcome()
    manager.order(load("fail-load"))
    assert manager.expect(EngineFailed).code == "engine_failed"


def test_a_worker_pings_while_its_engine_loads(manager: SmallManager, log: Path) -> None:
    manager.start(manager.ticket(), log)
    manager.welcome()
    manager.order(load("slow-load-1s"))
    for _ in range(3):
        manager.expect(Ping)
    manager.expect(EngineReady)


def test_bytes_that_are_no_message_change_nothing(
    manager: SmallManager, worker: "subprocess.Popen[str]", log: Path
) -> None:
    for frames in ([b""], [b"x" * 100, b"y"], [b"ASB" + bytes(27), b"\xc1"], [b""] * 40):
        manager.socket.send_multipart([manager.peer, *frames])
    run(manager, job())
    manager.expect(JobDone)
    assert "action=bad_message" in log.read_text()


def test_the_log_names_worker_and_job_and_no_secret(
    manager: SmallManager, worker: "subprocess.Popen[str]", log: Path
) -> None:
    run(manager, job())
    manager.expect(JobDone)
    lines = log.read_text().splitlines()
    assert all(" worker_id=worker-1 " in line and " job_id=" in line for line in lines)
    assert any("worker_id=worker-1 action=run_job job_id=job-1" in line for line in lines)
    assert "the token" not in log.read_text()


def test_a_worker_without_a_real_engine_imports_no_torch_and_no_database(
    manager: SmallManager, log: Path
) -> None:
    listing = (
        "import json, sys\n"
        "from engine_worker.main import main\n"
        "main()\n"
        "print(json.dumps(sorted(sys.modules)))\n"
    )
    reader, writer = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-c", listing, "--join-fd", str(reader)],
        pass_fds=[reader],
        stdout=subprocess.PIPE,
        text=True,
    )
    os.close(reader)
    with os.fdopen(writer, "wb") as pipe:
        pipe.write(write_join(manager.ticket()))
    manager.welcome()
    manager.order(load())
    manager.expect(EngineReady)
    run(manager, job())
    store(manager, manager.expect(ImageReady))
    manager.order(Drain())
    output, _ = process.communicate(timeout=20)
    loaded = set(json.loads(output))
    assert "engine_worker.engine.fake.engine" in loaded
    assert not loaded & {"apsw", "falcon", "torch", "diffusers", "numpy", "PIL", "sqlite3", "kernel.views"}


def test_a_worker_that_is_done_ends_without_tidying_up_its_interpreter() -> None:
    """With torch loaded that takes seconds. What it has said is out all the same."""
    script = (
        "import atexit, runpy, sys\n"
        "atexit.register(print, 'tidied up')\n"
        "sys.argv[1:] = ['--join-fd', '1000000']\n"
        "runpy.run_module('engine_worker.main', run_name='__main__')\n"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert "action=bad_ticket" in ended.stderr


def test_a_worker_dies_with_its_manager(manager: SmallManager, tmp_path: Path) -> None:
    """A process in between plays the Manager that is killed."""
    script = (
        "import os, subprocess, sys\n"
        "from kernel.protocol.join import write_join, read_join\n"
        "import msgspec\n"
        "join = msgspec.structs.replace(read_join(sys.stdin.buffer.read()), manager_pid=os.getpid())\n"
        "reader, writer = os.pipe()\n"
        "child = subprocess.Popen([sys.executable, '-m', 'engine_worker.main', '--join-fd', str(reader)],"
        " pass_fds=[reader])\n"
        "os.close(reader)\n"
        "with os.fdopen(writer, 'wb') as pipe: pipe.write(write_join(join))\n"
        "child.wait()\n"
    )
    between = subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert between.stdin is not None
    between.stdin.write(write_join(manager.ticket()))
    between.stdin.close()
    pid = manager.welcome().pid
    manager.expect(Ping)
    between.kill()
    between.wait()
    deadline = time.monotonic() + 5
    while _is_alive(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not _is_alive(pid)


def test_a_worker_whose_parent_is_not_the_manager_does_not_start(manager: SmallManager, log: Path) -> None:
    join = msgspec.structs.replace(manager.ticket(), manager_pid=1)
    assert manager.exit_code(manager.start(join, log)) == ExitCode.MANAGER_GONE


def _is_alive(pid: int) -> bool:
    """A process that died but was not collected by its new parent yet counts as dead."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
