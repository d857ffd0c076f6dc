"""Loads and caches the models that jobs add to a checkpoint: LoRAs, VAEs and ControlNets."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial

from engine_worker.engine.adapters.controlnet_file import LoadedControlNet, load_controlnet
from engine_worker.engine.adapters.lora_manager import LoraManager
from engine_worker.engine.adapters.resolve_model import find_source
from engine_worker.engine.adapters.vae_file import LoadedVae, load_vae
from engine_worker.engine.networks.components import Components, ControlNet, Vae
from engine_worker.engine.networks.offload import offload_under
from engine_worker.engine.runtime.lru_cache import ModelCache
from engine_worker.formats.checkpoint_layout import Network
from kernel.protocol.enums import ModelType
from kernel.protocol.ids import ModelId
from kernel.protocol.model_refs import ModelSource

_GIB = 1 << 30


@dataclass(frozen=True, slots=True)
class CacheLimits:
    """How much is kept for later jobs. What is in use is never counted out."""

    loras: int = 32
    loras_bytes: int = 1 * _GIB
    """A LoRA has 20 to 400 MB."""
    vaes: int = 2
    vaes_bytes: int = 1 * _GIB
    """A VAE has 335 MB in single precision."""
    controlnets: int = 4
    controlnets_bytes: int = 6 * _GIB
    """In half precision an SD 1.5 ControlNet has 0.7 GB, an SDXL one 2.5 GB."""


class AdapterManager:
    """Loaded when first wanted, kept while there is room.

    All methods are for every thread, so that a job's models can be loaded while others' steps go on; only
    the networks that the LoRA manager changes belong to the stepping thread.
    """

    def __init__(self, parts: Components, room: CacheLimits = CacheLimits()) -> None:
        self._parts = parts
        self.lora_manager = LoraManager(parts, max_count=room.loras, max_bytes=room.loras_bytes)
        self._vaes: ModelCache[LoadedVae] = ModelCache(
            partial(load_vae, parts=parts),
            lambda loaded: loaded.memory_bytes,
            max_count=room.vaes,
            max_bytes=room.vaes_bytes,
        )
        self._controlnets: ModelCache[LoadedControlNet] = ModelCache(
            partial(load_controlnet, parts=parts),
            lambda loaded: loaded.memory_bytes,
            max_count=room.controlnets,
            max_bytes=room.controlnets_bytes,
        )

    @property
    def memory_bytes(self) -> int:
        """Memory of the device that all takes which is kept for later jobs."""
        vaes = 0 if Network.VAE in offload_under(self._parts.plan) else self._vaes.size_bytes
        return self.lora_manager.size_bytes + vaes + self._controlnets.size_bytes

    def preload(self, sources: Iterable[ModelSource]) -> None:
        """Load what an engine names, so that its first job does not wait; other types are passed over.

        Raises: ModelUnreadable; torch.OutOfMemoryError.
        """
        for source in sources:
            match source.model_type:
                case ModelType.LORA:
                    self.lora_manager.preload(source)
                case ModelType.VAE:
                    self._vaes.take(source)
                case ModelType.CONTROLNET:
                    self._controlnets.take(source)
                case _:
                    """Words belong to the prompts, background removers to the finishing."""

    def has(self, source: ModelSource) -> bool:
        """True if a job that uses this model finds it loaded; types that are kept elsewhere pass."""
        match source.model_type:
            case ModelType.LORA:
                return self.lora_manager.has(source)
            case ModelType.VAE:
                return self._vaes.has(source)
            case ModelType.CONTROLNET:
                return self._controlnets.has(source)
            case _:
                return True

    def vae(self, sources: Sequence[ModelSource], model_id: ModelId | None) -> Vae:
        """The VAE that a job names, or the checkpoint's own.

        Raises: JobRejected, ModelUnreadable; torch.OutOfMemoryError.
        """
        if model_id is None:
            return self._parts.vae
        return self._vaes.take(find_source(sources, model_id, ModelType.VAE)).vae

    def controlnet(self, sources: Sequence[ModelSource], model_id: ModelId) -> ControlNet:
        """The ControlNet that a job names.

        Raises: JobRejected, ModelUnreadable; torch.OutOfMemoryError.
        """
        return self._controlnets.take(find_source(sources, model_id, ModelType.CONTROLNET)).network

    def forget(self) -> None:
        """Let go of all that is only kept for later jobs, because memory is wanted for something else.

        What jobs hold, and LoRAs that are worn, stay until those end or others are put on.
        """
        self.lora_manager.forget()
        self._vaes.clear()
        self._controlnets.clear()

    def clear(self) -> None:
        """Let go of all that no job holds: LoRAs that are worn are taken off. For the stepping thread."""
        self.lora_manager.clear()
        self.forget()
