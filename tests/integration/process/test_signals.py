"""Signals wait in a pipe until the loop reads them."""

import select
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from kernel.process.signals import SignalPipe

PATIENCE_S = 20.0
WATCHED = (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)


@pytest.fixture
def pipe() -> Iterator[SignalPipe]:
    opened = SignalPipe(WATCHED)
    yield opened
    opened.close()


def _raise(number: signal.Signals) -> None:
    signal.pthread_kill(threading.main_thread().ident or 0, number)


def test_signals_wait_in_the_pipe_in_their_order(pipe: SignalPipe) -> None:
    _raise(signal.SIGTERM)
    _raise(signal.SIGINT)

    assert select.select([pipe], [], [], PATIENCE_S)[0]
    assert pipe.take_all() == [signal.SIGTERM, signal.SIGINT]
    assert pipe.take_all() == []


def test_a_childs_end_makes_the_pipe_readable(pipe: SignalPipe) -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])

    assert select.select([pipe], [], [], PATIENCE_S)[0]
    assert signal.SIGCHLD in pipe.take_all()
    child.wait(PATIENCE_S)


def test_a_flood_of_signals_blocks_nobody(pipe: SignalPipe) -> None:
    for _ in range(70_000):
        _raise(signal.SIGINT)
    assert signal.SIGINT in pipe.take_all()


def test_the_old_handlers_are_back_after_closing() -> None:
    before = [signal.getsignal(number) for number in WATCHED]
    SignalPipe(WATCHED).close()
    assert [signal.getsignal(number) for number in WATCHED] == before
    assert signal.set_wakeup_fd(-1) == -1


def test_who_asks_again_at_the_very_end_changes_nothing() -> None:
    program = (
        "import os, signal\n"
        "from kernel.process.signals import SignalPipe\n"
        "asking = (signal.SIGTERM, signal.SIGINT)\n"
        "SignalPipe(asking).close(ignored=asking)\n"
        "for number in asking:\n"
        "    os.kill(os.getpid(), number)\n"
        "print('ended as asked')\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "ended as asked\n", "")


def test_an_ignored_signal_leaves_no_byte_in_the_pipe() -> None:
    pipe = SignalPipe([signal.SIGTERM], ignored=[signal.SIGINT])
    _raise(signal.SIGINT)
    _raise(signal.SIGTERM)
    assert pipe.take_all() == [signal.SIGTERM]
    pipe.close()
