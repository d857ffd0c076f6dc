"""How long work takes is told to whoever asks, and the work is as it would be without."""

import pytest
import torch

from engine_worker.engine.runtime.stopwatch import HostStopwatch, make_stopwatch


def test_work_is_done_and_its_time_told() -> None:
    told: list[float] = []
    assert HostStopwatch().time(lambda: 42, told.append) == 42
    assert [seconds >= 0 for seconds in told] == [True]


def test_of_work_that_fails_nobody_hears() -> None:
    told: list[float] = []

    def fail() -> None:
        raise RuntimeError("it will not have it")

    with pytest.raises(RuntimeError):
        make_stopwatch(torch.device("cpu")).time(fail, told.append)
    assert not told


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_is_let_behind_by_one_piece_of_work_and_tells_of_each_one_later() -> None:
    device = torch.device("cuda")
    matrix = torch.ones(2048, 2048, device=device)
    stopwatch, told = make_stopwatch(device), list[float]()
    for done in range(4):
        stopwatch.time(lambda: matrix @ matrix, told.append)
        assert len(told) == done
    assert all(seconds > 0 for seconds in told)
