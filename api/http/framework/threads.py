"""The threads of requests: started when they are needed, handed out by lanes."""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Final, Protocol

from api.http.framework.thread_lanes import ASKING, Lane, Lanes
from kernel.process.log import line
from kernel.protocol.errors import ManagerUnreachable, SpoonError

RETRY_AFTER_S: Final = 2.0

_log: Final = logging.getLogger("spoon.api.http")


class Task(Protocol):
    """A connection with a request that is whole."""

    def lane(self) -> Lane: ...

    def refuse(self, error: SpoonError) -> None:
        """Make the request one that is only refused."""
        ...

    def service(self) -> None:
        """Answer it."""
        ...

    def cancel(self) -> None: ...


class RequestThread(threading.Thread):
    """One thread. While it answers a request, it counts in a lane."""

    def __init__(self, owner: "Threads") -> None:
        super().__init__(name="request", daemon=True)
        self._owner = owner
        self.lane: Lane | None = None
        self.lane_aside: Lane | None = None

    def run(self) -> None:
        self._owner.work(self)

    def step_aside(self) -> None:
        """Go on without counting: it will wait for long, on a seat, and others of its lane need not."""
        self._owner.step_aside(self)

    def come_back(self) -> None:
        """Count again: it waits no more, and may ask the Manager next."""
        self._owner.come_back(self)


class Threads:
    """What waitress calls a task dispatcher.

    While the Manager `is_silent`, requests that would have to wait for a thread that asks it are refused.
    """

    def __init__(self, shares: Mapping[Lane, int], is_silent: Callable[[], bool]) -> None:
        self._is_silent = is_silent
        self._lanes: Lanes[Task] = Lanes(shares)
        self._lock = threading.Lock()
        self._is_work = threading.Condition(self._lock)
        self._is_leaving = threading.Condition(self._lock)
        self._threads = self._idle = self._called = 0
        self._is_over = False

    def add_task(self, task: Task) -> None:
        """Have a request answered. Called by the loop, and by a thread whose connection has one more."""
        lane = task.lane()
        with self._lock:
            if lane in ASKING and not self._lanes.has_room(lane) and self._is_silent():
                lane = _refuse(task)
            self._put(lane, task)

    def refuse_waiting(self) -> None:
        """Who waits for a thread that could only wait for a silent Manager is told so now."""
        with self._lock:
            if not any(self._lanes.waiting(lane) for lane in ASKING) or not self._is_silent():
                return
            for lane in ASKING:
                for task in self._lanes.clear(lane):
                    self._put(_refuse(task), task)

    @property
    def is_crowded(self) -> bool:
        """True, while requests wait that may have to be refused."""
        return any(self._lanes.waiting(lane) for lane in ASKING)

    def work(self, thread: RequestThread) -> None:
        """What each thread does."""
        while (task := self._next(thread)) is not None:
            try:
                task.service()
            except Exception:  # noqa: BLE001  the outermost loop of this thread
                _log.exception(line("service_failed"))
            with self._lock:
                self._leave(thread)

    def step_aside(self, thread: RequestThread) -> None:
        """The thread is busy, but no longer counts: the next of its lane gets another one."""
        with self._lock:
            lane = self._leave(thread)
            thread.lane_aside = lane
            if lane is not None and self._lanes.waiting(lane):
                self._call()

    def come_back(self, thread: RequestThread) -> None:
        with self._lock:
            if thread.lane_aside is not None:
                self._lanes.come_back(thread.lane_aside)
                thread.lane, thread.lane_aside = thread.lane_aside, None

    def shutdown(self, cancel_pending: bool = True, timeout: float = 5.0) -> bool:
        """Let the threads end, and drop what waits. Returns: whether all have ended in that time."""
        until = time.monotonic() + timeout
        with self._lock:
            self._is_over = True
            self._is_work.notify_all()
            while self._threads and (left_s := until - time.monotonic()) > 0:
                self._is_leaving.wait(left_s)
            if self._threads:
                _log.warning(line("threads_still_running", count=self._threads))
            for task in self._lanes.clear_all():
                task.cancel()
            return not self._threads

    def _put(self, lane: Lane, task: Task) -> None:
        has_room = self._lanes.has_room(lane)
        self._lanes.put(lane, task)
        if has_room:
            self._call()

    def _leave(self, thread: RequestThread) -> Lane | None:
        lane, thread.lane = thread.lane, None
        if lane is not None:
            self._lanes.leave(lane)
        return lane

    def _call(self) -> None:
        """Wake a thread for a task, or start one. The lock is held."""
        if self._called < self._idle:
            self._called += 1
            self._is_work.notify()
        elif not self._is_over:
            thread = RequestThread(self)
            try:
                thread.start()
            except RuntimeError as error:  # no memory for a thread: those that there are take it in turn
                _log.warning(line("thread_not_started", detail=error))
                return
            self._threads += 1

    def _next(self, thread: RequestThread) -> Task | None:
        with self._lock:
            while not self._is_over:
                found = self._lanes.take()
                if found is not None:
                    thread.lane, task = found
                    thread.lane_aside = None
                    return task
                self._idle += 1
                self._is_work.wait()
                self._idle -= 1
                self._called = max(0, self._called - 1)
            self._threads -= 1
            self._is_leaving.notify_all()
            return None


def _refuse(task: Task) -> Lane:
    task.refuse(ManagerUnreachable(retry_after_s=RETRY_AFTER_S))
    return Lane.QUICK
