"""Finds the layers of a checkpoint by their names in LoRA files.

Each is a module's own name, or its name in the original releases. Some formats replace dots by underscores,
so all names are compared in that form.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import nn

from engine_worker.engine.adapters.layer_delta import Layer
from engine_worker.formats.architecture import UNetShape
from engine_worker.formats.checkpoint_layout import Network
from engine_worker.formats.lora_keys import aliases


@dataclass(frozen=True, slots=True)
class LayerName:
    """One layer of one network, by the name of its module."""

    network: Network
    module: str


class LayerNames:
    """The layers of a checkpoint's networks that a LoRA can change, and the device that they run on; None:
    the one that they are on, because none is offloaded."""

    def __init__(
        self, networks: Mapping[Network, nn.Module], unet: UNetShape, device: torch.device | None = None
    ) -> None:
        self.device = device
        self._layers: dict[LayerName, Layer] = {}
        self._names: dict[tuple[Network, str], LayerName] = {}
        for network in (Network.UNET, Network.TEXT_ENCODER, Network.PROJECTING_TEXT_ENCODER):
            for module, layer in _layers(networks.get(network)):
                name = LayerName(network, module)
                self._layers[name] = layer
                for alias in aliases(network, module, unet):
                    self._names[network, alias.replace(".", "_")] = name

    def __len__(self) -> int:
        return len(self._layers)

    def find(self, network: Network, name: str) -> LayerName | None:
        """The layer with that name in a file, after the network's prefix, or None if there is none here."""
        return self._names.get((network, name.replace(".", "_")))

    def layer(self, name: LayerName) -> Layer:
        """The layer itself."""
        return self._layers[name]


def _layers(network: nn.Module | None) -> Iterator[tuple[str, Layer]]:
    for module, layer in network.named_modules() if network is not None else ():
        if isinstance(layer, Layer):
            yield module, layer
