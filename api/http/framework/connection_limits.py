"""Which connections have had their time, and which go first when there are too many; time is an argument.

Nobody pays for being slow while there is room, up to a deadline. When the server is full, those go that have
waited longest without a whole request, of the address that has most connections: whoever connects and asks at
once is always among the last of them. A connection whose request is worked on never goes.
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
"""A thread that reads the database has it, its WAL and the index of that open."""
FILES_RESERVED: Final = 64
"""Those of the process itself."""
FEWEST_CONNECTIONS: Final = 16
ADDRESS_SHARE: Final = 0.75
"""What one address has at most of all connections, however high its own limit is."""
CREDIT_BYTES: Final = 64 << 10
"""What a body or an answer is taken to have moved before it began: it says little of its speed at first."""

Key = TypeVar("Key", bound=Hashable)


class Doing(Enum):
    """What a connection is at."""

    WAITING = auto()
    """For a request, or for the rest of its head."""
    RECEIVING = auto()
    """The body of a request."""
    WORKING = auto()
    """A request of it is answered, or is about to be."""
    SENDING = auto()
    """An answer that its client does not take as fast as it comes."""
    LEAVING = auto()
    """It was refused, and its client may still send what nobody reads."""


@dataclass(frozen=True, slots=True)
class Standing:
    """One connection. Times are seconds, monotonic."""

    address: str
    doing: Doing
    since: float
    """WAITING: since it connected or was last answered; else since that began."""
    moved_bytes: int = 0
    """RECEIVING, SENDING: so many since then."""
    head_since: float | None = None
    """WAITING: when a head began that is not whole."""
    is_new: bool = False
    """WAITING: it has never been answered."""


@dataclass(frozen=True, slots=True)
class Deadlines:
    """How long what may take. A body and an answer have as much again as their bytes need at a low speed."""

    head_s: float = 20.0
    idle_s: float = 120.0
    grace_s: float = 30.0
    bytes_per_s: float = 4096.0
    linger_s: float = 2.0


@dataclass(frozen=True, slots=True)
class Capacity:
    """How many connections there may be at once, and of one address."""

    total: int
    per_address: int


def capacity_for(wanted: Capacity, open_files: int, threads: int) -> Capacity:
    """What the limit of open files leaves of it, so that files and the database can always be opened."""
    left = open_files - FILES_RESERVED - FILES_PER_THREAD * threads
    total = max(FEWEST_CONNECTIONS, min(wanted.total, left // FILES_PER_CONNECTION))
    return Capacity(total, max(1, min(wanted.per_address, int(total * ADDRESS_SHARE))))


def due_at(standing: Standing, deadlines: Deadlines) -> float | None:
    """When its time is over, if nothing more comes; None while it is worked on."""
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
    """At most so many connections that are to go, the first to go first."""
    crowds = Counter(one.address for one in standings.values())
    most = max(crowds.values(), default=0)
    order = ((_rank(one, crowds[one.address] < most, now), key) for key, one in standings.items())
    goers = ((rank, number, key) for number, (rank, key) in enumerate(order) if rank is not None)
    return [key for _, _, key in nsmallest(count, goers)]


def _rank(standing: Standing, is_of_few: bool, now: float) -> tuple[bool, bool, float] | None:
    """Lower goes first; None: it stays. Of those that move bytes the slowest goes first."""
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
    """Whose an address is: a whole network of 64 bits is handed to one customer with IPv6."""
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
    """How many connections there are, by address."""

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
