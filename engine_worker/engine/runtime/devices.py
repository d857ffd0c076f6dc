"""Chooses the device and the precision of an engine, and says what torch tells of a device.

Torch is built for one kind of accelerator: CUDA (NVIDIA, and AMD under the same names), XPU (Intel) or MPS
(Apple). Only CUDA devices have streams, pinned copies and prepared calls here; on the others each call is
made as on a CPU.
"""

from collections.abc import Mapping
from typing import Final

import torch

from kernel.protocol.enums import Variant
from kernel.protocol.errors import DeviceUnavailable, EngineFailed
from kernel.protocol.worker import WorkerDevice

_DTYPES: Final = {Variant.FP16: torch.float16, Variant.FP32: torch.float32, Variant.BF16: torch.bfloat16}
_NAMES: Final = "auto, cpu, cuda, cuda:0, cuda:1 ..., xpu, xpu:0 ... or mps"

Counts = Mapping[str, int]
"""The number of devices that torch can use, by kind of accelerator."""


def device_counts() -> Counts:
    """The accelerators of this host, as far as torch can use them."""
    return {
        "cuda": torch.cuda.device_count(),
        "xpu": torch.xpu.device_count(),
        "mps": int(torch.backends.mps.is_available()),
    }


def choose_device(wanted: str, counts: Counts | None = None) -> torch.device:
    """The device of that name; `auto` is the first accelerator, or the CPU if there is none, and a kind alone
    its first device.

    Raises: DeviceUnavailable, if this machine does not have the device now; EngineFailed, if the name is
    unknown.
    """
    counts = device_counts() if counts is None else counts
    if wanted == "auto":
        present = [kind for kind, count in counts.items() if count > 0]
        return torch.device(present[0], 0) if present else torch.device("cpu")
    try:
        device = torch.device(wanted)
    except RuntimeError as error:
        raise EngineFailed(f"unknown device {wanted}: use {_NAMES}") from error
    if device.type == "cpu":
        return torch.device("cpu")
    if device.type not in counts:
        raise EngineFailed(f"device {wanted} is not supported: use {_NAMES}")
    index, count = device.index or 0, counts[device.type]
    if index >= count:
        raise DeviceUnavailable(f"this machine has no device {wanted}: torch sees {count} {device.type} GPUs")
    return torch.device(device.type, index)


def describe(device: torch.device) -> WorkerDevice | None:
    """What torch tells of a GPU, with the memory that is free now; None for the CPU, and if it tells nothing.
    May make a context on it."""
    try:
        return _told(device)
    except RuntimeError:
        return None


def _told(device: torch.device) -> WorkerDevice | None:
    match device.type:
        case "cuda":
            found = torch.cuda.get_device_properties(device)
            free_bytes, total_bytes = torch.cuda.mem_get_info(device)
            architecture: str = found.gcnArchName if torch.version.hip else f"{found.major}.{found.minor}"
            return _described(device, found.name, total_bytes, free_bytes, architecture.partition(":")[0])
        case "xpu":
            free_bytes, total_bytes = torch.xpu.mem_get_info(device)
            return _described(device, torch.xpu.get_device_name(device), total_bytes, free_bytes)
        case "mps":
            total_bytes = torch.mps.recommended_max_memory()
            free_bytes = total_bytes - torch.mps.driver_allocated_memory()
            return _described(device, "Apple GPU", total_bytes, free_bytes)
        case _:
            return None


def _described(
    device: torch.device, name: str, total_bytes: int, free_bytes: int, capability: str | None = None
) -> WorkerDevice:
    return WorkerDevice(
        device=str(device),
        name=name,
        total_bytes=total_bytes,
        free_bytes=min(max(free_bytes, 0), total_bytes),
        capability=capability,
    )


def release_unused(device: torch.device) -> None:
    """Return the blocks that torch's allocator keeps for later to the device; nothing, for the CPU."""
    match device.type:
        case "cuda":
            torch.cuda.empty_cache()
        case "xpu":
            torch.xpu.empty_cache()
        case "mps":
            torch.mps.empty_cache()
        case _:
            pass


def settle_on(device: torch.device, dtype: torch.dtype) -> None:
    """Make the device the calling thread's current one, so that events and streams touch no other GPU's
    memory.

    An engine in float32 also turns off TF32, which would round the inputs of convolutions to 10 bits.
    """
    if device.type == "xpu":
        torch.xpu.set_device(device)
    if device.type != "cuda":
        return
    torch.cuda.set_device(device)
    torch.backends.cudnn.allow_tf32 = dtype is not torch.float32


def choose_dtype(wanted: Variant | None, device: torch.device) -> torch.dtype:
    """The precision of UNet and text encoders: the requested one, else float16 on a GPU and float32 on a CPU.

    Half precision is float16, in which these networks were trained and published. bfloat16 has three bits
    fewer, and only the VAE needs its range.
    """
    if wanted is not None:
        return _DTYPES[wanted]
    return torch.float32 if device.type == "cpu" else torch.float16


def vae_dtype(dtype: torch.dtype, device: torch.device) -> torch.dtype:
    """The precision of the VAE, which overflows in float16 (SDXL's returns NaN)."""
    if dtype is not torch.float16:
        return dtype
    return torch.bfloat16 if _has_bfloat16(device) else torch.float32


def _has_bfloat16(device: torch.device) -> bool:
    """True if the device computes in it. Before Ampere bfloat16 is only emulated, and cuDNN has no
    convolutions for it; of Apple's GPUs nothing is known."""
    if device.type == "xpu":
        return bool(torch.xpu.is_bf16_supported())
    return device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
