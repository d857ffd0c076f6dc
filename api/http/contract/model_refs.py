"""References to the other models of an engine or a job, as clients write them."""

from collections.abc import Sequence
from typing import Annotated

import msgspec
from msgspec import Meta

from api.http.contract.constraints import ModelRef, check_line
from api.http.contract.enum_choices import fold
from api.http.contract.model_names import ModelNames
from api.http.contract.validation_errors import ValidationErrors
from kernel.protocol.enums import ModelType
from kernel.protocol.ids import ModelId
from kernel.protocol.model_refs import OWN_VAE, LoraUse
from kernel.protocol.values import MAX_MODELS, LoraWeight


class LoraInput(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A LoRA and its weight: 1 as trained, 0 for no effect, negative for the opposite effect."""

    model_id: ModelRef
    weight: LoraWeight = 1.0


Loras = Annotated[tuple[ModelRef | LoraInput, ...], Meta(max_length=MAX_MODELS)]


def check_refs(field: str, refs: Sequence[str] | None, faults: ValidationErrors) -> None:
    """Check that names of models are neither blank nor repeated."""
    for index, ref in enumerate(refs or ()):
        check_line(f"{field}[{index}]", ref, faults)
    if len(set(refs or ())) < len(refs or ()):
        faults.wrong(field, "must not repeat a model")


def check_loras(loras: Sequence[str | LoraInput] | None, faults: ValidationErrors) -> None:
    """Check that LoRAs are named, and named once."""
    check_refs("loras", None if loras is None else [name_of(one) for one in loras], faults)


def name_of(lora: str | LoraInput) -> str:
    """The id or name of a LoRA."""
    return lora if isinstance(lora, str) else lora.model_id


def lora_uses(
    loras: Sequence[str | LoraInput], names: ModelNames, faults: ValidationErrors
) -> tuple[LoraUse, ...]:
    """The LoRAs by id, with their weights."""
    ids = names.ids_of("loras", [name_of(one) for one in loras], ModelType.LORA, faults)
    weights = [1.0 if isinstance(one, str) else one.weight for one in loras]
    return tuple(LoraUse(model_id=one, weight=weight) for one, weight in zip(ids, weights, strict=True))


def vae_id(ref: str | None, names: ModelNames, faults: ValidationErrors) -> ModelId | None:
    """The VAE's id, or OWN_VAE: the word for it, in any case, takes precedence over a model's name."""
    if ref is None:
        return None
    return OWN_VAE if fold(ref) == OWN_VAE else names.id_of("vae", ref, ModelType.VAE, faults)
