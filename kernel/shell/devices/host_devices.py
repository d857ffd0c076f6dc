"""The devices of this host that engines can run on, with their free memory and what our workers hold."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from kernel.core.events import DeviceFact
from kernel.protocol.ids import WorkerId
from kernel.shell.devices import cpu
from kernel.shell.devices.amd import AmdGpus
from kernel.shell.devices.nvidia import NvidiaGpus

FRESH_S: Final = 1.0

Pids = Callable[[], Mapping[WorkerId, int]]
"""The process ids of this host's workers."""


class Devices:
    """Every GPU, then the CPU; measured at most once a second.

    AMD's GPUs are listed where there is none of NVIDIA's: torch is built for one of them, and calls either
    `cuda:0`.
    """

    def __init__(self, pids: Pids, spare_pids: Callable[[], Sequence[int]] = tuple) -> None:
        """`spare_pids`: standby processes, whose memory counts as free because the next worker will be one of
        them."""
        nvidia = NvidiaGpus()
        self._gpus: NvidiaGpus | AmdGpus = nvidia if nvidia.count else AmdGpus()
        self._pids, self._spare_pids = pids, spare_pids
        self._seen: tuple[DeviceFact, ...] = ()
        self._seen_at_s = -FRESH_S

    def read(self) -> tuple[DeviceFact, ...]:
        """The devices now, or less than a second ago. A GPU that does not answer is left out."""
        now_s = time.monotonic()
        if now_s - self._seen_at_s >= FRESH_S:
            pids = self._pids()
            self._seen = (*self._gpus.measure(pids), cpu.measure(pids, self._spare_pids()))
            self._seen_at_s = now_s
        return self._seen
