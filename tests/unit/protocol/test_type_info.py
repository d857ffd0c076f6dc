"""Types are analyzed by one thread, before others use them."""

import subprocess
import sys
from typing import Final

import pytest

from kernel.protocol.type_info import analyzed

FIRST_USES: Final = """
import sys, threading
from dataclasses import dataclass
import msgspec
from kernel.protocol.type_info import analyzed

THREADS, KINDS = 4, 100
sys.setswitchinterval(1e-6)
together = threading.Barrier(THREADS)
found = []

def fresh_kinds():
    class Inner(msgspec.Struct):
        a: int = 0
        b: str = ""
    class Outer(msgspec.Struct):
        x: int
        inner: Inner | None = None
    @dataclass
    class Around:
        outer: Outer
        inner: Inner
    return Around, Outer

def use():
    for around, outer in kinds:
        together.wait()
        inner = {"a": 1, "b": "b"}
        found.append(msgspec.convert({"outer": {"x": 1, "inner": inner}, "inner": inner}, analyzed(around)))
        found.append(msgspec.convert({"x": 1, "inner": inner}, analyzed(outer)))

kinds = [fresh_kinds() for _ in range(KINDS)]
threads = [threading.Thread(target=use) for _ in range(THREADS)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(len(found))
"""
"""Threads that use types for the first time, all at once; without `analyzed` it dies of SIGSEGV."""


def test_threads_can_use_a_type_for_the_first_time_at_once() -> None:
    ended = subprocess.run([sys.executable, "-c", FIRST_USES], capture_output=True, text=True, check=False)

    assert (ended.returncode, ended.stdout) == (0, "800\n"), ended.stderr


def test_a_type_is_returned_as_it_is() -> None:
    union = int | str
    assert analyzed(union) is union
    assert analyzed(union) is union


def test_a_type_that_is_not_supported_is_refused_each_time() -> None:
    for _ in range(2):
        with pytest.raises(TypeError, match="more than one"):
            analyzed(dict[str, int] | list[dict[str, int]] | list[int])
