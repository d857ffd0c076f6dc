"""Copies tensors to a GPU, and hands them from one thread's CUDA stream to another's, without blocking the
host.

A kernel launch only appends work to the calling thread's stream. A tensor that is handed over may therefore
not be written yet, so it is accompanied by an event of the writer's stream, and the reader's stream waits for
that event. Neither thread blocks.
"""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor


def copy_async(tensor: Tensor, device: torch.device) -> Tensor:
    """The tensor on that device. A GPU fetches it out of pinned memory when its turn has come; from any other
    memory the host would wait for the GPU's queue to run dry."""
    if device.type == "cuda":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


Moment = torch.cuda.Event | None
"""A point in the work of a stream; None where work is done when it returns."""


def own_stream(device: torch.device) -> AbstractContextManager[object]:
    """For the thread that enters it: a stream whose work waits for no other, and the device as its own."""
    if device.type != "cuda":
        return nullcontext()
    stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    entered: AbstractContextManager[object] = torch.cuda.stream(stream)
    return entered


def record_event(device: torch.device) -> Moment:
    """When all is done that this thread has asked the device for so far."""
    if device.type != "cuda":
        return None
    moment = torch.cuda.Event()  # type: ignore[no-untyped-call]
    moment.record(torch.cuda.current_stream(device))
    return moment


def wait_for_event(tensor: Tensor, moment: Moment) -> Tensor:
    """The tensor, which this thread's stream reads from that moment on, and whose memory nobody gets before
    it has been read."""
    if moment is not None:
        stream = torch.cuda.current_stream(tensor.device)
        stream.wait_event(moment)
        tensor.record_stream(stream)
    return tensor
