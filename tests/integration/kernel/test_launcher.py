"""Processes that the Manager starts: seen the moment that they end, with the last that they said."""

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from kernel.process.signals import SignalPipe
from kernel.process.worker_logs import logs_of
from kernel.protocol.enums import WorkerRole
from kernel.protocol.ids import EngineId, WorkerId
from kernel.protocol.join import WORKER_ENVIRON, Join
from kernel.shell.launchers.exits import LAST_WORDS_BYTES
from kernel.shell.launchers.local import LOGS_KEPT, SubprocessLauncher
from kernel.shell.launchers.standby import StandbyTerms
from kernel.shell.ports import Exited
from kernel.shell.process_resources import WATCHED

PATIENCE_S = 20.0
SLEEP_LONG = "import time; print('up', flush=True); time.sleep(600)"


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    return tmp_path / "logs"


@pytest.fixture
def pipe() -> Iterator[SignalPipe]:
    opened = SignalPipe(WATCHED)
    yield opened
    opened.close()


@pytest.fixture
def launcher(logs: Path, pipe: SignalPipe) -> Iterator[SubprocessLauncher]:
    """Whatever still runs in the end is killed."""
    launcher = SubprocessLauncher(logs, os.environ)
    yield launcher
    for name in ("a", "b"):
        launcher.kill(name)
    deadline_s = time.monotonic() + PATIENCE_S
    while launcher._processes and time.monotonic() < deadline_s:
        select.select([pipe], [], [], 0.1)
        launcher.poll()


def start(launcher: SubprocessLauncher, program: str, name: str = "a") -> None:
    launcher.start(name, [sys.executable, "-c", program])


def expect_up(logs: Path, name: str = "a", word: str = "up") -> None:
    """Wait until the process has said that it is up."""
    deadline_s = time.monotonic() + PATIENCE_S
    while word not in (logs / f"{name}.log").read_text():
        assert time.monotonic() < deadline_s, "the process did not come up"
        time.sleep(0.01)


def next_exit(launcher: SubprocessLauncher, pipe: SignalPipe) -> Exited:
    """Sleep on the signals alone, as the loop does, until a process has ended."""
    deadline_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline_s:
        if select.select([pipe], [], [], 1.0)[0]:
            pipe.take_all()
            if ended := launcher.poll():
                (exited,) = ended
                return exited
    raise AssertionError("no process ended")


def test_a_log_names_the_engine_of_its_worker_beside_what_the_worker_says(logs: Path) -> None:
    launcher = SubprocessLauncher(logs, os.environ)
    logs.joinpath("w1-1.log").write_text("of a former worker of this name\n")
    try:
        launcher.launch(a_join(role=WorkerRole.FETCH), EngineId("e1"))  # it imports no engine
        expect_up(logs, "w1-1", "action=manager_gone")
    finally:
        launcher.end_workers()
    (found,) = logs_of(logs, EngineId("e1"), 99, 9)
    assert "process=manager action=worker_launched worker_id=w1-1 engine_id=e1" in found.lines[0]
    assert "action=manager_gone" in found.lines[1]


def test_an_end_is_told_with_its_status_and_the_last_words(
    launcher: SubprocessLauncher, pipe: SignalPipe
) -> None:
    start(launcher, "import sys; print('out'); sys.stderr.write('the reason\\n'); sys.exit(3)")

    exited = next_exit(launcher, pipe)

    assert (exited.name, exited.status) == ("a", "exit code 3")
    assert set(exited.last_words.splitlines()) == {"out", "the reason"}


def test_of_long_last_words_the_end_is_kept(launcher: SubprocessLauncher, pipe: SignalPipe) -> None:
    start(launcher, "print('x' * 100_000, end='the end')")

    last_words = next_exit(launcher, pipe).last_words

    assert last_words.endswith("xthe end")
    assert len(last_words) == LAST_WORDS_BYTES


def test_last_words_that_are_no_text_are_no_error(launcher: SubprocessLauncher, pipe: SignalPipe) -> None:
    start(launcher, r"import sys; sys.stdout.buffer.write(b'\xff\xfe end')")

    assert next_exit(launcher, pipe).last_words.endswith(" end")


def test_a_killed_process_is_seen_at_once(launcher: SubprocessLauncher, pipe: SignalPipe, logs: Path) -> None:
    start(launcher, SLEEP_LONG)
    expect_up(logs)

    launcher.kill("a")

    assert next_exit(launcher, pipe) == Exited("a", "signal SIGKILL", "up\n")


def test_terminating_lets_a_process_end_in_its_own_way(
    launcher: SubprocessLauncher, pipe: SignalPipe, logs: Path
) -> None:
    start(launcher, f"import signal, sys; signal.signal(15, lambda *_: sys.exit(7)); {SLEEP_LONG}")
    expect_up(logs)

    launcher.terminate("a")

    assert next_exit(launcher, pipe).status == "exit code 7"


def test_two_ends_at_once_are_both_told(launcher: SubprocessLauncher, pipe: SignalPipe, logs: Path) -> None:
    for name in ("a", "b"):
        start(launcher, SLEEP_LONG, name)
        expect_up(logs, name)
    for name in ("a", "b"):
        launcher.kill(name)

    ended: set[str] = set()
    deadline_s = time.monotonic() + PATIENCE_S
    while len(ended) < 2 and time.monotonic() < deadline_s:
        select.select([pipe], [], [], 1.0)
        pipe.take_all()
        ended |= {exited.name for exited in launcher.poll()}
    assert ended == {"a", "b"}


def test_an_end_is_told_once(launcher: SubprocessLauncher, pipe: SignalPipe) -> None:
    start(launcher, "")
    next_exit(launcher, pipe)
    assert launcher.poll() == []


def test_signals_to_a_process_that_is_gone_are_no_error(launcher: SubprocessLauncher) -> None:
    launcher.terminate("never there")
    launcher.kill("never there")


def test_a_program_that_is_not_there_is_an_error_and_no_process(launcher: SubprocessLauncher) -> None:
    with pytest.raises(FileNotFoundError):
        launcher.start("a", ["/absent/program"])
    assert launcher.poll() == []


def test_a_process_is_out_of_reach_of_the_terminals_ctrl_c(
    launcher: SubprocessLauncher, pipe: SignalPipe
) -> None:
    start(launcher, "import os; print(os.getsid(0) == os.getpid())")
    assert next_exit(launcher, pipe).last_words == "True\n"


def test_a_process_inherits_no_descriptor_that_it_was_not_given(
    launcher: SubprocessLauncher, pipe: SignalPipe
) -> None:
    reader, writer = os.pipe()
    os.set_inheritable(reader, True)
    start(launcher, f"import os\ntry: os.fstat({reader})\nexcept OSError: print('closed')")
    assert next_exit(launcher, pipe).last_words == "closed\n"
    os.close(reader)
    os.close(writer)


def test_old_logs_of_workers_are_removed_and_others_are_not(
    launcher: SubprocessLauncher, pipe: SignalPipe, logs: Path
) -> None:
    for number in range(LOGS_KEPT + 5):
        (logs / f"w1-{number}.log").touch()
        os.utime(logs / f"w1-{number}.log", (number, number))
    (logs / "api.log").touch()

    start(launcher, "")
    next_exit(launcher, pipe)

    left = {file.name for file in logs.iterdir()}
    assert left == {f"w1-{n}.log" for n in range(5, LOGS_KEPT + 5)} | {"api.log", "a.log"}


@pytest.mark.parametrize(("number", "told"), [(signal.SIGSEGV, "signal SIGSEGV"), (40, "signal 40")])
def test_the_signal_that_ended_a_process_is_told_by_name_if_it_has_one(
    launcher: SubprocessLauncher, pipe: SignalPipe, number: int, told: str
) -> None:
    start(launcher, f"import os; os.kill(os.getpid(), {int(number)})")
    assert next_exit(launcher, pipe).status == told


def test_a_log_that_somebody_removed_costs_only_the_last_words(
    launcher: SubprocessLauncher, pipe: SignalPipe, logs: Path
) -> None:
    start(launcher, SLEEP_LONG)
    expect_up(logs)
    (logs / "a.log").unlink()

    launcher.kill("a")

    assert next_exit(launcher, pipe) == Exited("a", "signal SIGKILL", "")


def a_join(worker_id: str = "w1-1", role: WorkerRole = WorkerRole.ENGINE) -> Join:
    """A ticket for a worker that finds its Manager gone as soon as it has read it."""
    return Join(
        role=role,
        worker_id=WorkerId(worker_id),
        endpoint="ipc:///nowhere",
        server_public_key="",
        public_key="",
        secret_key="",
        token="",
        manager_pid=1,
    )


@pytest.fixture
def keeping(logs: Path, pipe: SignalPipe) -> Iterator[SubprocessLauncher]:
    """A launcher with one standby that waits."""
    launcher = SubprocessLauncher(logs, os.environ, StandbyTerms(count=1, min_free_bytes=0))
    launcher.standbys.tend(0.0, is_loading=False, is_busy=False)
    yield launcher
    launcher.standbys.end()
    for gone in launcher.standbys._dismissed:
        gone.process.wait(PATIENCE_S)


def test_an_engine_gets_the_process_that_waits_with_its_log_under_the_workers_name(
    keeping: SubprocessLauncher, pipe: SignalPipe, logs: Path
) -> None:
    (pid,) = keeping.standbys.pids()

    keeping.launch(a_join())

    assert keeping.pids() == {WorkerId("w1-1"): pid}
    assert keeping.standbys.pids() == []
    exited = next_exit(keeping, pipe)
    assert (exited.name, exited.status) == ("w1-1", "exit code 4")
    assert "worker_id=w1-1 job_id=- action=manager_gone" in exited.last_words
    assert not (logs / "standby-1.log").exists()


def test_the_log_of_a_standby_stays_however_many_workers_come_and_go_meanwhile(
    keeping: SubprocessLauncher, pipe: SignalPipe, logs: Path
) -> None:
    os.utime(logs / "standby-1.log", (0, 0))
    for number in range(LOGS_KEPT):
        (logs / f"w0-{number}.log").touch()
    keeping.launch(a_join(role=WorkerRole.FETCH))
    assert next_exit(keeping, pipe).name == "w1-1"
    assert (logs / "standby-1.log").exists()


@pytest.mark.parametrize(
    "join",
    [a_join(role=WorkerRole.FETCH), msgspec.structs.replace(a_join(), is_fake=True)],
    ids=["fetch", "fake"],
)
def test_a_worker_that_needs_no_libraries_leaves_the_standby_alone(
    keeping: SubprocessLauncher, pipe: SignalPipe, join: Join
) -> None:
    waiting = keeping.standbys.pids()
    keeping.launch(join)
    assert next_exit(keeping, pipe).name == "w1-1"
    assert keeping.standbys.pids() == waiting


@pytest.mark.parametrize(
    ("is_set", "found"),
    [
        ({}, ("PASSIVE", "glibc.malloc.tcache_count=0")),
        ({"OMP_WAIT_POLICY": "ACTIVE"}, ("ACTIVE", "glibc.malloc.tcache_count=0")),
        ({"GLIBC_TUNABLES": "glibc.malloc.perturb=1"}, ("PASSIVE", "glibc.malloc.perturb=1")),
    ],
)
def test_threads_of_a_worker_wait_asleep_and_its_heap_has_no_caches_unless_its_owner_wants_it_otherwise(
    is_set: dict[str, str], found: tuple[str, str], logs: Path
) -> None:
    others = {name: value for name, value in os.environ.items() if name not in WORKER_ENVIRON}
    words = environment_of_a_worker(
        SubprocessLauncher(logs, others | is_set, StandbyTerms(count=1, min_free_bytes=0))
    )
    assert (words["OMP_WAIT_POLICY"], words["GLIBC_TUNABLES"]) == found


@pytest.mark.parametrize(("threads", "found"), [(0, "7"), (3, "3")])
def test_the_configuration_says_how_many_threads_a_worker_has_or_its_owner_does(
    threads: int, found: str, logs: Path
) -> None:
    environ = os.environ | {"OMP_NUM_THREADS": "7"}
    words = environment_of_a_worker(
        SubprocessLauncher(logs, environ, StandbyTerms(count=1, min_free_bytes=0), threads)
    )
    assert words["OMP_NUM_THREADS"] == found


def environment_of_a_worker(launcher: SubprocessLauncher) -> dict[str, str]:
    launcher.standbys.tend(0.0, is_loading=False, is_busy=False)
    (pid,) = launcher.standbys.pids()
    words = environment_of(pid)
    launcher.standbys.end()
    for gone in launcher.standbys._dismissed:
        gone.process.wait(PATIENCE_S)
    return words


def environment_of(pid: int) -> dict[str, str]:
    """Of a process that is about to become a program."""
    deadline_s = time.monotonic() + PATIENCE_S
    while not (words := Path(f"/proc/{pid}/environ").read_text()):
        assert time.monotonic() < deadline_s, "it never became the program"
        time.sleep(0.01)
    return dict(word.split("=", 1) for word in words.split("\0") if "=" in word)


def test_a_standbys_death_is_nobody_elses_and_the_next_engine_gets_a_process_of_its_own(
    keeping: SubprocessLauncher, pipe: SignalPipe
) -> None:
    (pid,) = keeping.standbys.pids()
    os.kill(pid, signal.SIGKILL)
    deadline_s = time.monotonic() + PATIENCE_S
    while keeping.standbys.pids():
        assert time.monotonic() < deadline_s, "its death was not noticed"
        select.select([pipe], [], [], 1.0)
        pipe.take_all()
        assert keeping.poll() == []

    keeping.launch(a_join())

    assert next_exit(keeping, pipe).name == "w1-1"


def test_a_standby_that_died_unseen_is_not_given_an_engine(
    keeping: SubprocessLauncher, pipe: SignalPipe
) -> None:
    (pid,) = keeping.standbys.pids()
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    keeping.launch(a_join())
    assert keeping.pids()[WorkerId("w1-1")] != pid
    assert next_exit(keeping, pipe).status == "exit code 4"


def test_a_standby_ends_with_the_one_who_holds_its_pipe(tmp_path: Path) -> None:
    program = f"""
import os, sys, time
from pathlib import Path
from kernel.shell.launchers.local import SubprocessLauncher
from kernel.shell.launchers.standby import StandbyTerms
launcher = SubprocessLauncher(Path({str(tmp_path)!r}), os.environ, StandbyTerms(1, 0))
launcher.standbys.tend(0.0, is_loading=False, is_busy=False)
print(*launcher.standbys.pids(), flush=True)
os.kill(os.getpid(), 9)
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    pid = int(ended.stdout)
    deadline_s = time.monotonic() + PATIENCE_S
    while Path(f"/proc/{pid}/cmdline").exists() and b"join-fd" in Path(f"/proc/{pid}/cmdline").read_bytes():
        assert time.monotonic() < deadline_s, "it outlives its Manager"
        time.sleep(0.05)
