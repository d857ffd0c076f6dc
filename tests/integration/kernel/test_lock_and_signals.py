"""One Manager for one folder; and signals that wait in a pipe until the loop reads them."""

import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from kernel.protocol.errors import AlreadyRunning
from kernel.shell.lock import LOCK_FILE, FolderLock
from kernel.shell.signals import WATCHED, SignalPipe

PATIENCE_S = 20.0


def test_a_second_manager_is_refused_and_told_who_is_there(tmp_path: Path) -> None:
    first = FolderLock(tmp_path)
    with pytest.raises(AlreadyRunning, match=rf"{tmp_path} is in use .* process id {os.getpid()}:"):
        FolderLock(tmp_path)
    first.release()


def test_a_folder_is_free_again_after_a_release(tmp_path: Path) -> None:
    FolderLock(tmp_path).release()
    FolderLock(tmp_path).release()


def test_a_holder_that_is_killed_holds_nothing_any_more(tmp_path: Path) -> None:
    program = (
        "import pathlib, sys\n"
        "from kernel.shell.lock import FolderLock\n"
        "lock = FolderLock(pathlib.Path(sys.argv[1]))\n"
        "print('held', flush=True)\n"
        "sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(AlreadyRunning, match=f"process id {holder.pid}:"):
            FolderLock(tmp_path)
        holder.kill()
        holder.wait(PATIENCE_S)

        FolderLock(tmp_path).release()
    assert (tmp_path / LOCK_FILE).read_text() == f"{os.getpid()}\n"


def test_the_folder_of_the_lock_is_made_if_it_is_not_there(tmp_path: Path) -> None:
    FolderLock(tmp_path / "a" / "b").release()


@pytest.fixture
def pipe() -> Iterator[SignalPipe]:
    opened = SignalPipe()
    yield opened
    opened.close()


def _raise(number: signal.Signals) -> None:
    signal.pthread_kill(threading.main_thread().ident or 0, number)


def test_signals_wait_in_the_pipe_in_their_order(pipe: SignalPipe) -> None:
    _raise(signal.SIGTERM)
    _raise(signal.SIGINT)

    assert select.select([pipe], [], [], PATIENCE_S)[0]
    assert pipe.take() == [signal.SIGTERM, signal.SIGINT]
    assert pipe.take() == []


def test_a_childs_end_makes_the_pipe_readable(pipe: SignalPipe) -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])

    assert select.select([pipe], [], [], PATIENCE_S)[0]
    assert signal.SIGCHLD in pipe.take()
    child.wait(PATIENCE_S)


def test_a_flood_of_signals_blocks_nobody(pipe: SignalPipe) -> None:
    for _ in range(70_000):
        _raise(signal.SIGINT)
    assert signal.SIGINT in pipe.take()


def test_the_old_handlers_are_back_after_closing() -> None:
    before = [signal.getsignal(number) for number in WATCHED]
    SignalPipe().close()
    assert [signal.getsignal(number) for number in WATCHED] == before
    assert signal.set_wakeup_fd(-1) == -1


def test_who_asks_again_at_the_very_end_changes_nothing() -> None:
    program = (
        "import os, signal\n"
        "from kernel.shell.signals import SignalPipe\n"
        "SignalPipe(is_for_life=True).close()\n"
        "for number in (signal.SIGTERM, signal.SIGINT):\n"
        "    os.kill(os.getpid(), number)\n"
        "print('ended as asked')\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "ended as asked\n", "")
