"""Threads with streams of their own read what another has asked the GPU for, and not before it is there."""

from threading import Event

import pytest
import torch

from engine_worker.engine.runtime.cuda_stream import record_event, wait_for_event
from engine_worker.engine.runtime.worker_thread import WorkerThread

pytestmark = pytest.mark.torch

GPU = torch.device("cuda:0")
SIDE = 4096


def test_what_is_handed_over_is_read_after_it_was_written() -> None:
    read: list[float] = []

    def take(work: tuple[torch.Tensor, torch.cuda.Event | None]) -> None:
        read.append(wait_for_event(*work).cpu().mean().item())

    lane: WorkerThread[tuple[torch.Tensor, torch.cuda.Event | None]] = WorkerThread("test", take, device=GPU)
    factor = torch.eye(SIDE, device=GPU)
    for number in range(20):
        made = torch.full((SIDE, SIDE), float(number), device=GPU)
        # The GPU is busy with these for far longer than it takes to hand the outcome over.
        for _ in range(20):
            made = factor @ made
        lane.put((made, record_event(GPU)))
        # Its memory is free for the next one from here on, as far as this thread knows.
        del made
    lane.close()
    assert read == [float(number) for number in range(20)]


def test_a_lane_has_a_stream_of_its_own_and_waits_for_no_other() -> None:
    streams: list[torch.cuda.Stream] = []
    is_done = Event()

    def look(work: int) -> None:
        streams.append(torch.cuda.current_stream())
        torch.ones(8, device=GPU).sum().item()
        is_done.set()

    torch.ones(8, device=GPU).sum().item()
    lane: WorkerThread[int] = WorkerThread("test", look, device=GPU)
    factor = torch.randn(8192, 8192, device=GPU)
    for _ in range(300):
        torch.mm(factor, factor)
    busy = torch.cuda.Event()
    busy.record()
    lane.put(1)
    assert is_done.wait(60)
    is_still_busy = not busy.query()
    lane.close()
    torch.cuda.synchronize()
    assert streams[0] != torch.cuda.default_stream(GPU)
    assert is_still_busy
