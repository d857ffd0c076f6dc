"""What the studio asks of the models that jobs name beside the checkpoint."""

from collections.abc import Sequence
from typing import Protocol

from engine_worker.engine.control import ControlNet
from engine_worker.engine.parts import Vae
from kernel.protocol.errors import JobRejected
from kernel.protocol.ids import ModelId
from kernel.protocol.ingredients import LoraUse, ModelSource


class Ingredients(Protocol):
    """LoRAs, VAEs and ControlNets. All methods are for the stepping thread."""

    def bring(self, models: Sequence[ModelSource]) -> None:
        """Have these models ready; what is here already costs nothing.

        Raises: ModelUnreadable, OutOfMemory, JobRejected (a model of another base).
        """

    def wear(self, loras: tuple[LoraUse, ...]) -> None:
        """From now on UNet and text encoders work with just these LoRAs; () is the bare checkpoint."""

    def vae(self, model_id: ModelId | None) -> Vae:
        """A VAE that was brought; the checkpoint's own for None."""

    def control_net(self, model_id: ModelId) -> ControlNet:
        """A ControlNet that was brought."""


class NoIngredients:
    """A checkpoint alone."""

    def __init__(self, vae: Vae) -> None:
        self._vae = vae

    def bring(self, models: Sequence[ModelSource]) -> None:
        if models:
            raise JobRejected(f"This engine takes no further models, such as {models[0].name}")

    def wear(self, loras: tuple[LoraUse, ...]) -> None:
        """Nothing to put on, nothing to take off."""

    def vae(self, model_id: ModelId | None) -> Vae:
        return self._vae

    def control_net(self, model_id: ModelId) -> ControlNet:
        raise JobRejected("This engine takes no ControlNets")
