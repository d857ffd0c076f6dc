"""A thread that does one kind of work, one item at a time."""

from collections.abc import Callable
from queue import Full, Queue
from threading import Thread
from typing import Final, Generic, TypeVar

import torch

from engine_worker.engine.runtime.cuda_stream import own_stream

Work = TypeVar("Work")
_CPU: Final = torch.device("cpu")


class WorkerThread(Generic[Work]):
    """Does the work that it is given, in order, on a thread of its own.

    `do` handles the errors of each piece of work itself. An error of the device may escape from it; it ends
    all work, and work that is still waiting is discarded.
    """

    def __init__(
        self, name: str, do: Callable[[Work], None], max_waiting: int = 0, device: torch.device = _CPU
    ) -> None:
        """At most `max_waiting` pieces wait, any number if it is 0. On a GPU the work has a stream of its
        own."""
        self._do = do
        self._stream = own_stream(device)
        self._queue: Queue[Work | None] = Queue(max_waiting)
        self._broken: torch.AcceleratorError | None = None
        self._thread = Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def put(self, work: Work) -> None:
        """Hand over a piece of work; blocks while too many wait.

        Raises: torch.AcceleratorError, if the device failed during an earlier piece.
        """
        if self._broken is not None:
            raise self._broken
        self._queue.put(work)

    def offer(self, work: Work) -> bool:
        """Hand over a piece of work that may be skipped. Returns: False, if too many wait.

        Raises: torch.AcceleratorError, as `put`.
        """
        if self._broken is not None:
            raise self._broken
        try:
            self._queue.put_nowait(work)
        except Full:
            return False
        return True

    def close(self) -> None:
        """Wait until all work is done."""
        self.leave()
        self._thread.join()

    def leave(self) -> None:
        """Let the thread end once all work is done. Returns at once, unless too many pieces wait."""
        self._queue.put(None)

    def _run(self) -> None:
        with self._stream:
            while (work := self._queue.get()) is not None:
                if self._broken is None:
                    self._attempt(work)

    def _attempt(self, work: Work) -> None:
        try:
            self._do(work)
        except torch.AcceleratorError as error:
            self._broken = error
