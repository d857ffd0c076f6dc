"""Compiles or records an engine's UNet while it loads, as its `compilation` option says."""

import logging
from dataclasses import replace
from typing import assert_never

import torch
from diffusers import UNet2DConditionModel

from engine_worker.engine.gpu.call_shape import CallShape, shapes_to_compile
from engine_worker.engine.gpu.compiled_blocks import Backend, as_compiled, as_written, compile_blocks
from engine_worker.engine.gpu.recorded_calls import CudaGraphs, RecordedCalls, Recorder, record_calls
from engine_worker.engine.networks.components import Components
from engine_worker.engine.runtime.failures import is_of_the_device
from engine_worker.formats.checkpoint_layout import Network
from kernel.process.log import line
from kernel.protocol.enums import Compilation
from kernel.protocol.specs import EngineLoad

_log = logging.getLogger(__name__)


@torch.inference_mode()
def compile_unet(parts: Components, order: EngineLoad, slots: int) -> Components:
    """The components with a denoiser that makes the engine's usual calls faster, if the order says so.

    If that fails, the engine works without, and its log says why.
    Raises: torch.AcceleratorError, if the device failed.
    """
    shapes = shapes_to_compile(parts, order, slots)
    if parts.device.type != "cuda" or not shapes:
        return parts
    match order.compilation:
        case Compilation.OFF:
            return parts
        case Compilation.GRAPHS:
            prepared = recorded(parts, shapes, CudaGraphs(parts.device))
        case Compilation.REGIONAL:
            prepared = compiled(parts, shapes, "inductor")
        case _:
            assert_never(order.compilation)
    torch.cuda.empty_cache()
    return prepared


def recorded(parts: Components, shapes: tuple[CallShape, ...], recorder: Recorder) -> Components:
    """The components with recorded calls, as far as they can be recorded."""
    try:
        calls = record_calls(parts, shapes, recorder)
    except RuntimeError as error:
        _log_not_compiled(error)
        return parts
    _log.info(line("calls_recorded", count=len(calls), of=len(shapes)))
    return replace(parts, quick_denoiser=RecordedCalls(parts.denoiser, calls))


def compiled(parts: Components, shapes: tuple[CallShape, ...], backend: Backend) -> Components:
    """The components with compiled blocks, if they can be compiled."""
    unet = parts.networks[Network.UNET]
    assert isinstance(unet, UNet2DConditionModel), "there is one class of UNets"
    # From here on the blocks call the compiler, even if it fails.
    written = replace(parts, denoiser=as_written(parts.denoiser))
    try:
        compile_blocks(unet, parts, shapes, backend)
    except RuntimeError as error:
        _log_not_compiled(error)
        return written
    _log.info(line("blocks_compiled", backend=backend))
    return replace(written, quick_denoiser=as_compiled(parts.denoiser))


def _log_not_compiled(error: RuntimeError) -> None:
    """Raises: the error, if the device failed."""
    if is_of_the_device(error):
        raise error
    _log.warning(line("not_compiled"), exc_info=error)
