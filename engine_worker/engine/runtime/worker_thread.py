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
    """Does what it is handed, in that order, on a thread of its own.

    `do` answers for the errors of each piece by itself; what it lets out is the device's own, and ends all
    work: what is still handed over is then let go.
    """

    def __init__(
        self, name: str, do: Callable[[Work], None], room: int = 0, device: torch.device = _CPU
    ) -> None:
        """`room` pieces may wait at most, without an end if it is 0. What the work asks the device for goes
        into a stream of its own."""
        self._do = do
        self._stream = own_stream(device)
        self._queue: Queue[Work | None] = Queue(room)
        self._broken: torch.AcceleratorError | None = None
        self._thread = Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def put(self, work: Work) -> None:
        """Hand over a piece of work; waits while there is no room.

        Raises: torch.AcceleratorError, if the device broke in an earlier piece.
        """
        if self._broken is not None:
            raise self._broken
        self._queue.put(work)

    def offer(self, work: Work) -> bool:
        """Hand over a piece of work that may as well be left undone; False if there is no room for it.

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
        """Wait until all that was handed over is done."""
        self.leave()
        self._thread.join()

    def leave(self) -> None:
        """Let the thread end when all that was handed over is done; returns at once, unless it is full."""
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
