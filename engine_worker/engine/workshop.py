"""What a studio works with: the checkpoint, the other models, and the detectors that draw control maps."""

from dataclasses import dataclass
from typing import Protocol

from PIL import Image

from engine_worker.engine.ingredients import Ingredients, NoIngredients
from engine_worker.engine.parts import Parts
from kernel.protocol.errors import JobRejected
from kernel.protocol.ids import JobId
from kernel.protocol.vocabulary import ControlType


class DrawMap(Protocol):
    """A detector."""

    def __call__(self, job_id: JobId, control_type: ControlType, image: Image.Image) -> Image.Image:
        """Draw the control map of a picture, in its size, and emit it for the job's owner to see.

        Raises: JobRejected, if there is nothing on it.
        """


@dataclass(frozen=True, slots=True)
class Workshop:
    """Everything that jobs are made with."""

    parts: Parts
    ingredients: Ingredients
    draw_map: DrawMap


def bare_workshop(parts: Parts) -> Workshop:
    """A checkpoint alone: no further models, no detectors."""
    return Workshop(parts, NoIngredients(parts.vae), _no_map)


def _no_map(job_id: JobId, control_type: ControlType, image: Image.Image) -> Image.Image:
    raise JobRejected(f"This engine draws no {control_type} maps: send the map itself (preprocessed)")
