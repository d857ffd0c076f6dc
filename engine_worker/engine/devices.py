"""Choosing the device that an engine runs on, and the precision that it computes in."""

import torch

from kernel.protocol.errors import EngineFailed
from kernel.protocol.vocabulary import Variant

_DTYPES = {Variant.FP16: torch.float16, Variant.FP32: torch.float32, Variant.BF16: torch.bfloat16}


def choose_device(wanted: str) -> torch.device:
    """The device of that name; `auto` is the first GPU, or the CPU where there is none.

    Raises: EngineFailed, if this machine has no such device.
    """
    if wanted == "auto":
        return torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(wanted)
    except RuntimeError as error:
        raise EngineFailed(f"{wanted} is no device: use auto, cpu, cuda:0, cuda:1 ...") from error
    if device.type == "cpu":
        return torch.device("cpu")
    if device.type != "cuda" or (device.index or 0) >= torch.cuda.device_count():
        raise EngineFailed(f"This machine has no device {wanted}: it has {torch.cuda.device_count()} GPUs")
    return torch.device("cuda", device.index or 0)


def choose_dtype(wanted: Variant | None, device: torch.device) -> torch.dtype:
    """The precision of UNet and text encoders: as asked, else half on a GPU and single on the CPU."""
    if wanted is not None:
        return _DTYPES[wanted]
    return torch.float16 if device.type == "cuda" else torch.float32


def vae_dtype(dtype: torch.dtype, device: torch.device) -> torch.dtype:
    """The precision of the VAE, which overflows in float16 (SDXL's gives NaN there)."""
    if dtype is not torch.float16:
        return dtype
    can_bfloat16 = device.type == "cuda" and torch.cuda.is_bf16_supported()
    return torch.bfloat16 if can_bfloat16 else torch.float32
