"""Equal to the bit, where it is known which kernels round differently."""

import torch
from torch import Tensor

# Measured on such processors, in one thread; others may have kernels of their own.
is_measured = torch.backends.cpu.get_cpu_capability() == "AVX2" and torch.get_num_threads() == 1


def assert_same(made: Tensor, wanted: Tensor) -> None:
    """To the bit, where that was measured; everywhere within what rounding leaves."""
    torch.testing.assert_close(made, wanted, rtol=0, atol=1e-4)
    assert not is_measured or torch.equal(made, wanted)
