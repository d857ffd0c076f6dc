"""Records UNet calls as CUDA graphs and replays each as one launch.

A UNet call launches 800 (SD 1.5) to 2,000 (SDXL) kernels one by one. A fast GPU finishes them sooner than the
host can launch them, so it idles most of the time; a recorded call is launched once.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, Literal, Protocol

import torch
from torch import Tensor

from engine_worker.engine.gpu.call_inputs import CallInputs, blank_inputs
from engine_worker.engine.gpu.call_shape import CallShape, shape_of
from engine_worker.engine.networks.components import Components, Denoiser
from engine_worker.engine.runtime.failures import is_out_of_memory
from kernel.process.log import line

_log = logging.getLogger(__name__)

Replay = Callable[[], None]
"""Makes a recorded call again, on the current contents of its inputs."""
# Before a recording, libraries must have selected their kernels and allocated their workspaces.
_WARM_UPS: Final = 2


class Recorder(Protocol):
    """Records calls. A recorded call reads and writes the same memory as when it was recorded."""

    def record(self, call: Callable[[], Tensor]) -> tuple[Replay, Tensor]:
        """Record a call, which is made a few times for that.

        Returns: a function that replays it, and the tensor that holds its result after that, until the next
        recorded call.
        Raises: torch.OutOfMemoryError.
        """


@dataclass(frozen=True, slots=True)
class RecordedCall:
    """One recorded call."""

    inputs: CallInputs
    replay: Replay
    result: Tensor


class RecordedCalls:
    """A denoiser that replays recorded calls, and makes all others normally. For one thread."""

    def __init__(self, denoiser: Denoiser, calls: Mapping[CallShape, RecordedCall]) -> None:
        self._denoiser = denoiser
        self._calls = calls

    def __call__(  # noqa: PLR0913 - the signature is diffusers'
        self,
        sample: Tensor,
        timestep: Tensor,
        *,
        encoder_hidden_states: Tensor,
        encoder_attention_mask: Tensor | None,
        added_cond_kwargs: Mapping[str, Tensor] | None,
        down_block_additional_residuals: tuple[Tensor, ...] | None,
        mid_block_additional_residual: Tensor | None,
        return_dict: Literal[False],
    ) -> tuple[Tensor]:
        """As the denoiser that was recorded."""
        call = self._calls.get(shape_of(sample, encoder_hidden_states))
        if call is None or encoder_attention_mask is not None or mid_block_additional_residual is not None:
            return self._denoiser(
                sample,
                timestep,
                encoder_hidden_states=encoder_hidden_states,
                encoder_attention_mask=encoder_attention_mask,
                added_cond_kwargs=added_cond_kwargs,
                down_block_additional_residuals=down_block_additional_residuals,
                mid_block_additional_residual=mid_block_additional_residual,
                return_dict=return_dict,
            )
        call.inputs.take(sample, timestep, encoder_hidden_states, added_cond_kwargs)
        call.replay()
        # The next recorded call may overwrite the result.
        return (call.result.clone(),)


def record_calls(
    parts: Components, shapes: Sequence[CallShape], recorder: Recorder
) -> dict[CallShape, RecordedCall]:
    """Record calls of these shapes. A shape for which there is not enough memory is skipped."""
    recorded: dict[CallShape, RecordedCall] = {}
    for shape in shapes:
        try:
            inputs = blank_inputs(parts, shape)
            replay, result = recorder.record(partial(inputs.given_to, parts.denoiser))
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            _log.warning(line("call_not_recorded", rows=shape.rows, reason="out_of_memory"))
        else:
            recorded[shape] = RecordedCall(inputs, replay, result)
    return recorded


class CudaGraphs:
    """Records calls that are made one after the other, so that all of them share one memory pool."""

    def __init__(self, device: torch.device) -> None:
        self._pool = torch.cuda.graph_pool_handle()
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def record(self, call: Callable[[], Tensor]) -> tuple[Replay, Tensor]:
        """See the protocol."""
        caller = torch.cuda.current_stream(self._stream.device)
        self._stream.wait_stream(caller)
        with torch.cuda.stream(self._stream):
            for _ in range(_WARM_UPS):
                call()
        caller.wait_stream(self._stream)
        graph = torch.cuda.CUDAGraph()
        return graph.replay, self._recorded(graph, call)

    def _recorded(self, graph: torch.cuda.CUDAGraph, call: Callable[[], Tensor]) -> Tensor:
        # Entering waits for the device and frees the memory of the warm-ups. "thread_local" lets other
        # threads use the device meanwhile.
        recording = torch.cuda.graph(
            graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"
        )
        try:
            with recording:
                return call()
        except RuntimeError as error:
            # Ending an aborted recording may raise as well; the first error is the relevant one.
            if isinstance(error.__context__, torch.OutOfMemoryError):
                raise error.__context__ from None
            raise
