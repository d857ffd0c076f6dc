"""The threads of requests: started on demand, assigned by pool."""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Final, Protocol

from api.http.framework.thread_pools import ASKING, Pool, Pools
from kernel.process.log import line
from kernel.protocol.errors import ManagerUnreachable, SpoonError

RETRY_AFTER_S: Final = 2.0
MAKE_WAY_S: Final = 0.001
MAKE_WAY_TIMES: Final = 5
"""What was parked lets a request that reads go first, which needs about as long: threads that compute take
the interpreter's lock from each other. Under a constant load some 200 streams and waits go on each second;
what a stream has to send meanwhile is sent together."""

_log: Final = logging.getLogger("spoon.api.http")


class Task(Protocol):
    """A connection with a complete request."""

    def pool(self) -> Pool: ...

    def refuse(self, error: SpoonError) -> None:
        """Turn the request into one that is only refused."""
        ...

    def service(self) -> None:
        """Answer it."""
        ...

    def cancel(self) -> None: ...


class RequestThread(threading.Thread):
    """One thread. While it answers a request, a pool counts it."""

    def __init__(self, owner: "Threads") -> None:
        super().__init__(name="request", daemon=True)
        self._owner = owner
        self.pool: Pool | None = None
        self.pool_aside: Pool | None = None

    def run(self) -> None:
        self._owner.work(self)

    def step_aside(self) -> None:
        """Go on without being counted: it will wait for long, on a slot, and its pool should not."""
        self._owner.step_aside(self)

    def come_back(self) -> None:
        """Be counted again: it waits no more, and may send a command next."""
        self._owner.come_back(self)


class Threads:
    """The task dispatcher of waitress.

    While the Manager `is_silent`, requests are refused that would have to wait for a thread for commands.
    """

    def __init__(self, shares: Mapping[Pool, int], is_silent: Callable[[], bool]) -> None:
        self._is_silent = is_silent
        self._pools: Pools[Task] = Pools(shares)
        self._lock = threading.Lock()
        self._is_work = threading.Condition(self._lock)
        self._is_leaving = threading.Condition(self._lock)
        self._threads = self._idle = self._called = 0
        self._is_over = False

    def add_task(self, task: Task) -> None:
        """Have a request answered. Called by the loop, and by a thread whose connection has another
        request."""
        pool = task.pool()
        with self._lock:
            if pool in ASKING and not self._pools.has_free_thread(pool) and self._is_silent():
                pool = _refuse(task)
            self._put(pool, task)

    def refuse_waiting(self) -> None:
        """Refuse requests whose thread could only wait for a silent Manager."""
        with self._lock:
            if not any(self._pools.waiting(pool) for pool in ASKING) or not self._is_silent():
                return
            for pool in ASKING:
                for task in self._pools.clear(pool):
                    self._put(_refuse(task), task)

    @property
    def is_crowded(self) -> bool:
        """True while requests wait that may have to be refused."""
        return any(self._pools.waiting(pool) for pool in ASKING)

    def work(self, thread: RequestThread) -> None:
        """The main function of each thread."""
        while (task := self._next(thread)) is not None:
            if thread.pool is Pool.PARKED:
                self._make_way()
            try:
                task.service()
            except Exception:  # noqa: BLE001  the outermost loop of this thread
                _log.exception(line("service_failed"))
            with self._lock:
                self._leave(thread)

    def _make_way(self) -> None:
        """Let requests that read go first."""
        for _ in range(MAKE_WAY_TIMES):
            if not self._pools.running(Pool.READ):
                return
            time.sleep(MAKE_WAY_S)

    def step_aside(self, thread: RequestThread) -> None:
        """The thread is busy, but not counted any more: the next task of its pool gets another one."""
        with self._lock:
            pool = self._leave(thread)
            thread.pool_aside = pool
            if pool is not None and self._pools.waiting(pool):
                self._call()

    def come_back(self, thread: RequestThread) -> None:
        with self._lock:
            if thread.pool_aside is not None:
                self._pools.come_back(thread.pool_aside)
                thread.pool, thread.pool_aside = thread.pool_aside, None

    def shutdown(self, cancel_pending: bool = True, timeout: float = 5.0) -> bool:
        """Let the threads end, and drop waiting tasks. Returns: whether all have ended in that time."""
        until = time.monotonic() + timeout
        with self._lock:
            self._is_over = True
            self._is_work.notify_all()
            while self._threads and (left_s := until - time.monotonic()) > 0:
                self._is_leaving.wait(left_s)
            if self._threads:
                _log.warning(line("threads_still_running", count=self._threads))
            for task in self._pools.clear_all():
                task.cancel()
            return not self._threads

    def _put(self, pool: Pool, task: Task) -> None:
        has_free_thread = self._pools.has_free_thread(pool)
        self._pools.put(pool, task)
        if has_free_thread:
            self._call()

    def _leave(self, thread: RequestThread) -> Pool | None:
        pool, thread.pool = thread.pool, None
        if pool is not None:
            self._pools.leave(pool)
        return pool

    def _call(self) -> None:
        """Wake a thread for a task, or start one. The lock is held."""
        if self._called < self._idle:
            self._called += 1
            self._is_work.notify()
        elif not self._is_over:
            thread = RequestThread(self)
            try:
                thread.start()
            except RuntimeError as error:  # no memory for another thread: the existing ones take it in turn
                _log.warning(line("thread_not_started", detail=error))
                return
            self._threads += 1

    def _next(self, thread: RequestThread) -> Task | None:
        with self._lock:
            while not self._is_over:
                found = self._pools.take()
                if found is not None:
                    thread.pool, task = found
                    thread.pool_aside = None
                    return task
                self._idle += 1
                self._is_work.wait()
                self._idle -= 1
                self._called = max(0, self._called - 1)
            self._threads -= 1
            self._is_leaving.notify_all()
            return None


def _refuse(task: Task) -> Pool:
    task.refuse(ManagerUnreachable(retry_after_s=RETRY_AFTER_S))
    return Pool.QUICK
