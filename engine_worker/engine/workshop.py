"""What a studio works with: the checkpoint, other models, the reader of prompts, and detectors."""

from dataclasses import dataclass

from PIL import Image

from engine_worker.engine.adapters.extras import Extras
from engine_worker.engine.detectors.drawing import Detect
from engine_worker.engine.parts import Parts
from engine_worker.engine.prompts.conditioning import Conditioner
from kernel.protocol.errors import NotInstalled
from kernel.protocol.vocabulary import ControlType


@dataclass(frozen=True, slots=True)
class Workshop:
    """Everything that jobs are made with."""

    parts: Parts
    extras: Extras
    conditioner: Conditioner
    detect: Detect


def make_workshop(parts: Parts, extras: Extras, detect: Detect) -> Workshop:
    """The workshop of a loaded checkpoint."""
    return Workshop(parts, extras, Conditioner(parts), detect)


def bare_workshop(parts: Parts) -> Workshop:
    """A checkpoint and what jobs bring along; no detectors."""
    return make_workshop(parts, Extras(parts), _no_detector)


def _no_detector(control_type: ControlType, picture: Image.Image) -> Image.Image:
    raise NotInstalled(f"the {control_type} detector is not installed")
