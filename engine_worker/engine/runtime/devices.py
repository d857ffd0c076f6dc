"""Chooses the device and the precision of an engine."""

import torch

from kernel.protocol.enums import Variant
from kernel.protocol.errors import DeviceUnavailable, EngineFailed

_DTYPES = {Variant.FP16: torch.float16, Variant.FP32: torch.float32, Variant.BF16: torch.bfloat16}


def choose_device(wanted: str) -> torch.device:
    """The device of that name; `auto` is the first GPU, or the CPU if there is none.

    Raises: DeviceUnavailable, if this machine does not have the device now; EngineFailed, if the name is
    unknown.
    """
    if wanted == "auto":
        return torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(wanted)
    except RuntimeError as error:
        raise EngineFailed(f"unknown device {wanted}: use auto, cpu, cuda:0, cuda:1 ...") from error
    if device.type == "cpu":
        return torch.device("cpu")
    if device.type != "cuda":
        raise EngineFailed(f"device {wanted} is not supported: use auto, cpu, cuda:0, cuda:1 ...")
    if (device.index or 0) >= torch.cuda.device_count():
        raise DeviceUnavailable(
            f"this machine has no device {wanted}: it has {torch.cuda.device_count()} GPUs"
        )
    return torch.device("cuda", device.index or 0)


def settle_on(device: torch.device, dtype: torch.dtype) -> None:
    """Make the device the calling thread's current one, so that events and streams touch no other GPU's
    memory.

    An engine in float32 also turns off TF32, which would round the inputs of convolutions to 10 bits.
    """
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
    return torch.float16 if device.type == "cuda" else torch.float32


def vae_dtype(dtype: torch.dtype, device: torch.device) -> torch.dtype:
    """The precision of the VAE, which overflows in float16 (SDXL's returns NaN)."""
    if dtype is not torch.float16:
        return dtype
    # Before Ampere bfloat16 is only emulated, and cuDNN has no convolutions for it.
    can_bfloat16 = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.bfloat16 if can_bfloat16 else torch.float32
