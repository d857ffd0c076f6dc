"""The real engine: Stable Diffusion 1.5 and SDXL, on the parts of diffusers."""

import gc
from collections.abc import Sequence
from pathlib import Path

import torch

from engine_worker.engine.adapters.extras import Extras
from engine_worker.engine.background.cutting import Removers
from engine_worker.engine.detectors.kit import Detectors
from engine_worker.engine.devices import choose_device, choose_dtype, settle_on
from engine_worker.engine.failures import is_of_the_device, is_out_of_memory
from engine_worker.engine.finishing import Finisher
from engine_worker.engine.gpu.prepared_unet import prepare_unet
from engine_worker.engine.loading import load_parts
from engine_worker.engine.port import NO_INPUTS, Emit, Engine, Inputs, Loaded, Wake
from engine_worker.engine.studio import Studio
from engine_worker.engine.workshop import make_workshop
from engine_worker.files import ANYWHERE
from kernel.protocol.errors import DeviceUnavailable, EngineFailed, OutOfMemory
from kernel.protocol.ids import JobId
from kernel.protocol.memory import SEATS
from kernel.protocol.specs import EngineLoad, JobOrder


def build(
    emit: Emit, wake: Wake, detectors_folder: Path | None = None, roots: Sequence[Path] = ANYWHERE
) -> Engine:
    """An engine that is still to be loaded. `detectors_folder` holds the detectors of control maps, and
    models lie in the roots."""
    return DiffusersEngine(emit, wake, detectors_folder, roots)


class DiffusersEngine:
    """Implements the engine port; everything but loading is the studio's."""

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
        self._studio: Studio | None = None
        self._finisher: Finisher | None = None
        self._extras: Extras | None = None

    def load(self, order: EngineLoad) -> Loaded:
        """Load the checkpoint that the order names, and what its jobs will lay over it.

        Raises: ModelUnreadable, OutOfMemory, DeviceUnavailable, NotInstalled, EngineFailed.
        """
        device = choose_device(order.device)
        dtype = choose_dtype(order.dtype, device)
        try:
            settle_on(device, dtype)
            parts = load_parts(order.checkpoint, device, dtype, order.plan, self._roots)
            self._extras = Extras(parts)
            self._extras.preload(order.models)
            seats = order.max_batch or SEATS[device.type]
            parts = prepare_unet(parts, order, seats)
        except (RuntimeError, MemoryError) as error:
            if is_out_of_memory(error):
                raise OutOfMemory(
                    f"{order.checkpoint.name} does not fit in the memory of {device}"
                ) from error
            if is_of_the_device(error):
                raise DeviceUnavailable(f"{device} does not work: {error}") from error
            raise EngineFailed(f"cannot load {order.checkpoint.name}: {error}") from error
        self._finisher = Finisher(
            order.checkpoint, Removers(device, self._roots), device, self._extras.forget
        )
        workshop = make_workshop(parts, self._extras, Detectors(self._detectors_folder, device).detect)
        self._studio = Studio(workshop, self._finisher.put, seats, self._emit, self._wake)
        memory_bytes = parts.memory_bytes + self._extras.memory_bytes
        return Loaded(device=str(device), memory_bytes=memory_bytes, capacity=seats)

    def admit(self, order: JobOrder, inputs: Inputs = NO_INPUTS) -> None:
        self._loaded().admit(order, inputs)

    def cancel(self, job_id: JobId) -> None:
        self._loaded().cancel(job_id)

    def step(self) -> bool:
        return self._loaded().step()

    def close(self) -> None:
        """Wait for pictures on their way out, and let go of the device's memory."""
        if self._studio is not None:
            self._studio.close()
        if self._finisher is not None:
            self._finisher.close()
        self._studio = self._finisher = self._extras = None
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _loaded(self) -> Studio:
        if self._studio is None:
            raise EngineFailed("the engine is not loaded")
        return self._studio
