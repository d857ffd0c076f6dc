"""One Manager for one folder."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from kernel.process.lock import LOCK_FILE, FolderLock
from kernel.protocol.errors import AlreadyRunning

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
        "from kernel.process.lock import FolderLock\n"
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
