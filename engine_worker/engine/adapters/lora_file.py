"""Reads a LoRA file: all its layer deltas for one checkpoint."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from torch import Tensor

from engine_worker.engine.adapters.layer_delta import LayerDelta
from engine_worker.engine.adapters.lora_delta import make_delta
from engine_worker.engine.adapters.lora_keys import Part, parts_by_layer
from engine_worker.engine.adapters.lora_names import LayerName, LayerNames
from engine_worker.engine.adapters.lora_scales import Scales
from engine_worker.engine.adapters.resolve_model import resolve_model
from engine_worker.engine.loading.weights import read_tensors
from engine_worker.formats.allowed_paths import ANYWHERE
from engine_worker.formats.checkpoint_layout import Network
from engine_worker.formats.model_folder import ModelFolder
from engine_worker.formats.safetensors_header import Header, read_header
from kernel.protocol.enums import ModelBase, ModelType
from kernel.protocol.errors import ModelUnreadable
from kernel.protocol.model_refs import ModelSource

_NAMES_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Lora:
    """A loaded LoRA, in the precision of the layers that it changes and on their device."""

    changes: Mapping[LayerName, LayerDelta]
    warnings: tuple[str, ...]
    """Sentences about parts of the file that are not used, for a job's owner."""

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

    Raises: ModelUnreadable, if the file is not a LoRA, is damaged, or was made for another base.
    """
    held = resolve_model(source, ModelType.LORA, base, roots)
    if isinstance(held, ModelFolder):
        raise ModelUnreadable(f"{source.name} is a folder: a LoRA must be one file")
    header = read_header(held)
    layers, others = parts_by_layer(header)
    found = {layer: names.find(layer) for layer in layers}
    unknown = [layer for layer, name in found.items() if name is None]
    if len(unknown) > len(layers) / 2:
        raise ModelUnreadable(
            f"{source.name} changes {len(layers)} layers, but the checkpoint lacks {_listed(unknown)}: "
            "the LoRA was made for another base"
        )
    try:
        scales = Scales(header)
        changes = {
            name: _read_delta(header, parts, name, names, scales)
            for (layer, parts) in layers.items()
            if (name := found[layer]) is not None
        }
    except ModelUnreadable as error:
        raise ModelUnreadable(f"{source.name} cannot be used: {error.detail}") from error
    return Lora(changes, _warnings(source.name, unknown, others))


def _read_delta(
    header: Header, parts: Mapping[Part, str], name: LayerName, names: LayerNames, scales: Scales
) -> LayerDelta:
    stored = read_tensors(header, parts.values())
    tensors: dict[Part, Tensor] = {part: stored[key].float() for part, key in parts.items()}
    alpha = tensors.pop(Part.ALPHA, None)
    if alpha is not None and alpha.numel() != 1:
        raise ModelUnreadable(f"its alpha has {alpha.numel()} values instead of one")
    scale_of = partial(scales.scale, name, alpha=None if alpha is None else float(alpha))
    try:
        return make_delta(tensors, scale_of, names.layer(name), names.device)
    except ModelUnreadable as error:
        raise ModelUnreadable(
            f"at {name.module} of the {name.network.value}, {error.detail}; was it made for another base?"
        ) from error


def _warnings(lora: str, unknown: list[str], others: list[str]) -> tuple[str, ...]:
    found = []
    if unknown:
        found.append(f"{lora} changes layers that the checkpoint does not have: {_listed(unknown)}")
    if others:
        found.append(f"{lora} has unknown tensors, which were ignored: {_listed(others)}")
    return tuple(found)


def _listed(names: list[str]) -> str:
    more = len(names) - _NAMES_SHOWN
    return ", ".join(names[:_NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")
