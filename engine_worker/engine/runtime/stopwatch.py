"""Times work on its device without making the host wait."""

from collections.abc import Callable
from time import perf_counter
from typing import Protocol, TypeVar

import torch

Made = TypeVar("Made")
Done = Callable[[float], None]
"""Receives the duration of a piece of work, in seconds."""


class Stopwatch(Protocol):
    """Measures work; for one thread."""

    def time(self, work: Callable[[], Made], done: Done) -> Made:
        """Do the work, and report its duration to `done`: at once, or when the next work is timed.

        Raises: what the work raises; nothing is reported then.
        """


class HostStopwatch:
    """For devices on which work is done when the call returns."""

    def time(self, work: Callable[[], Made], done: Done) -> Made:
        """See the protocol."""
        begin_s = perf_counter()
        made = work()
        done(perf_counter() - begin_s)
        return made


class CudaStopwatch:
    """For GPUs, where a call only enqueues work.

    The host may be one piece of work ahead of the device, no more. So the queue never runs dry, and no step
    is reported long before it is made.
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
    # Blocking: a thread that waits for the event sleeps, and leaves its core to postprocessing.
    return torch.cuda.Event(enable_timing=True, blocking=True)  # type: ignore[no-untyped-call]


def _settle(begin: torch.cuda.Event, end: torch.cuda.Event, done: Done) -> None:
    end.synchronize()
    done(begin.elapsed_time(end) / 1000)
