"""Hands tensors from one thread's CUDA stream to another's.

What a thread asks a GPU for is only put into its stream's queue. So a tensor that is handed over may not be
written yet, and goes along with a moment of its writer's stream, for which the reader's stream waits. Neither
thread does.
"""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

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
