"""Who may have a thread: each kind of request has threads of its own, so that none can take the last ones.

A request waits in the lane of its kind, which costs no thread. A request that holds a thread for long on
purpose, such as a stream of events, has a limit of its own
(`api/http/framework/concurrency_limit.py:ConcurrencyLimit`) and leaves its lane when it is let in.
"""

from collections import deque
from collections.abc import Mapping
from enum import Enum, auto
from typing import Final, Generic, TypeVar

from api.http.framework.uploads import UPLOAD_PATH
from conf.settings import Server

LIVE_PATH: Final = "/v1/health/live"
PROBE_PATHS: Final = frozenset({"/v1/health/ready", "/v1/devices"})
DOWNLOAD: Final = "/download"
READING: Final = frozenset({"GET", "HEAD", "OPTIONS"})
QUICK_THREADS: Final = 2
PROBE_THREADS: Final = 4
UPLOAD_THREADS: Final = 4
HEAVY_THREADS: Final = 8
HEAVY_BYTES: Final = 1 << 20
READ_SHARE: Final = 4
"""Threads that ask the Manager for each that reads: reading takes the processor, asking waits."""
WAIT_SHARE: Final = 2

Task = TypeVar("Task")


class Lane(Enum):
    """Kinds of requests by what their thread waits for; the first is served first."""

    QUICK = auto()
    """Nothing: whether this process is alive, and refusals."""
    PROBE = auto()
    """The Manager, for as long as a health check may take."""
    READ = auto()
    """The database."""
    ASK = auto()
    """The Manager."""
    HEAVY = auto()
    """The Manager, after a large body has been looked at."""
    UPLOAD = auto()
    """The disk, until a model is durable."""


ASKING: Final = frozenset({Lane.ASK, Lane.HEAVY})


def lane_of(method: str, path: str, body_bytes: int) -> Lane:
    """The lane of a request."""
    plain = path.rstrip("/")
    if plain == LIVE_PATH:
        return Lane.QUICK
    if plain in PROBE_PATHS:
        return Lane.PROBE
    if method in READING:
        return Lane.ASK if plain.endswith(DOWNLOAD) else Lane.READ
    if plain == UPLOAD_PATH:
        return Lane.UPLOAD
    return Lane.HEAVY if body_bytes > HEAVY_BYTES else Lane.ASK


def shares_of(server: Server) -> Mapping[Lane, int]:
    """How many threads each lane has."""
    return {
        Lane.QUICK: QUICK_THREADS,
        Lane.PROBE: PROBE_THREADS,
        Lane.READ: max(2, server.threads // READ_SHARE),
        Lane.ASK: server.threads,
        Lane.HEAVY: HEAVY_THREADS,
        Lane.UPLOAD: UPLOAD_THREADS,
    }


def waits_of(server: Server) -> int:
    """How many requests may wait for something to happen, each with a thread beside those of the lanes."""
    return max(1, server.threads // WAIT_SHARE)


class Lanes(Generic[Task]):
    """Tasks that wait, and how many of each lane have a thread. Not safe to share: its owner has a lock."""

    def __init__(self, shares: Mapping[Lane, int]) -> None:
        self._shares = shares
        self._running = dict.fromkeys(shares, 0)
        self._waiting: dict[Lane, deque[Task]] = {lane: deque() for lane in shares}

    def put(self, lane: Lane, task: Task) -> None:
        self._waiting[lane].append(task)

    def has_room(self, lane: Lane) -> bool:
        """True, if a task that comes now has a thread at once."""
        return self._running[lane] + len(self._waiting[lane]) < self._shares[lane]

    def running(self, lane: Lane) -> int:
        return self._running[lane]

    def waiting(self, lane: Lane) -> int:
        return len(self._waiting[lane])

    def take(self) -> tuple[Lane, Task] | None:
        """The next task that may have a thread, which its lane counts until `leave`."""
        for lane, tasks in self._waiting.items():
            if tasks and self._running[lane] < self._shares[lane]:
                self._running[lane] += 1
                return lane, tasks.popleft()
        return None

    def come_back(self, lane: Lane) -> None:
        """A task that has left counts again, even where there is no room for it."""
        self._running[lane] += 1

    def leave(self, lane: Lane) -> None:
        """A task is over, or goes on without counting."""
        self._running[lane] -= 1

    def clear(self, lane: Lane) -> list[Task]:
        """Take out all that wait in a lane."""
        tasks = list(self._waiting[lane])
        self._waiting[lane].clear()
        return tasks

    def clear_all(self) -> list[Task]:
        return [task for lane in self._waiting for task in self.clear(lane)]
