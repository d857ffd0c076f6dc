"""Every step of a fetch worker's process, counted: at any of them it is killed, before it is done.

Steps are what it does to the models folder and to sockets of the web, and the milestones of a model: that
it is verified, inspected and reported. Inside the worker they are found by Python's audit events and, where
there is none, by wrapping the function; the worker's own code knows nothing of it.
"""

import os
import re
import signal
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

FOLDER: Final = "WORKER_STEPS"
MODELS: Final = "WORKER_STEPS_MODELS"
AT_START: Final = Path(__file__).parent / "at_start"
ROOT: Final = Path(__file__).parents[2]
MOST_RECEIVED: Final = 8192
"""So that a small file comes in several pieces, and always in as many."""
_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{32,64}")
_OF_NAMES: Final = {"os.mkdir": "make", "os.rename": "rename", "os.remove": "remove", "os.rmdir": "remove"}
_WRITES: Final = os.O_WRONLY | os.O_RDWR


@dataclass(frozen=True, slots=True)
class Plan:
    """The test's side: where the steps are told, and at which of them the worker shall die."""

    folder: Path

    def environment(self, models: Path) -> dict[str, str]:
        """What the processes of a server are started with, so that its workers' steps are counted."""
        path = os.pathsep.join((str(AT_START), str(ROOT)))
        return {"PYTHONPATH": path, FOLDER: str(self.folder), MODELS: str(models)}

    def begin(self, at: int | None) -> None:
        """The steps of the next model count from one; kill at that one, once."""
        self._told.write_text("")
        if at is not None:
            self._at.write_text(str(at))

    @property
    def is_over(self) -> bool:
        """Has the worker been killed?"""
        return not self._at.exists()

    @property
    def labels(self) -> list[str]:
        return self._told.read_text().splitlines()

    @property
    def _told(self) -> Path:
        return self.folder / "told"

    @property
    def _at(self) -> Path:
        return self.folder / "at"


def count_steps(folder: Path, models: str) -> None:
    """Count this process's steps from now on."""
    steps = _Steps(folder, models)
    sys.addaudithook(steps.heard)
    for name, label in (("pwrite", "write"), ("fdatasync", "sync"), ("fsync", "sync")):
        setattr(os, name, steps.before(label, getattr(os, name)))
    steps.receive = socket.socket.recv
    socket.socket.recv = lambda self, size, *rest: steps.received(self, size, *rest)  # type: ignore[method-assign, assignment, misc]


class _Steps:
    """The worker's side."""

    def __init__(self, folder: Path, models: str) -> None:
        self._told, self._at = folder / "told", folder / "at"
        self._models = models
        self._has_milestones = False
        self.receive: Callable[..., bytes] = socket.socket.recv

    def take(self, label: str) -> None:
        """The next step is about to be done; it may be the last, and is not done then."""
        self._add_milestones()
        with self._told.open("a+") as told:
            told.write(f"{_UUID.sub('ID', label)}\n")
            told.seek(0)
            number = len(told.readlines())
        if self._at.exists() and int(self._at.read_text()) == number:
            self._at.unlink()
            os.kill(os.getpid(), signal.SIGKILL)

    def before(self, label: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, with a step before it."""

        def stepping(*arguments: Any, **named: Any) -> Any:
            self.take(label)
            return function(*arguments, **named)

        return stepping

    def received(self, one: socket.socket, size: int, *rest: int) -> bytes:
        self.take("receive")
        return self.receive(one, min(size, MOST_RECEIVED), *rest)

    def heard(self, event: str, arguments: tuple[Any, ...]) -> None:
        """An audit event. Source: the table of audit events in Python's documentation."""
        if event == "socket.connect" and isinstance(arguments[1], tuple):
            self.take("connect")
        elif event == "os.truncate":
            self.take("truncate")
        elif event == "open" and self._is_ours(arguments[0]):
            verb = "open" if arguments[2] & _WRITES else "read"
            self.take(f"{verb} {self._name(arguments[0])}")
        elif event in _OF_NAMES and (self._is_ours(arguments[0]) or arguments[-1] not in (-1, None)):
            names = [self._name(one) for one in arguments if isinstance(one, str | os.PathLike)]
            self.take(f"{_OF_NAMES[event]} {' to '.join(names)}")

    def _is_ours(self, path: object) -> bool:
        return isinstance(path, str | os.PathLike) and os.fspath(path).startswith(self._models)

    def _name(self, path: str | os.PathLike[str]) -> str:
        return os.fspath(path).removeprefix(self._models).lstrip("/")

    def _add_milestones(self) -> None:
        """Wrap what has been imported by the time of the first step."""
        if self._has_milestones:
            return
        self._has_milestones = True
        from engine_worker.dealer import WorkerDealer
        from engine_worker.fetch import fetcher
        from engine_worker.fetch.sources.partial_file import PartialFile
        from kernel.protocol import codec
        from kernel.protocol.worker import ModelFailed, ModelInspected

        PartialFile.sha256 = self.before("verify", PartialFile.sha256)  # type: ignore[method-assign]
        fetcher.inspect = self.before("inspect", fetcher.inspect)
        encode, flush = codec.encode, WorkerDealer.flush
        reports: list[object] = []

        def encoding(body: Any, *rest: Any, **named: Any) -> Any:
            if isinstance(body, ModelFailed | ModelInspected):
                self.take("report")
                reports.append(body)
            return encode(body, *rest, **named)

        def flushing(dealer: WorkerDealer) -> None:
            flush(dealer)
            if reports:
                reports.clear()
                self.take("be done")

        codec.encode = encoding
        WorkerDealer.flush = flushing  # type: ignore[method-assign]
