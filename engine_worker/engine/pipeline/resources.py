"""The resources of a loaded engine: the checkpoint, other models, the prompt encoder, and detectors."""

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
    """Everything that jobs are made with."""

    parts: Components
    adapters: AdapterManager
    prompt_encoder: PromptEncoder
    detect: Detect


def make_resources(parts: Components, adapters: AdapterManager, detect: Detect) -> EngineResources:
    """The resources of a loaded checkpoint."""
    return EngineResources(parts, adapters, PromptEncoder(parts), detect)


def bare_resources(parts: Components) -> EngineResources:
    """A checkpoint and what jobs bring along; no detectors."""
    return make_resources(parts, AdapterManager(parts), _no_detector)


def _no_detector(control_type: ControlType, image: Image.Image) -> Image.Image:
    raise NotInstalled(f"the {control_type} detector is not installed")
