"""A worker thread with a time limit: work that takes too long is given up, with all that waits behind it."""

from collections.abc import Callable
from threading import Lock, Timer
from typing import Generic, TypeVar

from engine_worker.engine.runtime.worker_thread import WorkerThread

Work = TypeVar("Work")


class WatchdogThread(Generic[Work]):
    """A lane for work that may hang in foreign code, where nothing can end it.

    `give_up` hears of the piece that has taken too long, with True, and of each one that it holds up, with
    False, from whatever thread; `do` may still come to them if the hanging piece ends after all, and should
    then leave them alone. Until then everything that is handed over is given up at once.
    """

    def __init__(
        self, name: str, do: Callable[[Work], None], give_up: Callable[[Work, bool], None], patience_s: float
    ) -> None:
        self._do = do
        self._give_up = give_up
        self._patience_s = patience_s
        self._lock = Lock()
        self._here: list[Work] = []
        """In the order in which it is done: the first one is at hand."""
        self._is_stuck = False
        self._lane = WorkerThread(name, self._attempt)

    def put(self, work: Work) -> None:
        """Hand over a piece of work; returns at once."""
        with self._lock:
            is_stuck = self._is_stuck
            if not is_stuck:
                self._here.append(work)
        if is_stuck:
            self._give_up(work, False)
        else:
            self._lane.put(work)

    def close(self) -> None:
        """Wait until all that was handed over is done, but for nothing that hangs."""
        with self._lock:
            is_stuck = self._is_stuck
        if is_stuck:
            self._lane.leave()
        else:
            self._lane.close()

    def _attempt(self, work: Work) -> None:
        timer = Timer(self._patience_s, self._lose_patience, (work,))
        timer.daemon = True
        timer.start()
        try:
            self._do(work)
        finally:
            timer.cancel()
            with self._lock:
                self._here.remove(work)
                self._is_stuck = False
            timer.join()

    def _lose_patience(self, work: Work) -> None:
        with self._lock:
            if not self._here or self._here[0] is not work:
                return  # it was done in this very moment
            self._is_stuck = True
            given_up = tuple(self._here)
        for one in given_up:
            self._give_up(one, one is work)
