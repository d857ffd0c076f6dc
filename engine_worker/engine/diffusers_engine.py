"""The real engine: Stable Diffusion 1.5 and SDXL, with networks and schedulers of diffusers."""

import gc
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from engine_worker.engine.adapters.adapter_manager import AdapterManager
from engine_worker.engine.background.apply_matte import Removers
from engine_worker.engine.detectors.registry import Detectors
from engine_worker.engine.gpu.compile_unet import compile_unet
from engine_worker.engine.loading.load_checkpoint import load_components
from engine_worker.engine.pipeline.engine_core import EngineCore
from engine_worker.engine.pipeline.postprocessing import Postprocessor
from engine_worker.engine.pipeline.resources import make_resources
from engine_worker.engine.runtime.devices import (
    choose_device,
    choose_dtype,
    describe,
    release_unused,
    settle_on,
)
from engine_worker.engine.runtime.failures import is_of_the_device, is_out_of_memory
from engine_worker.formats.allowed_paths import ANYWHERE
from engine_worker.port import NO_INPUTS, Emit, Engine, Inputs, Loaded, Wake
from kernel.protocol.enums import ModelType
from kernel.protocol.errors import DeviceUnavailable, EngineFailed, OutOfMemory
from kernel.protocol.ids import EngineId, JobId
from kernel.protocol.memory import BATCH_SIZES
from kernel.protocol.specs import EngineLoad, JobOrder
from kernel.protocol.worker import EngineProgress


def build(
    emit: Emit, wake: Wake, detectors_folder: Path | None = None, roots: Sequence[Path] = ANYWHERE
) -> Engine:
    """An engine that is not loaded yet. `detectors_folder` contains the detectors, and models lie in the
    roots."""
    return DiffusersEngine(emit, wake, detectors_folder, roots)


class DiffusersEngine:
    """Implements the engine port: loads, and delegates everything else to the engine core."""

    def __init__(
        self,
        emit: Emit,
        wake: Wake,
        detectors_folder: Path | None = None,
        roots: Sequence[Path] = ANYWHERE,
    ) -> None:
        self._roots = roots
        self._emit = emit
        self._wake = wake
        self._detectors_folder = detectors_folder
        self._engine_core: EngineCore | None = None
        self._postprocessor: Postprocessor | None = None
        self._adapters: AdapterManager | None = None
        self._device = torch.device("cpu")

    def load(self, order: EngineLoad) -> Loaded:
        """Load the checkpoint of the order, and the models that its jobs will use with it.

        Raises: ModelUnreadable, OutOfMemory, DeviceUnavailable, NotInstalled, EngineFailed.
        """
        device = choose_device(order.device)
        dtype = choose_dtype(order.dtype, device)
        try:
            settle_on(device, dtype)
            vae = next((model for model in order.models if model.model_type is ModelType.VAE), None)
            tell = self._telling(order.engine_id)
            parts = load_components(order.checkpoint, device, dtype, order.plan, self._roots, tell, vae)
            self._adapters = AdapterManager(parts)
            self._adapters.preload(order.models)
            slots = order.max_batch or BATCH_SIZES["cpu" if device.type == "cpu" else "cuda"]
            parts = compile_unet(parts, order, slots)
        except (RuntimeError, MemoryError) as error:
            if is_out_of_memory(error):
                raise OutOfMemory(
                    f"{order.checkpoint.name} does not fit in the memory of {device}"
                ) from error
            if is_of_the_device(error):
                raise DeviceUnavailable(f"{device} does not work: {error}") from error
            raise EngineFailed(f"cannot load {order.checkpoint.name}: {error}") from error
        self._postprocessor = Postprocessor(
            order.checkpoint, Removers(device, self._roots), device, self._adapters.forget
        )
        resources = make_resources(parts, self._adapters, Detectors(self._detectors_folder, device).detect)
        self._engine_core = EngineCore(resources, self._postprocessor.put, slots, self._emit, self._wake)
        memory_bytes = parts.memory_bytes + self._adapters.memory_bytes
        self._device = device
        return Loaded(device=str(device), memory_bytes=memory_bytes, capacity=slots, seen=describe(device))

    def _telling(self, engine_id: EngineId) -> Callable[[int, int], None]:
        """Emits the progress of loading, with its speed so far."""
        began_s = time.monotonic()

        def tell(done_bytes: int, total_bytes: int) -> None:
            rate = int(done_bytes / max(time.monotonic() - began_s, 1e-3))
            self._emit(
                EngineProgress(
                    engine_id=engine_id, bytes=done_bytes, total_bytes=total_bytes, bytes_per_s=rate
                )
            )

        return tell

    def adjust(self, max_batch: int) -> None:
        self._loaded().slots = max_batch

    def admit(self, order: JobOrder, inputs: Inputs = NO_INPUTS) -> None:
        self._loaded().admit(order, inputs)

    def cancel(self, job_id: JobId) -> None:
        self._loaded().cancel(job_id)

    def step(self) -> bool:
        return self._loaded().step()

    def close(self) -> None:
        """Wait until all images are finished, and free the device's memory."""
        if self._engine_core is not None:
            self._engine_core.close()
        if self._postprocessor is not None:
            self._postprocessor.close()
        self._engine_core = self._postprocessor = self._adapters = None
        gc.collect()
        release_unused(self._device)

    def _loaded(self) -> EngineCore:
        if self._engine_core is None:
            raise EngineFailed("the engine is not loaded")
        return self._engine_core
