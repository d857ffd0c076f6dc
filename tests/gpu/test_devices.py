"""What torch tells of a GPU, against what NVML measures."""

import torch

from engine_worker.engine.runtime.devices import choose_device, describe
from kernel.shell.devices.host_devices import Devices

SOME_BYTES = 256 << 20


def test_first_gpu_is_chosen_and_described_as_the_host_measures_it() -> None:
    device = choose_device("auto")
    held = torch.empty(SOME_BYTES, dtype=torch.uint8, device=device)
    seen = describe(device)
    assert seen is not None
    assert seen.free_bytes <= seen.total_bytes - held.nbytes
    measured = next(fact.status for fact in Devices(dict).read() if fact.status.name == seen.name)
    assert seen.capability == measured.capability
    assert abs(seen.total_bytes - measured.total_bytes) < 0.02 * measured.total_bytes
