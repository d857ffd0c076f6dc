"""What the Manager and the driver of a pool say to each other: one JSON object in a line, over pipes.

A driver is a child process that starts, watches and ends the workers of one pool. The Manager writes
orders to its stdin and reads reports from its stdout; its stderr is its log. When stdin ends, the Manager is
gone: the driver ends all its workers and exits. Nothing in these messages is secret. Source: adr/0079.
"""

from collections.abc import Iterator
from typing import Final

import msgspec

from conf.pools import Pool
from kernel.protocol.type_info import analyzed

MAX_BUFFERED_BYTES: Final = 1 << 20
"""A driver that says more without the end of a line is broken."""


class Configure(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The first order: the pool that the driver is for, its address for workers filled in."""

    pool: str
    terms: Pool


class Launch(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Start a worker under this name, and append what it writes to this file."""

    name: str
    log_file: str


class Stop(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Ask a worker to leave. One that is not there is no error."""

    name: str


class Kill(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """End a worker. One that is not there is no error."""

    name: str


class Waiting(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A worker waits for capacity; said again when the reason changes."""

    name: str
    reason: str


class Running(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A worker has been placed and started."""

    name: str


class Ended(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A worker has ended, or could not be started; said once."""

    name: str
    status: str
    """For a person: `exit code 1`."""
    last_words: str = ""
    exit_code: int | None = None


Order = Configure | Launch | Stop | Kill
Report = Waiting | Running | Ended


def to_line(message: Order | Report) -> bytes:
    """A message as a line."""
    return msgspec.json.encode(message) + b"\n"


def read_order(line: bytes) -> Order:
    """Raises: msgspec.DecodeError."""
    order: Order = msgspec.json.decode(line, type=analyzed(Order))
    return order


def read_report(line: bytes) -> Report:
    """Raises: msgspec.DecodeError."""
    report: Report = msgspec.json.decode(line, type=analyzed(Report))
    return report


class Lines:
    """Cuts a stream of bytes into lines."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The lines that these bytes complete.

        Raises: ValueError, if a line is too long.
        """
        *whole, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > MAX_BUFFERED_BYTES:
            raise ValueError("a line without an end")
        yield from whole
