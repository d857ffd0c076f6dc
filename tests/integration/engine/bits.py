"""Equal to the bit, where it is known which kernels round differently."""

from pathlib import Path

import torch
from torch import Tensor

_MOST_THREADS = 2
_IS_AMD = "AuthenticAMD" in Path("/proc/cpuinfo").read_text()


def is_measured() -> bool:
    """True on processors and with numbers of threads on which it was measured; others may have kernels of
    their own."""
    capability = torch.backends.cpu.get_cpu_capability()
    is_known = capability == "AVX2" or (capability == "AVX512" and _IS_AMD)
    return is_known and torch.get_num_threads() <= _MOST_THREADS


def assert_same(made: Tensor, wanted: Tensor) -> None:
    """To the bit, where that was measured; everywhere within what rounding leaves."""
    torch.testing.assert_close(made, wanted, rtol=0, atol=1e-4)
    assert not is_measured() or torch.equal(made, wanted)
