"""A checked job as the ask that the Manager gets, and the Manager's refusals in the words of HTTP."""

import hashlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from api.http.contract.controls import controls_of, needs_type
from api.http.contract.enum_choices import choice_or_none
from api.http.contract.job_input import BLOB_FIELDS, JobInput
from api.http.contract.model_names import ModelNames
from api.http.contract.model_refs import lora_uses, vae_id
from api.http.contract.retention import expiry_s, patience_s
from api.http.contract.validation_errors import ValidationErrors
from api.http.framework.input_images import mime_of
from api.http.resources.job_reader import JobSubmission, Pictures
from kernel.protocol.client import SubmitJob
from kernel.protocol.enums import ControlType, ImageFileType, ImageFit, ModelType, Scheduler
from kernel.protocol.errors import FieldProblem, SpoonError
from kernel.protocol.ids import EngineId, ModelId
from kernel.protocol.model_refs import InputFile
from kernel.protocol.specs import JobRequest
from kernel.views.engines import EngineFilter, find_engine, list_engines
from kernel.views.reader import Reader

_PLAIN: Final = JobRequest()
_HTTP_NAMES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "remove_background": "remove_background_models",
        "controls": "type_pose",
        "guidance_scale": "cfg",
        "expire_after_s": "expire_after",
        "give_up_after_s": "give_up_after",
        **{kind.value: field for kind, field in BLOB_FIELDS.items()},
    }
)
"""Fields of the bus that have another name in HTTP."""
_CONTROL_NAMES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "control_type": "type_pose",
        "scale": "control_scale",
        "start": "control_start",
        "end": "control_end",
        "is_preprocessed": "preprocessed",
    }
)


class JobCommands:
    """Makes asks. What a name stands for, and the engine's own control type, it reads in the database."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._names = ModelNames(reader)

    def submit(self, submission: JobSubmission, *, validate_only: bool) -> SubmitJob:
        """The ask for a checked job; the bytes of its pictures travel beside it, in the same order.

        Raises: InvalidField, if a model's name is not clear, or a ControlNet's type unknown.
        """
        found = submission.input
        return SubmitJob(
            engine_id=None if found.engine_id is None else EngineId(found.engine_id),
            engine_name=found.engine,
            request=self._request(found, submission.pictures),
            files=tuple(_described(data) for data in submission.pictures.values()),
            priority=found.priority,
            validate_only=validate_only,
        )

    @staticmethod
    def need_database(found: JobInput) -> bool:
        """Whether something of the job is looked up: names of models, a control type left to the engine."""
        refs = (found.loras, found.embeddings, found.vae, found.remove_background_models)
        return any(refs) or needs_type(found)

    def _request(self, found: JobInput, pictures: Pictures) -> JobRequest:
        faults, names = ValidationErrors(), self._names
        request = JobRequest(
            prompt=found.prompt,
            negative_prompt=found.negative_prompt,
            loras=None if found.loras is None else lora_uses(found.loras, names, faults),
            embeddings=self._ids("embeddings", found.embeddings, ModelType.EMBEDDING, faults),
            vae=vae_id(found.vae, names, faults),
            clip_skip=found.clip_skip,
            inputs=tuple(pictures),
            image_fit=choice_or_none(ImageFit, found.image_fit) or _PLAIN.image_fit,
            strength=_PLAIN.strength if found.strength is None else found.strength,
            controls=controls_of(found, self._default_control(found, faults)),
            remove_background=names.ids_of(
                "remove_background_models", found.remove_background_models, ModelType.BACKGROUND, faults
            ),
            background_color=(found.background_color or _PLAIN.background_color).lower(),
            previews=found.previews,
            expire_after_s=expiry_s(found.expire_after),
            delete_after_downloads=found.delete_after_downloads,
            give_up_after_s=patience_s(found.give_up_after),
            seed=found.seed,
            count=found.count,
            steps=found.steps,
            guidance_scale=found.cfg,
            width_px=found.width,
            height_px=found.height,
            scheduler=choice_or_none(Scheduler, found.scheduler),
            scheduler_config=found.scheduler_config,
            image_file_type=choice_or_none(ImageFileType, found.image_file_type) or ImageFileType.PNG,
            quality=found.quality,
        )
        faults.raise_if_any()
        return request

    def _ids(
        self, field: str, refs: tuple[str, ...] | None, kind: ModelType, faults: ValidationErrors
    ) -> tuple[ModelId, ...] | None:
        return None if refs is None else self._names.ids_of(field, refs, kind, faults)

    def _default_control(self, found: JobInput, faults: ValidationErrors) -> ControlType | None:
        """The engine's `control_net`, where a job says how strongly and leaves out of which type."""
        if not needs_type(found):
            return None
        if found.engine_id is not None:
            row = find_engine(self._reader, EngineId(found.engine_id))
        else:
            rows = list_engines(self._reader, EngineFilter(name=found.engine), limit=1).items
            row = rows[0] if rows else None
        if row is None:  # the Manager says so, and it knows best
            return None
        if row.spec.control_net is None:
            faults.wrong("type_pose", "is required: the engine has no default control_net")
        return row.spec.control_net


def in_http_words(error: SpoonError) -> SpoonError:
    """A refusal with the names that its fields have in HTTP."""
    fields = tuple(FieldProblem(field=_http_name(one.field), problem=one.problem) for one in error.fields)
    if fields == error.fields:
        return error
    detail = error.detail
    for old, new in zip(error.fields, fields, strict=True):
        detail = detail.replace(f"{old.field}: ", f"{new.field}: ")
    return type(error)(detail, fields=fields, retry_after_s=error.retry_after_s)


def _http_name(field: str) -> str:
    """`controls[0].scale` is `control_scale[0]` in HTTP, `reference` is `reference_image_blob`."""
    whole, _, inner = field.partition(".")
    name, bracket, index = whole.partition("[")
    if name == "controls" and inner in _CONTROL_NAMES:
        return f"{_CONTROL_NAMES[inner]}{bracket}{index}"
    return field.replace(name, _HTTP_NAMES[name], 1) if name in _HTTP_NAMES else field


def _described(data: bytes) -> InputFile:
    mime = mime_of(data)
    assert mime is not None, "only pictures that were looked at are sent"
    return InputFile(mime=mime, size_bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
