"""Recording work of a GPU as CUDA graphs."""

from collections.abc import Callable
from typing import Final

import torch
from torch import Tensor

from engine_worker.engine.gpu.recorded_calls import Replay

# Before a recording libraries must have chosen their kernels and taken their workspaces.
_REHEARSALS: Final = 2


class CudaGraphs:
    """Records calls that are made one after the other, so that all of them share one pool of memory."""

    def __init__(self, device: torch.device) -> None:
        self._pool = torch.cuda.graph_pool_handle()
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def record(self, call: Callable[[], Tensor]) -> tuple[Replay, Tensor]:
        """See the protocol."""
        caller = torch.cuda.current_stream(self._stream.device)
        self._stream.wait_stream(caller)
        with torch.cuda.stream(self._stream):
            for _ in range(_REHEARSALS):
                call()
        caller.wait_stream(self._stream)
        graph = torch.cuda.CUDAGraph()
        return graph.replay, self._recorded(graph, call)

    def _recorded(self, graph: torch.cuda.CUDAGraph, call: Callable[[], Tensor]) -> Tensor:
        # Entering waits for the device, and gives the memory of the rehearsals back. Other threads of the
        # process may ask the device for what they like meanwhile.
        recording = torch.cuda.graph(
            graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"
        )
        try:
            with recording:
                return call()
        except RuntimeError as error:
            # To end a recording that broke off may be an error by itself; of interest is the first one.
            if isinstance(error.__context__, torch.OutOfMemoryError):
                raise error.__context__ from None
            raise
