"""docs/platforms.md names every file that needs Linux, so that a port begins with a list that is true."""

import re
from collections import defaultdict
from typing import Final

import pytest

from tests.architecture.linux_calls import linux_calls
from tests.architecture.source_files import ROOT, sources

PAGE: Final = (ROOT / "docs/platforms.md").read_text(encoding="utf-8")
NAME: Final = re.compile(r"`([^`]+)`")
ROW: Final = re.compile(r"^\| *(`[^|]*) \| *(`[^|]*) \|([^|]+)\|([^|]+)\|$", re.MULTILINE)


def rows() -> list[tuple[set[str], set[str]]]:
    """The calls of each row of the table, and the files that make them."""
    return [({*NAME.findall(calls)}, {*NAME.findall(files)}) for calls, files, _, _ in ROW.findall(PAGE)]


def used() -> dict[str, set[str]]:
    """The files of the server that make each call."""
    found: defaultdict[str, set[str]] = defaultdict(set)
    for path in sources():
        for call in (
            linux_calls((ROOT / path).read_text(encoding="utf-8")) if path.parts[0] != "training" else ()
        ):
            found[call].add(str(path))
    return found


@pytest.mark.parametrize(
    ("source", "calls"),
    [
        ("import fcntl\nfcntl.flock(1, 2)", {"fcntl"}),
        ("from resource import getrlimit", {"resource"}),
        ("from os import preadv, read", {"os.preadv"}),
        ("import os\nos.open('a', os.O_PATH | os.O_RDONLY, dir_fd=3)", {"os.O_PATH", "dir_fd="}),
        ("Popen(['a'], pass_fds=(3,), cwd='b')", {"pass_fds="}),
        ("x = f'/proc/{pid}/stat'", {"/proc/"}),
        ("x = 'see /proc/stat'", set()),
        ('"""/proc/PID/stat: a documentation."""\nx = 1', set()),
        ("import os\nos.fsync(3)", set()),
    ],
)
def test_a_call_is_found_however_it_is_written(source: str, calls: set[str]) -> None:
    assert linux_calls(source) == calls


def test_the_page_names_each_call_once() -> None:
    named = [call for calls, _ in rows() for call in calls]
    assert len(named) == len(set(named))
    assert {*named} == used().keys()


def test_the_page_names_the_files_that_make_each_call_and_no_others() -> None:
    found = used()
    wrong = {
        ", ".join(sorted(calls)): sorted(files ^ set().union(*(found[call] for call in calls)))
        for calls, files in rows()
        if files != set().union(*(found[call] for call in calls))
    }
    assert wrong == {}, "the table of docs/platforms.md and the sources differ in these files"
