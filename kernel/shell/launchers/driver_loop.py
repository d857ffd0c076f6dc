"""The loop of a driver: reads the Manager's orders, tends the workers, and writes reports.

When stdin ends, the Manager is gone or ends: the workers are ended, and the driver leaves when they have, or
after LEAVE_S. One thread does all this; a driver whose calls can hang must end with its parent besides.
"""

import os
import selectors
import time
from collections.abc import Callable
from contextlib import suppress
from io import RawIOBase
from typing import Final, Protocol

from kernel.process.signals import SignalPipe
from kernel.shell.launchers.driver_messages import (
    Configure,
    Lines,
    Order,
    Report,
    read_order,
    to_line,
)

LEAVE_S: Final = 20.0
READ_BYTES: Final = 64 << 10


class Driver(Protocol):
    """Starts, watches and ends the workers of one pool. Units: monotonic seconds."""

    def obey(self, order: Order, now_s: float) -> None:
        """Carry out an order. What comes of it, also a failure, is told by `tend`."""

    def tend(self, now_s: float) -> list[Report]:
        """What has become known. Called after every event, and when it is due."""

    def next_s(self) -> float | None:
        """When `tend` is due without an event; None: never."""

    def end_all(self, now_s: float) -> None:
        """Begin to end every worker."""

    def is_idle(self) -> bool:
        """True if it has no worker."""


def drive(build: Callable[[Configure], Driver], signals: SignalPipe) -> int:
    """Serve the Manager at stdin and stdout until it is gone. Returns: the exit code.

    Raises: msgspec.DecodeError, ValueError, if an order cannot be read.
    """
    lines, driver, leave_at_s = Lines(), None, None
    out = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # what a library prints is no report
    with selectors.DefaultSelector() as selector:
        selector.register(0, selectors.EVENT_READ)
        selector.register(signals, selectors.EVENT_READ)
        while True:
            ready = {key.fd for key, _ in selector.select(_patience_s(driver, leave_at_s))}
            signals.take_all()
            now_s = time.monotonic()
            if 0 in ready:
                data = os.read(0, READ_BYTES)
                for line in lines.feed(data):
                    order = read_order(line)
                    if isinstance(order, Configure):
                        driver = build(order)
                    elif driver is not None:
                        driver.obey(order, now_s)
                if not data:
                    selector.unregister(0)
                    leave_at_s = now_s + LEAVE_S
                    if driver is not None:
                        driver.end_all(now_s)
            for report in driver.tend(now_s) if driver is not None else ():
                _tell(out, report)
            if leave_at_s is not None and (driver is None or driver.is_idle() or now_s >= leave_at_s):
                return 0


def _patience_s(driver: Driver | None, leave_at_s: float | None) -> float | None:
    times = [] if leave_at_s is None else [leave_at_s]
    if driver is not None and (next_s := driver.next_s()) is not None:
        times.append(next_s)
    return max(0.0, min(times) - time.monotonic()) if times else None


def _tell(out: RawIOBase, report: Report) -> None:
    """Write a report; when the Manager is gone, nobody reads it."""
    with suppress(BrokenPipeError):
        rest = memoryview(to_line(report))
        while rest:
            rest = rest[out.write(rest) or 0 :]
