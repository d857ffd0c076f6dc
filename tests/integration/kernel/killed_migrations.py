"""Kills migrations at each of their statements: `python -m ...killed_migrations DATABASE FOLDER`.

For each statement a copy of the database is made in a folder of its own, `FOLDER/N`, and a process that opens
it as the Manager does kills itself (SIGKILL) before it executes the Nth. Writes how many there were.
"""

import os
import shutil
import signal
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path

import apsw

from kernel.shell.store import Store


def kill_at_each_statement(database: Path, folder: Path) -> int:
    """Returns: the number of kills, after which the database was opened to the end."""
    for number in count():
        copy = folder / str(number)
        shutil.copytree(database.parent, copy)
        if (child := os.fork()) == 0:
            apsw.connection_hooks.append(killing(number))
            Store(copy / database.name)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if os.WIFEXITED(status):
            assert os.WEXITSTATUS(status) == 0
            return number
        assert os.WTERMSIG(status) == signal.SIGKILL
    raise AssertionError


def killing(number: int) -> Callable[[apsw.Connection], None]:
    """A hook of new connections: the Nth statement, counted from 0, is not executed any more."""
    numbers = count()

    def before(cursor: apsw.Cursor, sql: str, bindings: object) -> bool:
        if next(numbers) == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return True

    def hook(connection: apsw.Connection) -> None:
        connection.exec_trace = before

    return hook


if __name__ == "__main__":
    print(kill_at_each_statement(Path(sys.argv[1]), Path(sys.argv[2])))
