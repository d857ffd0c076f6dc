"""Preparing an engine's UNet while it loads, as its owner wants it."""

import logging
from dataclasses import replace
from typing import assert_never

import torch
from diffusers import UNet2DConditionModel

from engine_worker.engine.gpu.call_shape import CallShape, shapes_to_prepare
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
def prepare_unet(parts: Components, order: EngineLoad, slots: int) -> Components:
    """The parts with a denoiser that makes the engine's usual calls at less cost, if the order says so.

    An engine that cannot be prepared works without, and its log says why.
    Raises: torch.AcceleratorError, if the device broke.
    """
    shapes = shapes_to_prepare(parts, order, slots)
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
    """The parts with recorded calls, as far as they can be recorded."""
    try:
        calls = record_calls(parts, shapes, recorder)
    except RuntimeError as error:
        _log_unprepared(error)
        return parts
    _log.info(line("calls_recorded", count=len(calls), of=len(shapes)))
    return replace(parts, quick_denoiser=RecordedCalls(parts.denoiser, calls))


def compiled(parts: Components, shapes: tuple[CallShape, ...], backend: Backend) -> Components:
    """The parts with compiled blocks, if they can be compiled."""
    unet = parts.networks[Network.UNET]
    assert isinstance(unet, UNet2DConditionModel), "there is one class of UNets"
    # From here on the blocks know of the compiler, also where it fails.
    written = replace(parts, denoiser=as_written(parts.denoiser))
    try:
        compile_blocks(unet, parts, shapes, backend)
    except RuntimeError as error:
        _log_unprepared(error)
        return written
    _log.info(line("blocks_compiled", backend=backend))
    return replace(written, quick_denoiser=as_compiled(parts.denoiser))


def _log_unprepared(error: RuntimeError) -> None:
    """Raises: the error, if it is the device's own."""
    if is_of_the_device(error):
        raise error
    _log.warning(line("not_prepared"), exc_info=error)
