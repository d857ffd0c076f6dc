"""Which device an engine gets by its name, and in which precision it computes there."""

import pytest
import torch

from engine_worker.engine.runtime.devices import choose_device, choose_dtype, describe, vae_dtype
from kernel.protocol.enums import Variant
from kernel.protocol.errors import DeviceUnavailable, EngineFailed

NONE = {"cuda": 0, "xpu": 0, "mps": 0}


@pytest.mark.parametrize(
    ("wanted", "counts", "device"),
    [
        ("auto", {}, "cpu"),
        ("auto", {"cuda": 2}, "cuda:0"),
        ("auto", {"xpu": 1}, "xpu:0"),
        ("auto", {"mps": 1}, "mps:0"),
        ("cpu", {"cuda": 2}, "cpu"),
        ("cuda", {"cuda": 2}, "cuda:0"),
        ("cuda:1", {"cuda": 2}, "cuda:1"),
        ("xpu", {"xpu": 2}, "xpu:0"),
        ("xpu:1", {"xpu": 2}, "xpu:1"),
        ("mps", {"mps": 1}, "mps:0"),
    ],
)
def test_device_is_chosen_by_its_name_among_those_that_torch_sees(
    wanted: str, counts: dict[str, int], device: str
) -> None:
    assert choose_device(wanted, NONE | counts) == torch.device(device)


@pytest.mark.parametrize("wanted", ["cuda", "cuda:2", "xpu", "xpu:0", "mps"])
def test_device_that_torch_does_not_see_is_unavailable_with_the_number_of_those_it_sees(wanted: str) -> None:
    counts = NONE | {"cuda": 2 if wanted == "cuda:2" else 0}
    kind = wanted.partition(":")[0]
    with pytest.raises(DeviceUnavailable, match=f"torch sees {counts[kind]} {kind} GPUs"):
        choose_device(wanted, counts)


@pytest.mark.parametrize("wanted", ["tpu", "", "meta", "cuda:x"])
def test_name_of_no_device_is_an_error_with_the_names_that_there_are(wanted: str) -> None:
    with pytest.raises(EngineFailed, match="use auto, cpu, cuda"):
        choose_device(wanted, NONE)


def test_gpus_compute_in_half_precision_and_cpus_do_not() -> None:
    assert choose_dtype(None, torch.device("cpu")) is torch.float32
    for kind in NONE:
        assert choose_dtype(None, torch.device(kind)) is torch.float16
    assert choose_dtype(Variant.BF16, torch.device("mps")) is torch.bfloat16


def test_vae_is_in_single_precision_where_nothing_is_known_of_bfloat16() -> None:
    assert vae_dtype(torch.float16, torch.device("mps")) is torch.float32
    assert vae_dtype(torch.float32, torch.device("mps")) is torch.float32


def test_cpu_is_not_described_because_the_manager_measures_it() -> None:
    assert describe(torch.device("cpu")) is None
