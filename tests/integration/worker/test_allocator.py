"""A process that keeps what it frees pays for its pages once, and gives them back when it is told to."""

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping

import pytest

from kernel.protocol.join import WORKER_ENVIRON

pytestmark = pytest.mark.torch

_STEPS = """
import json, os, resource
from pathlib import Path
from threading import Thread
from kernel.process.memory import give_back_freed_memory, keep_freed_memory
import torch

BYTES = 59_000_000

def resident_bytes():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

def step():
    for part in (1, 2, 3):
        torch.full((BYTES // part,), 1, dtype=torch.uint8)

def faults_of(work):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    work()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def beside():
    thread = Thread(target=step)
    thread.start()
    thread.join()

if KEEPS:
    keep_freed_memory()
before = resident_bytes()
first, *_, steady = [faults_of(step) for _ in range(20)]
other_thread = faults_of(beside)
held = resident_bytes() - before
give_back_freed_memory()
left = resident_bytes() - before
print(json.dumps({"first": first, "steady": steady, "thread": other_thread, "held": held, "left": left}))
"""
_DECODINGS = """
import json, resource
from kernel.process.memory import keep_freed_memory
keep_freed_memory()
import torch

kept = []

def layer(megabytes):
    return torch.full((megabytes * 1_000_000,), 1, dtype=torch.uint8)

def decoding():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for megabytes in (8, 8, 8, 16, 16, 32, 32, 32):
        activation = layer(megabytes)
        kept.append(torch.ones(3))
        out = layer(megabytes)
        kept.append([object() for _ in range(3)])
        kept.append(torch.ones(3))
        del activation
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

print(json.dumps([decoding() for _ in range(8)]))
"""
_PRELOADING = """
import ctypes, os, sys, time
from engine_worker.main import main

reader, writer = os.pipe()
os.close(writer)
main(["--join-fd", str(reader), "--preload"])
while "engine_worker.engine.runtime.lean_imports" not in sys.modules:
    time.sleep(0.01)
libc = ctypes.CDLL(None)
libc.fdopen.restype = ctypes.c_void_p
libc.fdopen.argtypes = [ctypes.c_int, ctypes.c_char_p]
libc.malloc_info.argtypes = [ctypes.c_int, ctypes.c_void_p]
libc.fflush.argtypes = [ctypes.c_void_p]
stream = libc.fdopen(1, b"w")
libc.malloc_info(0, stream)
libc.fflush(stream)
os._exit(0)
"""
A_BLOCK = 59_000_000
PAGES_OF_A_BLOCK = A_BLOCK // 4096


def numbers(*, keeps: bool) -> dict[str, int]:
    code = _STEPS.replace("KEEPS", str(keeps))
    ended = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    found: dict[str, int] = json.loads(ended.stdout)
    return found


def test_a_worker_that_keeps_its_memory_pays_for_a_step_once() -> None:
    found = numbers(keeps=True)
    assert found["first"] > PAGES_OF_A_BLOCK / 2
    assert found["steady"] < 100
    assert found["thread"] < 200
    assert found["held"] > A_BLOCK / 2
    assert found["left"] < A_BLOCK / 10


@pytest.mark.exhaustive
def test_by_itself_every_step_would_pay() -> None:
    found = numbers(keeps=False)
    assert found["steady"] > PAGES_OF_A_BLOCK / 2


def decodings(environ: Mapping[str, str]) -> list[int]:
    """Page faults of one after the other; between their blocks lie small ones that stay."""
    environ = {**without(os.environ, WORKER_ENVIRON), **environ}
    ended = subprocess.run([sys.executable, "-c", _DECODINGS], check=True, capture_output=True, env=environ)
    found: list[int] = json.loads(ended.stdout)
    return found


def without(environ: Mapping[str, str], names: Iterable[str]) -> dict[str, str]:
    return {name: value for name, value in environ.items() if name not in names}


def test_small_blocks_between_large_ones_hardly_make_a_workers_heap_grow() -> None:
    _, *later = decodings(WORKER_ENVIRON)
    assert sum(later) < PAGES_OF_A_BLOCK


def test_a_worker_that_imports_beside_its_main_thread_has_one_heap() -> None:
    """A thread with a heap of its own, however small, would share it with others that come later."""
    ended = subprocess.run([sys.executable, "-c", _PRELOADING], check=True, capture_output=True, text=True)
    assert ended.stdout.count("<heap nr=") == 1
