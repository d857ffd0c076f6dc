"""Reads a LoRA file: all its layer deltas for one checkpoint, and the words that come with it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from engine_worker.engine.adapters.embedding_vectors import WordVectors, read_vectors
from engine_worker.engine.adapters.layer_delta import LayerDelta
from engine_worker.engine.adapters.lora_delta import LayerMisfit, make_delta
from engine_worker.engine.adapters.lora_names import LayerName, LayerNames
from engine_worker.engine.loading.weights import read_tensors
from engine_worker.formats.allowed_paths import ANYWHERE
from engine_worker.formats.checkpoint_layout import Network
from engine_worker.formats.component_folder import adapter_files
from engine_worker.formats.lora_keys import Part, listed
from engine_worker.formats.lora_layout import LoraLayer, LoraLayout, read_lora_layout
from engine_worker.formats.model_folder import ModelFolder
from engine_worker.formats.resolve_model import resolve_model
from engine_worker.formats.safetensors_header import read_header
from kernel.protocol.enums import ModelBase, ModelType
from kernel.protocol.errors import ModelUnreadable
from kernel.protocol.model_refs import ModelSource


@dataclass(frozen=True, slots=True)
class Lora:
    """A loaded LoRA, in the precision of the layers that it changes and on their device."""

    changes: Mapping[LayerName, LayerDelta]
    warnings: tuple[str, ...]
    """Sentences about parts of the file that are not used, for a job's owner."""
    words: tuple[WordVectors, ...] = ()
    """Embeddings that come with it."""

    @property
    def networks(self) -> frozenset[Network]:
        """The networks that it changes."""
        return frozenset(name.network for name in self.changes)

    @property
    def size_bytes(self) -> int:
        """The memory that it takes."""
        return sum(held.nbytes for change in self.changes.values() for held in change.tensors)


def read_lora(
    source: ModelSource, names: LayerNames, base: ModelBase, roots: Sequence[Path] = ANYWHERE
) -> Lora:
    """Read a LoRA for a checkpoint of that base, whose layers have these names.

    Layers that the checkpoint lacks, or has in another shape, are left out.
    Raises: ModelUnreadable, if the file is not a LoRA, is damaged, or was made for another base.
    """
    found = resolve_model(source, ModelType.LORA, base, roots)
    held = adapter_files(found)[0] if isinstance(found, ModelFolder) else found
    try:
        layout = read_lora_layout(read_header(held))
        changes, unknown, misfits = _changes(layout, names)
        words = read_vectors(layout.words)
    except ModelUnreadable as error:
        raise ModelUnreadable(f"{source.name} cannot be used: {error.detail}") from error
    if len(unknown) + len(misfits) > len(layout.layers) / 2:
        raise ModelUnreadable(
            f"{source.name} changes {len(layout.layers)} layers, but {_why(unknown, misfits)}: "
            "the LoRA was made for another base"
        )
    return Lora(changes, _warnings(source.name, layout, unknown, misfits), words)


def _changes(
    layout: LoraLayout, names: LayerNames
) -> tuple[dict[LayerName, LayerDelta], list[str], list[str]]:
    """The changes, the layers that the checkpoint lacks, and those that it has in another shape."""
    changes: dict[LayerName, LayerDelta] = {}
    unknown, misfits = [], []
    for layer in layout.layers:
        name = names.find(layer.network, layer.plain)
        if name is None:
            unknown.append(layer.name)
            continue
        if name in changes:
            raise ModelUnreadable(f"it changes {name.module} of the {name.network.value} twice")
        try:
            changes[name] = _read_delta(layout, layer, name, names)
        except LayerMisfit as error:
            misfits.append(f"{layer.name} ({error.detail})")
        except ModelUnreadable as error:
            raise ModelUnreadable(f"at {name.module} of the {name.network.value}, {error.detail}") from error
    return changes, unknown, misfits


def _read_delta(layout: LoraLayout, layer: LoraLayer, name: LayerName, names: LayerNames) -> LayerDelta:
    stored = read_tensors(layout.header, layer.parts.values())
    tensors: dict[Part, Tensor] = {part: stored[key].float() for part, key in layer.parts.items()}
    if not all(torch.isfinite(tensor).all() for tensor in tensors.values()):
        raise ModelUnreadable("it is damaged: it has values that are infinite or not numbers")
    alpha = tensors.get(Part.ALPHA)
    if Part.OFT_BLOCKS not in tensors:
        tensors.pop(Part.ALPHA, None)
    module = names.layer(name)
    scale_of = partial(
        layout.scales.scale,
        layer.network,
        layer.plain,
        alpha=None if alpha is None else float(alpha),
        has_kernel=module.weight.ndim == 4 and module.weight[0, 0].numel() > 1,
    )
    return make_delta(tensors, scale_of, module, names.device)


def _why(unknown: list[str], misfits: list[str]) -> str:
    reasons = [f"the checkpoint lacks {listed(unknown)}"] if unknown else []
    reasons += [f"has other shapes than {listed(misfits)}"] if misfits else []
    return " and ".join(reasons)


def _warnings(lora: str, layout: LoraLayout, unknown: list[str], misfits: list[str]) -> tuple[str, ...]:
    found = []
    if unknown:
        found.append(f"{lora} changes layers that the checkpoint does not have: {listed(unknown)}")
    if misfits:
        found.append(f"{lora} changes layers that the checkpoint has in another shape: {listed(misfits)}")
    return (*found, *(f"{lora} {said}" for said in layout.warnings()))
