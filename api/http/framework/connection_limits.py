"""Decides which connections have timed out, and which are closed first if there are too many; time is an
argument.

Slow clients are tolerated up to a deadline while connections are free. When the server is full, those are
closed that have waited longest without a whole request, from the address with the most connections, so a
client that connects and sends its request at once is always among the last. A connection whose request is
being worked on is never closed.
"""

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from functools import lru_cache
from heapq import nsmallest
from ipaddress import IPv6Address, ip_address
from typing import Final, TypeVar

FILES_PER_CONNECTION: Final = 2
"""Its socket, and a file that it sends or receives."""
FILES_PER_THREAD: Final = 3
"""A thread that reads the database opens it, its WAL and the WAL's index."""
FILES_RESERVED: Final = 64
"""Files of the process itself."""
FEWEST_CONNECTIONS: Final = 16
ADDRESS_SHARE: Final = 0.75
"""The most of all connections that one address may have, however high its own limit is."""
CREDIT_BYTES: Final = 64 << 10
"""Bytes that a body or response counts as having moved before it began, because its first bytes say little
about its rate."""

Key = TypeVar("Key", bound=Hashable)


class Doing(Enum):
    """The state of a connection."""

    WAITING = auto()
    """Waiting for a request, or for the rest of its head."""
    RECEIVING = auto()
    """Receiving the body of a request."""
    WORKING = auto()
    """A request is being answered, or is about to be."""
    SENDING = auto()
    """Sending a response that the client takes slowly."""
    LEAVING = auto()
    """Refused; the client may still send bytes that are dropped."""


@dataclass(frozen=True, slots=True)
class Standing:
    """One connection. Times are monotonic seconds."""

    address: str
    doing: Doing
    since: float
    """WAITING: since it connected or was last answered; else since the state began."""
    moved_bytes: int = 0
    """RECEIVING, SENDING: bytes since then."""
    head_since: float | None = None
    """WAITING: when an incomplete head began."""
    is_new: bool = False
    """WAITING: it has never been answered."""


@dataclass(frozen=True, slots=True)
class Deadlines:
    """Time limits. A body and a response have additional time for their bytes at a low rate."""

    head_s: float = 20.0
    idle_s: float = 120.0
    grace_s: float = 30.0
    bytes_per_s: float = 4096.0
    linger_s: float = 2.0


@dataclass(frozen=True, slots=True)
class Capacity:
    """The most connections at once, in total and from one address."""

    total: int
    per_address: int


def capacity_for(wanted: Capacity, open_files: int, threads: int) -> Capacity:
    """The capacity that the limit of open files allows, with files and database connections reserved."""
    left = open_files - FILES_RESERVED - FILES_PER_THREAD * threads
    total = max(FEWEST_CONNECTIONS, min(wanted.total, left // FILES_PER_CONNECTION))
    return Capacity(total, max(1, min(wanted.per_address, int(total * ADDRESS_SHARE))))


def due_at(standing: Standing, deadlines: Deadlines) -> float | None:
    """When the connection times out, if nothing more comes; None while its request is worked on."""
    match standing.doing:
        case Doing.WORKING:
            return None
        case Doing.WAITING:
            return _head_due_at(standing, deadlines)
        case Doing.LEAVING:
            return standing.since + deadlines.linger_s
        case Doing.RECEIVING | Doing.SENDING:
            return standing.since + deadlines.grace_s + standing.moved_bytes / deadlines.bytes_per_s


def _head_due_at(standing: Standing, deadlines: Deadlines) -> float:
    if standing.is_new:
        return standing.since + deadlines.head_s
    idle = standing.since + deadlines.idle_s
    return idle if standing.head_since is None else standing.head_since + deadlines.head_s


def whom_to_shed(standings: Mapping[Key, Standing], count: int, now: float) -> list[Key]:
    """At most `count` connections to close, the first to be closed first."""
    crowds = Counter(one.address for one in standings.values())
    most = max(crowds.values(), default=0)
    order = ((_rank(one, crowds[one.address] < most, now), key) for key, one in standings.items())
    goers = ((rank, number, key) for number, (rank, key) in enumerate(order) if rank is not None)
    return [key for _, _, key in nsmallest(count, goers)]


def _rank(standing: Standing, is_of_few: bool, now: float) -> tuple[bool, bool, float] | None:
    """Sort key, lower is closed first; None: never. Of those that transfer bytes, the slowest is closed
    first."""
    match standing.doing:
        case Doing.WORKING:
            return None
        case Doing.WAITING | Doing.LEAVING:
            return is_of_few, False, standing.since
        case Doing.RECEIVING | Doing.SENDING:
            rate = (standing.moved_bytes + CREDIT_BYTES) / (now - standing.since + 1.0)
            return is_of_few, True, rate


@lru_cache(maxsize=1_024)
def origin_of(address: str) -> str:
    """The client network of an address: with IPv6 one customer has a whole network of 64 bits."""
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(found, IPv6Address):
        if found.ipv4_mapped is not None:
            return str(found.ipv4_mapped)
        return found.exploded[:19]
    return str(found)


class Crowd:
    """The number of connections by address."""

    def __init__(self, addresses: Iterable[str] = ()) -> None:
        self._by_address = Counter(addresses)
        self.total = self._by_address.total()

    def of(self, address: str) -> int:
        return self._by_address[address]

    def enter(self, address: str) -> None:
        self._by_address[address] += 1
        self.total += 1

    def leave(self, address: str) -> None:
        self._by_address[address] -= 1
        self.total -= 1
        if not self._by_address[address]:
            del self._by_address[address]
