"""Copies tensors to a GPU and hands them between CUDA streams, without blocking the host.

A kernel launch only appends work to the calling thread's stream. A tensor that is handed to another thread
may therefore not be written yet, so it is accompanied by an event of the writer's stream, and the reader's
stream waits for that event. Neither thread blocks.
"""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor


def copy_async(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy a tensor to a device.

    The tensor is pinned first, so that a GPU fetches it when its queue gets there. A copy from pageable
    memory would make the host wait until the GPU's queue has run dry.
    """
    if device.type == "cuda":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


Moment = torch.cuda.Event | None
"""An event in a stream; None on a CPU, where work is done when the call returns."""


def own_stream(device: torch.device) -> AbstractContextManager[object]:
    """A context in which the calling thread has a stream of its own, which waits for no other, on this
    device."""
    if device.type != "cuda":
        return nullcontext()
    stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    entered: AbstractContextManager[object] = torch.cuda.stream(stream)
    return entered


def record_event(device: torch.device) -> Moment:
    """Record an event that is reached when the GPU has done all that this thread has asked for so far."""
    if device.type != "cuda":
        return None
    moment = torch.cuda.Event()  # type: ignore[no-untyped-call]
    moment.record(torch.cuda.current_stream(device))
    return moment


def wait_for_event(tensor: Tensor, moment: Moment) -> Tensor:
    """Let this thread's stream wait for the event before it reads the tensor.

    The tensor's memory is not reused before that stream has read it. Returns: the tensor.
    """
    if moment is not None:
        stream = torch.cuda.current_stream(tensor.device)
        stream.wait_event(moment)
        tensor.record_stream(stream)
    return tensor
