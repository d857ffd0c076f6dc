"""Applies LoRAs to a checkpoint's networks and removes them, without changing the weights.

A LoRA's change is added to the output of each layer by a hook, which exists only while the LoRA is active. So
without LoRAs the networks are identical to freshly loaded ones, bit by bit, and nothing can be left over.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from math import isfinite

from torch import Tensor
from torch.utils.hooks import RemovableHandle

from engine_worker.engine.adapters.embedding_vectors import WordVectors
from engine_worker.engine.adapters.layer_delta import Layer, LayerDelta
from engine_worker.engine.adapters.lora_file import Lora, read_lora
from engine_worker.engine.adapters.lora_names import LayerName, LayerNames
from engine_worker.engine.networks.components import Components
from engine_worker.engine.runtime.lru_cache import Identity, ModelCache, identity_of
from engine_worker.formats.checkpoint_layout import Network
from engine_worker.formats.resolve_model import find_source
from kernel.protocol.enums import ModelType
from kernel.protocol.errors import JobRejected
from kernel.protocol.model_refs import LoraUse, ModelSource

_ENCODERS = frozenset({Network.TEXT_ENCODER, Network.PROJECTING_TEXT_ENCODER})


@dataclass(frozen=True, slots=True)
class ActiveLora:
    """One LoRA of a set. Two are equal if they are the same model with the same weight."""

    identity: Identity
    weight: float
    lora: Lora = field(compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class AdapterSet:
    """The LoRAs of a job. Images must have the same set to share a call of a network.

    It keeps its LoRAs in memory for as long as it exists.
    """

    loras: tuple[ActiveLora, ...] = ()

    @property
    def for_unet(self) -> "AdapterSet":
        """Those that change the UNet."""
        return AdapterSet(tuple(one for one in self.loras if Network.UNET in one.lora.networks))

    @property
    def for_text(self) -> "AdapterSet":
        """Those that change the text encoders, or bring words of their own, and with them the embeddings of a
        prompt."""
        return AdapterSet(tuple(one for one in self.loras if one.lora.words or one.lora.networks & _ENCODERS))

    @property
    def words(self) -> tuple[WordVectors, ...]:
        """The embeddings that come with them."""
        return tuple(word for active in self.loras for word in active.lora.words)

    @property
    def identities(self) -> tuple[tuple[Identity, float], ...]:
        """Their identities and weights, without the tensors."""
        return tuple((active.identity, active.weight) for active in self.loras)

    @property
    def warnings(self) -> tuple[str, ...]:
        """Sentences about parts of the files that are not used, for the job's owner."""
        return tuple(warning for active in self.loras for warning in active.lora.warnings)


NO_ADAPTERS = AdapterSet()


class LoraManager:
    """The LoRAs of one loaded checkpoint. Only the stepping thread may change which are active."""

    def __init__(self, parts: Components, *, max_count: int, max_bytes: int) -> None:
        self._base, self._roots = parts.base, parts.roots
        self._names = LayerNames(parts.networks, parts.unet_shape, parts.device)
        self._cache = ModelCache(
            self._read, lambda lora: lora.size_bytes, max_count=max_count, max_bytes=max_bytes
        )
        self._active = NO_ADAPTERS
        self._handles: list[RemovableHandle] = []

    @property
    def size_bytes(self) -> int:
        """The memory of the cached LoRAs."""
        return self._cache.size_bytes

    def has(self, source: ModelSource) -> bool:
        """True if the LoRA is loaded."""
        return self._cache.has(source)

    def preload(self, source: ModelSource) -> None:
        """Load a LoRA now, so that its first job does not wait.

        Raises: ModelUnreadable.
        """
        self._cache.take(source)

    def load_set(self, sources: Sequence[ModelSource], uses: Sequence[LoraUse]) -> AdapterSet:
        """Load the LoRAs of a job.

        The weights of a LoRA that is used twice add up; a weight of 0 is the same as no LoRA.
        Raises: JobRejected, if a weight is not finite or a source is missing; ModelUnreadable.
        """
        active: dict[Identity, ActiveLora] = {}
        for use in uses:
            source = find_source(sources, use.model_id, ModelType.LORA)
            if not isfinite(use.weight):
                raise JobRejected(
                    f"the weight of LoRA {source.name} must be a finite number, not {use.weight}"
                )
            if use.weight:
                identity = identity_of(source)
                weight = use.weight + (active[identity].weight if identity in active else 0.0)
                active[identity] = ActiveLora(identity, weight, self._cache.take(source))
        # In a fixed order, because sums of floats depend on it.
        in_order = sorted(active.values(), key=lambda one: (one.identity[0], one.identity[1] or ""))
        return AdapterSet(tuple(one for one in in_order if one.weight))

    def apply(self, adapters: AdapterSet) -> None:
        """Make exactly these LoRAs active from the next call on.

        Does nothing if they are already. If it fails, no LoRA is active.
        """
        if adapters == self._active:
            return
        self._take_off()
        try:
            for name, changes in _by_layer(adapters).items():
                hook = self._names.layer(name).register_forward_hook(partial(_add, changes))
                self._handles.append(hook)
        except BaseException:
            self._take_off()
            raise
        self._active = adapters

    def forget(self) -> None:
        """Empty the cache. May be called from any thread."""
        self._cache.clear()

    def clear(self) -> None:
        """Remove all LoRAs and empty the cache."""
        self._take_off()
        self.forget()

    def _take_off(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._active = NO_ADAPTERS

    def _read(self, source: ModelSource) -> Lora:
        return read_lora(source, self._names, self._base, self._roots)


Weighted = tuple[tuple[LayerDelta, float], ...]


def _by_layer(adapters: AdapterSet) -> dict[LayerName, Weighted]:
    layers: dict[LayerName, Weighted] = {}
    for active in adapters.loras:
        for name, change in active.lora.changes.items():
            layers[name] = (*layers.get(name, ()), (change, active.weight))
    return layers


def _add(changes: Weighted, layer: Layer, inputs: tuple[Tensor, ...], outputs: Tensor) -> Tensor:
    """The hook: adds the change of each LoRA to the layer's output.

    Each is scaled first and then added, rounded like peft does, so that images equal those of the stock
    pipelines to the bit; `torch.add` with a factor would round once.
    """
    total = outputs
    for change, weight in changes:
        total = total + change.added(layer, inputs[0], outputs) * (weight * change.scale)
    return total
