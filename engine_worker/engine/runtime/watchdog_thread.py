"""A worker thread with a time limit: work that takes too long is given up, together with the work
behind it."""

from collections.abc import Callable
from threading import Lock, Timer
from typing import Generic, TypeVar

from engine_worker.engine.runtime.worker_thread import WorkerThread

Work = TypeVar("Work")


class WatchdogThread(Generic[Work]):
    """A worker thread for code of other libraries that may hang and cannot be interrupted.

    `give_up` is called, from any thread, with the work that has taken too long and True, and with each piece
    that waits behind it and False. If the hanging work ends after all, `do` is still called with the others
    and must ignore them. Until then, new work is given up at once.
    """

    def __init__(
        self, name: str, do: Callable[[Work], None], give_up: Callable[[Work, bool], None], timeout_s: float
    ) -> None:
        self._do = do
        self._give_up = give_up
        self._timeout_s = timeout_s
        self._lock = Lock()
        self._pending: list[Work] = []
        """In the order of execution: the first one is running."""
        self._is_stuck = False
        self._thread = WorkerThread(name, self._attempt)

    def put(self, work: Work) -> None:
        """Hand over a piece of work. Returns at once."""
        with self._lock:
            is_stuck = self._is_stuck
            if not is_stuck:
                self._pending.append(work)
        if is_stuck:
            self._give_up(work, False)
        else:
            self._thread.put(work)

    def close(self) -> None:
        """Wait until all work is done, unless some of it hangs."""
        with self._lock:
            is_stuck = self._is_stuck
        if is_stuck:
            self._thread.leave()
        else:
            self._thread.close()

    def _attempt(self, work: Work) -> None:
        timer = Timer(self._timeout_s, self._time_out, (work,))
        timer.daemon = True
        timer.start()
        try:
            self._do(work)
        finally:
            timer.cancel()
            with self._lock:
                self._pending.remove(work)
                self._is_stuck = False
            timer.join()

    def _time_out(self, work: Work) -> None:
        with self._lock:
            if not self._pending or self._pending[0] is not work:
                return  # it was done in this very moment
            self._is_stuck = True
            given_up = tuple(self._pending)
        for one in given_up:
            self._give_up(one, one is work)
