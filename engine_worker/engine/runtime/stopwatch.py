"""Times work on its device without making the host wait."""

from collections.abc import Callable
from time import perf_counter
from typing import Protocol, TypeVar

import torch

Made = TypeVar("Made")
Done = Callable[[float], None]
"""Takes the seconds that a piece of work took."""


class Stopwatch(Protocol):
    """For one thread."""

    def time(self, work: Callable[[], Made], done: Done) -> Made:
        """Do the work; `done` hears how long it took, at once or when the next work is timed.

        Raises: what the work raises; nobody hears of it then.
        """


class HostStopwatch:
    """Where work is done when it returns."""

    def time(self, work: Callable[[], Made], done: Done) -> Made:
        """See the protocol."""
        begin_s = perf_counter()
        made = work()
        done(perf_counter() - begin_s)
        return made


class CudaStopwatch:
    """Where work is only put into the device's queue.

    The host is let ahead of the device by one piece of work and no more: so the queue never runs dry, and
    nobody is told of steps that are far from being made.
    """

    def __init__(self) -> None:
        self._last: tuple[torch.cuda.Event, torch.cuda.Event, Done] | None = None

    def time(self, work: Callable[[], Made], done: Done) -> Made:
        """See the protocol."""
        begin, end = _event(), _event()
        begin.record()
        made = work()
        end.record()
        before, self._last = self._last, (begin, end, done)
        if before is not None:
            _settle(*before)
        return made


def make_stopwatch(device: torch.device) -> Stopwatch:
    """The stopwatch for a device."""
    return CudaStopwatch() if device.type == "cuda" else HostStopwatch()


def _event() -> torch.cuda.Event:
    # Blocking: whoever waits for it sleeps, and leaves its core to the threads that finish images.
    return torch.cuda.Event(enable_timing=True, blocking=True)  # type: ignore[no-untyped-call]


def _settle(begin: torch.cuda.Event, end: torch.cuda.Event, done: Done) -> None:
    end.synchronize()
    done(begin.elapsed_time(end) / 1000)
