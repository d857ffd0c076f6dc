"""Workers of a pool that commands start, watch and end: real programs, and what can go wrong with them."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from conf.pools import LauncherKind, Pool
from kernel.process.worker_logs import logs_of
from kernel.protocol.ids import WorkerId
from kernel.shell.launchers.driver_process import driver_command
from kernel.shell.launchers.exits import LAST_WORDS_BYTES
from kernel.shell.launchers.local import LOGS_KEPT
from kernel.shell.ports import Exited, LaunchRuns, LaunchWaits
from tests.acceptance.patience import wait_for
from tests.integration.launchers.pools import ENGINE, POOL, WORKER, Launching, is_alive, launching, python

OTHER = WorkerId("w1-2")
SAY_PID = "import os, sys; open(sys.argv[1], 'w').write(str(os.getpid()));"
SLEEP = "import time; time.sleep(600)"
DEAF = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
FAKE_SSH = """#!/bin/sh
# As ssh: connects to a host and has its shell run a line there.
[ "$1" = "gpu1" ] || { echo "ssh: connect to host $1 port 22: Connection refused" >&2; exit 255; }
shift
exec sh -c "$*"
"""


def pool(**keys: object) -> Pool:
    return Pool(launcher=LauncherKind.COMMAND, token_file="/etc/spoon/lab.token", **keys)


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Callable[..., Launching]]:
    """Opens launchers for a pool with these keys, and closes them in the end."""
    closing = []

    def open_(**keys: object) -> Launching:
        manager = launching(tmp_path / "logs", pool(**keys))
        closing.append(manager)
        return manager.__enter__()

    yield open_
    for manager in closing:
        manager.__exit__(None, None, None)


@pytest.fixture
def ssh(tmp_path: Path) -> str:
    script = tmp_path / "ssh"
    script.write_text(FAKE_SSH)
    script.chmod(0o755)
    return str(script)


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """The file from which a pool's `poll` reads how the worker is."""
    return tmp_path / "state"


def polled(state: Path, **keys: object) -> dict[str, object]:
    return {"start": ("true", "{name}"), "poll": ("cat", str(state)), "poll_every_s": 0.1} | keys


def pid_in(file: Path) -> int:
    return int(wait_for("the worker writes its pid", lambda: file.exists() and file.read_text()))


def test_a_worker_runs_as_long_as_its_start_command_and_its_end_is_told(opened, ssh) -> None:
    line = "echo joining as {name} with {token_file} at {manager}; exit 3"
    lab = opened(start=(ssh, "gpu1", line))
    lab.launch()
    assert lab.next() == LaunchRuns(WORKER)
    exited = lab.next()
    assert isinstance(exited, Exited)
    assert (exited.name, exited.status, exited.exit_code) == (WORKER, "exit code 3", 3)
    assert exited.last_words.endswith("joining as w1-1 with /etc/spoon/lab.token at tcp://10.0.0.1:7871\n")


def test_a_host_that_cannot_be_reached_is_the_end_with_the_words_of_ssh(opened, ssh) -> None:
    lab = opened(start=(ssh, "gpu2", "spoon worker --launch {name}"))
    lab.launch()
    exited = lab.end()
    assert exited.status == "exit code 255"
    assert "connect to host gpu2 port 22: Connection refused" in exited.last_words


def test_arguments_are_filled_in_without_a_shell(opened, tmp_path: Path) -> None:
    shown = "import sys; print(sys.argv[1:])"
    lab = opened(start=python(shown, "$(id) {name}; *", "{{pool}}", "a b"))
    lab.launch()
    assert lab.end().last_words.endswith("['$(id) w1-1; *', '{lab}', 'a b']\n")


def test_of_long_output_the_end_is_told_and_all_is_in_the_log_of_the_engine(opened) -> None:
    lab = opened(start=python(f"print('x' * {2 * LAST_WORDS_BYTES} + 'end')", "{name}"))
    lab.launch()
    words = lab.end().last_words
    assert len(words) == LAST_WORDS_BYTES
    assert words.endswith("end\n")
    (log,) = logs_of(lab.logs, ENGINE, 10, 10)
    assert log.worker_id == WORKER
    assert log.size_bytes > 2 * LAST_WORDS_BYTES


def test_old_logs_of_launches_are_removed_and_those_of_running_workers_kept(opened, tmp_path: Path) -> None:
    lab = opened(start=python(f"{SAY_PID} {SLEEP}", str(tmp_path / "{name}")))
    lab.launch()
    pid_in(tmp_path / WORKER)
    for number in range(2 * LOGS_KEPT):
        (lab.logs / f"w0-{number}.log").touch()
    lab.launch(OTHER)
    assert len(list(lab.logs.glob("w0-*.log"))) == LOGS_KEPT
    assert (lab.logs / f"{WORKER}.log").exists()


def test_a_program_that_is_not_there_is_an_end_and_others_go_on(opened) -> None:
    lab = opened(start=("/nowhere/{name}",))
    lab.launch()
    assert lab.next() == Exited(
        WORKER, "could not start: [Errno 2] No such file or directory: '/nowhere/w1-1'", "", None
    )
    lab.launch(OTHER)
    assert lab.end(OTHER).status.startswith("could not start")


def test_stop_is_sigterm_without_a_command_for_it(opened) -> None:
    said = (
        "import signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: sys.exit('left in order'));"
        "print('up', flush=True); time.sleep(600)"
    )
    lab = opened(start=python(said, "{name}"))
    lab.launch()
    wait_for("the worker is up", lambda: "up" in (lab.logs / f"{WORKER}.log").read_text())
    lab.launchers.terminate(WORKER)
    exited = lab.end()
    assert exited.exit_code == 1
    assert "left in order" in exited.last_words


def test_kill_ends_a_deaf_worker_and_what_it_has_started(opened, tmp_path: Path) -> None:
    child = f"{SAY_PID} {DEAF} {SLEEP}"
    parent = f"import subprocess, sys; {DEAF} subprocess.run([sys.executable, '-c', {child!r}, sys.argv[1]])"
    lab = opened(start=python(parent, str(tmp_path / "pid"), "{name}"))
    lab.launch()
    pid = pid_in(tmp_path / "pid")
    lab.launchers.terminate(WORKER)
    lab.launchers.kill(WORKER)
    assert lab.end().status == "signal SIGKILL"
    wait_for("the worker's child has ended", lambda: not is_alive(pid))


def test_the_stop_command_lets_a_worker_leave_that_its_start_command_only_watches(
    opened, tmp_path: Path
) -> None:
    flag = tmp_path / "leave"
    watching = f"import os, time\nwhile not os.path.exists({str(flag)!r}): time.sleep(0.01)"
    lab = opened(start=python(watching, "{name}"), stop=("touch", str(flag)))
    lab.launch()
    assert lab.next() == LaunchRuns(WORKER)
    lab.launchers.terminate(WORKER)
    assert lab.next().status == "exit code 0"


def test_a_start_that_returns_at_once_is_followed_by_polls(opened, state: Path) -> None:
    state.write_text("PENDING: Resources\n")
    lab = opened(**polled(state))
    lab.launch()
    assert lab.next() == LaunchWaits(WORKER, "Resources")
    state.write_text("PENDING: Priority\n")
    assert lab.next() == LaunchWaits(WORKER, "Priority")
    state.write_text("RUNNING: None\n")
    assert lab.next() == LaunchRuns(WORKER)
    state.write_text("PREEMPTED\nby a job of higher priority\n")
    exited = lab.next()
    assert (exited.status, exited.exit_code) == ("PREEMPTED", None)
    assert "by a job of higher priority" in exited.last_words


def test_a_poll_that_fails_says_nothing_and_three_in_a_row_that_the_worker_is_gone(
    opened, state: Path, tmp_path: Path
) -> None:
    counted = tmp_path / "count"
    poll = f"echo >> {counted}; n=$(wc -l < {counted}); [ $n -le 2 ] || [ $n -ge 6 ] && exit 1; echo Running"
    lab = opened(**polled(state, poll=("sh", "-c", poll)))
    lab.launch()
    assert lab.next() == LaunchRuns(WORKER)
    assert lab.next().status == "the poll command finds it no more"
    assert len(counted.read_text()) == 8


def test_a_start_that_fails_is_the_end_also_with_polls(opened, state: Path) -> None:
    state.write_text("running")
    failing = ("sh", "-c", "echo 'no such image: {name}' >&2; exit 125")
    lab = opened(**polled(state, start=failing, poll_every_s=3600.0))
    lab.launch()
    exited = lab.end()
    assert exited.status == "exit code 125"
    assert "no such image: w1-1" in exited.last_words


def test_the_kill_command_ends_what_the_start_command_left_behind(opened, state: Path) -> None:
    state.write_text("running")
    lab = opened(**polled(state, kill=("sh", "-c", f"echo exited > {state}")))
    lab.launch()
    assert lab.next() == LaunchRuns(WORKER)
    lab.launchers.terminate(WORKER)  # there is no command for it
    lab.launchers.kill(WORKER)
    assert lab.next().status == "exited"


def test_a_worker_that_nothing_can_end_is_given_up(opened, state: Path) -> None:
    state.write_text("running")
    lab = opened(**polled(state))
    lab.launch()
    assert lab.next() == LaunchRuns(WORKER)
    lab.launchers.kill(WORKER)
    assert lab.next().status == "given up: no command of its pool could end it"


def test_orders_for_a_worker_that_is_gone_are_no_error(opened) -> None:
    lab = opened(start=("true", "{name}"))
    lab.launch()
    lab.end()
    lab.launchers.terminate(WORKER)
    lab.launchers.kill(WORKER)
    lab.launch(OTHER)
    assert lab.end(OTHER).status == "exit code 0"


def test_a_pool_without_a_launcher_starts_nothing(tmp_path: Path) -> None:
    with launching(tmp_path, Pool()) as lab, pytest.raises(OSError, match="no launcher for the pool lab"):
        lab.launch()


def test_without_ray_a_launch_says_what_to_install(tmp_path: Path) -> None:
    ray = Pool(launcher=LauncherKind.RAY, worker=("{name}",))
    missing = partial(driver_command, find=lambda name: None)
    with launching(tmp_path, ray, missing) as lab, pytest.raises(OSError, match="with its ray extra"):
        lab.launch()


def test_a_driver_that_dies_takes_its_workers_with_it_and_the_next_launch_has_another(
    opened, tmp_path: Path
) -> None:
    lab = opened(start=python(f"{SAY_PID} {SLEEP}", str(tmp_path / "{name}")))
    lab.launch()
    lab.launch(OTHER)
    pids = [pid_in(tmp_path / name) for name in (WORKER, OTHER)]
    os.kill(lab.launchers.pids()[POOL], signal.SIGKILL)
    ended = [lab.end(name).status for name in (WORKER, OTHER)]
    assert ended == ["the launcher of pool lab ended: signal SIGKILL"] * 2
    wait_for("its workers have ended", lambda: not any(map(is_alive, pids)))
    again = WorkerId("w1-3")
    lab.launch(again)
    assert is_alive(pid_in(tmp_path / again))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_the_workers_end_with_the_manager(tmp_path: Path, number: signal.Signals) -> None:
    """Both one that runs as long as its start command and one that is only polled: its kill command is
    run."""
    state = tmp_path / "state"
    state.write_text("running")
    manager = f"""
import signal
from pathlib import Path
from kernel.protocol.ids import WorkerId
from tests.integration.launchers.pools import Launching, python
from tests.integration.launchers.test_command_launcher import SAY_PID, SLEEP, polled, pool
tmp, state = Path({str(tmp_path)!r}), Path({str(state)!r})
kept = Launching(tmp / "a", pool(start=python(SAY_PID + SLEEP, str(tmp / "pid"), "{{name}}")))
kept.launch()
left = Launching(tmp / "b", pool(**polled(state, kill=("sh", "-c", f"echo exited > {{state}}"))))
left.launch(WorkerId("w1-2"))
left.next()
print("up", flush=True)
signal.pause()
"""
    process = subprocess.Popen([sys.executable, "-c", manager], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "up\n"
    pid = pid_in(tmp_path / "pid")
    process.send_signal(number)
    process.communicate()
    wait_for("the worker has ended", lambda: not is_alive(pid))
    wait_for("the kill command was run", lambda: state.read_text() == "exited\n")


@pytest.mark.parametrize(
    "driver",
    [
        "print('no report', flush=True); import time; time.sleep(600)",
        "import os, time; os.close(1); time.sleep(600)",
        "print('x' * (2 << 20), end='', flush=True); import time; time.sleep(600)",
        "raise SystemExit('broken')",
    ],
    ids=["garbage", "no stdout", "no end of a line", "exits"],
)
def test_a_broken_driver_is_ended_and_said_to_be_the_cause(tmp_path: Path, driver: str) -> None:
    with launching(tmp_path / "logs", pool(start=("true",)), lambda _: python(driver)) as lab:
        lab.launch()
        assert lab.end().status.startswith("the launcher of pool lab ended: ")


def test_a_driver_that_reads_no_orders_is_ended_before_the_manager_waits_for_it(tmp_path: Path) -> None:
    with launching(tmp_path / "logs", pool(start=("true",)), lambda _: python(SLEEP)) as lab:
        lab.launch()
        for _ in range(10_000):
            lab.launchers.terminate(WORKER)
        assert lab.end().status == "the launcher of pool lab ended: signal SIGKILL"
