"""Divides the threads: each kind of request has a pool, so that no kind can take the last threads.

A request that waits for a thread of its pool holds none. A request that holds a thread for long on purpose,
until there is memory for its images, has a limit of its own
(`api/http/framework/concurrency_limit.py:ConcurrencyLimit`), and leaves its pool once it is admitted.
"""

from collections import deque
from collections.abc import Mapping
from enum import Enum, auto
from typing import Final, Generic, TypeVar

from api.http.framework.uploads import UPLOAD_PATH
from conf.settings import Server

LIVE_PATH: Final = "/v1/health/live"
PROBE_PATHS: Final = frozenset({"/v1/health/ready", "/v1/devices", "/sdapi/v1/memory", "/metrics"})
ASKING_READS: Final = ("/download", "/content", "/callbacks/secret", "/images/zip")
THUMBNAIL: Final = "/thumbnail"
READING: Final = frozenset({"GET", "HEAD", "OPTIONS"})
QUICK_THREADS: Final = 2
PROBE_THREADS: Final = 4
UPLOAD_THREADS: Final = 4
PARKED_THREADS: Final = 1
THUMBNAIL_THREADS: Final = 2
HEAVY_THREADS: Final = 8
HEAVY_BYTES: Final = 1 << 20
READ_SHARE: Final = 4
"""Threads for commands per thread for reads: reading uses the CPU, commands wait."""
WAIT_SHARE: Final = 2

Task = TypeVar("Task")


class Pool(Enum):
    """Kinds of requests by what their thread waits for; the first is served first."""

    QUICK = auto()
    """Waits for nothing: liveness checks, and refusals."""
    PROBE = auto()
    """Waits for the Manager, for at most the time of a health check."""
    READ = auto()
    """Waits for the database."""
    ASK = auto()
    """Waits for the Manager."""
    THUMBNAIL = auto()
    """Waits for the disk, and maybe makes a small image: no more of them at once than there are threads."""
    HEAVY = auto()
    """Waits for the Manager, after a large body has been checked."""
    UPLOAD = auto()
    """Waits for the disk, until a model is durable."""
    PARKED = auto()
    """Waits for the database: goes on with what was parked, unless that asks the Manager. One thread takes
    them in turn: when a job ends that hundreds wait for, a request that reads something else must not stand
    in line behind them."""


ASKING: Final = frozenset({Pool.ASK, Pool.HEAVY})


def pool_of(method: str, path: str, body_bytes: int) -> Pool:
    """The pool of a request."""
    plain = path.rstrip("/")
    if plain == LIVE_PATH:
        return Pool.QUICK
    if plain in PROBE_PATHS:
        return Pool.PROBE
    if method in READING and plain.endswith(THUMBNAIL):
        return Pool.THUMBNAIL
    if method in READING:
        return Pool.ASK if plain.endswith(ASKING_READS) else Pool.READ
    if plain == UPLOAD_PATH:
        return Pool.UPLOAD
    return Pool.HEAVY if body_bytes > HEAVY_BYTES else Pool.ASK


def shares_of(server: Server) -> Mapping[Pool, int]:
    """The number of threads of each pool."""
    return {
        Pool.QUICK: QUICK_THREADS,
        Pool.PROBE: PROBE_THREADS,
        Pool.READ: max(2, server.threads // READ_SHARE),
        Pool.ASK: server.threads,
        Pool.THUMBNAIL: THUMBNAIL_THREADS,
        Pool.HEAVY: HEAVY_THREADS,
        Pool.UPLOAD: UPLOAD_THREADS,
        Pool.PARKED: PARKED_THREADS,
    }


def waits_of(server: Server) -> int:
    """The number of requests that may wait for memory, each with a thread besides those of the pools."""
    return max(1, server.threads // WAIT_SHARE)


class Pools(Generic[Task]):
    """Waiting tasks, and the number of busy threads of each pool. Not thread-safe: its owner has a lock."""

    def __init__(self, shares: Mapping[Pool, int]) -> None:
        self._shares = shares
        self._running = dict.fromkeys(shares, 0)
        self._waiting: dict[Pool, deque[Task]] = {pool: deque() for pool in shares}

    def put(self, pool: Pool, task: Task) -> None:
        self._waiting[pool].append(task)

    def has_free_thread(self, pool: Pool) -> bool:
        """True if a new task gets a thread at once."""
        return self._running[pool] + len(self._waiting[pool]) < self._shares[pool]

    def running(self, pool: Pool) -> int:
        return self._running[pool]

    def waiting(self, pool: Pool) -> int:
        return len(self._waiting[pool])

    def take(self) -> tuple[Pool, Task] | None:
        """The next task that may have a thread, which its pool counts until `leave`."""
        for pool, tasks in self._waiting.items():
            if tasks and self._running[pool] < self._shares[pool]:
                self._running[pool] += 1
                return pool, tasks.popleft()
        return None

    def come_back(self, pool: Pool) -> None:
        """Count a task again that had left, even if its pool is full."""
        self._running[pool] += 1

    def leave(self, pool: Pool) -> None:
        """A task has ended, or goes on without being counted."""
        self._running[pool] -= 1

    def clear(self, pool: Pool) -> list[Task]:
        """Remove all waiting tasks of a pool."""
        tasks = list(self._waiting[pool])
        self._waiting[pool].clear()
        return tasks

    def clear_all(self) -> list[Task]:
        return [task for pool in self._waiting for task in self.clear(pool)]
