"""The resources of a loaded engine: the checkpoint, models of jobs, the prompt encoder, and the detectors."""

from dataclasses import dataclass

from PIL import Image

from engine_worker.engine.adapters.adapter_manager import AdapterManager
from engine_worker.engine.detectors.render_map import Detect
from engine_worker.engine.networks.components import Components
from engine_worker.engine.prompts.prompt_encoder import PromptEncoder
from kernel.protocol.enums import ControlType
from kernel.protocol.errors import NotInstalled


@dataclass(frozen=True, slots=True)
class EngineResources:
    """Everything that jobs share."""

    parts: Components
    adapters: AdapterManager
    prompt_encoder: PromptEncoder
    detect: Detect


def make_resources(parts: Components, adapters: AdapterManager, detect: Detect) -> EngineResources:
    """The resources of a loaded checkpoint."""
    return EngineResources(parts, adapters, PromptEncoder(parts), detect)


def bare_resources(parts: Components) -> EngineResources:
    """The resources of a checkpoint without detectors."""
    return make_resources(parts, AdapterManager(parts), _no_detector)


def _no_detector(control_type: ControlType, image: Image.Image) -> Image.Image:
    raise NotInstalled(f"the {control_type} detector is not installed")
