"""The models that an engine or a job names besides a checkpoint: the one list of them."""

from collections.abc import Sequence

from msgspec import Struct

from kernel.protocol.enums import ModelType
from kernel.protocol.ids import ModelId
from kernel.protocol.model_refs import OWN_VAE
from kernel.protocol.specs import EngineSpec, JobSpec


class Named(Struct, frozen=True):
    """A model that a spec refers to: the field, and the required type."""

    field: str
    model_id: ModelId
    model_type: ModelType


def named_models(spec: EngineSpec | JobSpec) -> tuple[Named, ...]:
    """The models that it refers to, in the order of its fields."""
    removers = spec.remove_background if isinstance(spec, JobSpec) else ()
    if spec.vae == OWN_VAE and not (spec.loras or spec.embeddings or spec.control_models or removers):
        return ()  # as most do: a quick check
    return (
        *(() if spec.vae == OWN_VAE else (Named("vae", spec.vae, ModelType.VAE),)),
        *named_each("loras", [use.model_id for use in spec.loras], ModelType.LORA),
        *named_each("embeddings", spec.embeddings, ModelType.EMBEDDING),
        *named_each("control_models", spec.control_models, ModelType.CONTROLNET),
        *named_each("remove_background_models", removers, ModelType.BACKGROUND),
    )


def named_each(field: str, model_ids: Sequence[ModelId], model_type: ModelType) -> list[Named]:
    """Each model of a list."""
    return [Named(f"{field}[{n}]", model_id, model_type) for n, model_id in enumerate(model_ids)]


def model_ids_of(spec: EngineSpec | JobSpec) -> tuple[ModelId, ...]:
    """Their ids, without duplicates."""
    return tuple(dict.fromkeys(one.model_id for one in named_models(spec)))
