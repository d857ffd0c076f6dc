"""Loads and caches the models that jobs add to a checkpoint: LoRAs, VAEs and ControlNets."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial

from engine_worker.engine.adapters.controlnet_file import LoadedControlNet, load_controlnet
from engine_worker.engine.adapters.lora_manager import LoraManager
from engine_worker.engine.adapters.vae_file import LoadedVae, load_vae
from engine_worker.engine.networks.components import Components, ControlNet, Vae
from engine_worker.engine.networks.offload import offload_under
from engine_worker.engine.runtime.lru_cache import ModelCache
from engine_worker.formats.checkpoint_layout import Network
from engine_worker.formats.resolve_model import find_source
from kernel.protocol.enums import ModelType
from kernel.protocol.ids import ModelId
from kernel.protocol.model_refs import OWN_VAE, ModelSource

_GIB = 1 << 30


@dataclass(frozen=True, slots=True)
class CacheLimits:
    """Limits of the models that are kept for later jobs. Models in use are never unloaded."""

    loras: int = 32
    loras_bytes: int = 1 * _GIB
    """A LoRA takes 20 to 400 MB."""
    vaes: int = 2
    vaes_bytes: int = 1 * _GIB
    """A VAE takes 335 MB in float32."""
    controlnets: int = 4
    controlnets_bytes: int = 6 * _GIB
    """In half precision an SD 1.5 ControlNet takes 0.7 GB, an SDXL one 2.5 GB."""


class AdapterManager:
    """Models are loaded on first use, and cached within limits.

    All methods may be called from any thread, so a job's models can load during other jobs' steps; only the
    networks that the LoRA manager hooks into belong to the stepping thread.
    """

    def __init__(self, parts: Components, limits: CacheLimits = CacheLimits()) -> None:
        self._parts = parts
        self.lora_manager = LoraManager(parts, max_count=limits.loras, max_bytes=limits.loras_bytes)
        self._vaes: ModelCache[LoadedVae] = ModelCache(
            partial(load_vae, parts=parts),
            lambda loaded: loaded.memory_bytes,
            max_count=limits.vaes,
            max_bytes=limits.vaes_bytes,
        )
        self._controlnets: ModelCache[LoadedControlNet] = ModelCache(
            partial(load_controlnet, parts=parts),
            lambda loaded: loaded.memory_bytes,
            max_count=limits.controlnets,
            max_bytes=limits.controlnets_bytes,
        )

    @property
    def memory_bytes(self) -> int:
        """The device memory of all cached models."""
        vaes = 0 if Network.VAE in offload_under(self._parts.plan) else self._vaes.size_bytes
        return self.lora_manager.size_bytes + vaes + self._controlnets.size_bytes

    def preload(self, sources: Iterable[ModelSource]) -> None:
        """Load the models that an engine names, so that its first job does not wait; other types are ignored.

        Raises: ModelUnreadable; torch.OutOfMemoryError.
        """
        for source in sources:
            match source.model_type:
                case ModelType.LORA:
                    self.lora_manager.preload(source)
                case ModelType.VAE if source.model_id != self._parts.borrowed_vae:
                    self._vaes.take(source)
                case ModelType.CONTROLNET:
                    self._controlnets.take(source)
                case _:
                    """Embeddings belong to the prompts, background removers to postprocessing."""

    def has(self, source: ModelSource) -> bool:
        """True if a job that uses this model finds it loaded; True for types that are cached elsewhere."""
        match source.model_type:
            case ModelType.LORA:
                return self.lora_manager.has(source)
            case ModelType.VAE:
                return source.model_id == self._parts.borrowed_vae or self._vaes.has(source)
            case ModelType.CONTROLNET:
                return self._controlnets.has(source)
            case _:
                return True

    def vae(self, sources: Sequence[ModelSource], model_id: ModelId) -> Vae:
        """The VAE that a job names, or the checkpoint's own.

        Raises: JobRejected, ModelUnreadable; torch.OutOfMemoryError.
        """
        if model_id in (OWN_VAE, self._parts.borrowed_vae):
            return self._parts.vae
        return self._vaes.take(find_source(sources, model_id, ModelType.VAE)).vae

    def controlnet(self, sources: Sequence[ModelSource], model_id: ModelId) -> ControlNet:
        """The ControlNet that a job names.

        Raises: JobRejected, ModelUnreadable; torch.OutOfMemoryError.
        """
        return self._controlnets.take(find_source(sources, model_id, ModelType.CONTROLNET)).network

    def forget(self) -> None:
        """Empty the caches, because memory is needed for something else.

        Models that jobs use and LoRAs that are active stay in memory until they are released.
        """
        self.lora_manager.forget()
        self._vaes.clear()
        self._controlnets.clear()

    def clear(self) -> None:
        """Empty the caches and remove the active LoRAs. For the stepping thread."""
        self.lora_manager.clear()
        self.forget()
