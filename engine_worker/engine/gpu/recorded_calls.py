"""A UNet of which some calls are recorded, and are made again as one piece of work.

A call of the UNet asks the GPU for 800 (SD 1.5) to 2,000 (SDXL) kernels, one by one. Where a GPU is quicker
than the host can ask, it waits for the host most of the time. A recorded call is asked for once.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, Protocol

from torch import Tensor

from engine_worker.engine.gpu.call_inputs import CallInputs, blank_inputs
from engine_worker.engine.gpu.call_shape import CallShape, shape_of
from engine_worker.engine.networks.components import Components, Denoiser
from engine_worker.engine.runtime.failures import is_out_of_memory

_log = logging.getLogger(__name__)

Replay = Callable[[], None]
"""Makes a recorded call again, on what is in its inputs then."""


class Recorder(Protocol):
    """Records calls. What is recorded reads and writes memory where it did when it was recorded."""

    def record(self, call: Callable[[], Tensor]) -> tuple[Replay, Tensor]:
        """Record a call, which is made some times for that.

        Returns: what makes it again, and the tensor in which its result is from then on, until the next
        recorded call is made. Raises: torch.OutOfMemoryError.
        """


@dataclass(frozen=True, slots=True)
class RecordedCall:
    """One recorded call."""

    inputs: CallInputs
    replay: Replay
    result: Tensor


class RecordedCalls:
    """A denoiser that plays recorded calls back, and makes all others as they come. For one thread."""

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
        # The next recorded call may write to the same memory.
        return (call.result.clone(),)


def record_calls(
    parts: Components, shapes: Sequence[CallShape], recorder: Recorder
) -> dict[CallShape, RecordedCall]:
    """Record calls of these shapes; one for which there is no memory stays unrecorded."""
    recorded: dict[CallShape, RecordedCall] = {}
    for shape in shapes:
        try:
            inputs = blank_inputs(parts, shape)
            replay, result = recorder.record(partial(inputs.given_to, parts.denoiser))
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            _log.warning("action=call_not_recorded rows=%d reason=out_of_memory", shape.rows)
        else:
            recorded[shape] = RecordedCall(inputs, replay, result)
    return recorded
