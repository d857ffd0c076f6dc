"""A job that is made again: the values of a stored one as fields of a request, and its input images.

A JobSpec has every value as it was decided, under its name in requests, so one loop turns it into fields;
what a request names otherwise is in `_values`. What the client says replaces them one by one.
"""

import hashlib
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

import msgspec

from api.http.contract.caller import Caller
from api.http.contract.errors import InputGone
from api.http.contract.job_input import BLOB_FIELDS, JobInput
from api.http.framework.file_headers import plain_name
from kernel.protocol.enums import BlobKind, ImageFileType, InputKind, ModelType
from kernel.protocol.errors import EngineNotFound, FieldProblem, ImageNotFound, SpoonError, of_field
from kernel.protocol.ids import EngineId, ImageId, JobId, ModelId
from kernel.protocol.prompts import lora_tags
from kernel.protocol.rows import BlobRow
from kernel.protocol.sources import stem_of
from kernel.protocol.specs import JobSpec
from kernel.views.engines import find_engine
from kernel.views.images import find_image
from kernel.views.jobs import find_blob
from kernel.views.models import models_called
from kernel.views.reader import Reader
from kernel.views.rows import JobRow

_ENGINE: Final = ("engine_id", "engine", "checkpoint")
_CONTROL: Final = (
    "type_pose",
    "control_scale",
    "control_start",
    "control_end",
    "preprocessed",
    "control_models",
)
_BACKGROUND: Final = "background_color"
_REPLACED: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        **dict.fromkeys(_ENGINE, _ENGINE),
        "prompt": ("lora_tags",),
        "scheduler": ("scheduler_config", "eta"),
        "type_pose": _CONTROL,
        "control_models": _CONTROL,
        "mask_image_blob": ("mask_mode",),
        "inpaint_area": ("image_fit", "inpaint_padding"),
        "image_file_type": (_BACKGROUND,),
        "remove_background_models": (_BACKGROUND,),
    }
)
"""Stored values that have no meaning beside a field that the client gives."""
_NAME: Final = re.compile(r"[^.\[]*")


@dataclass(frozen=True, slots=True)
class Origin:
    """A stored job."""

    field: str
    """The part of the request that names it."""
    what: str
    values: Mapping[str, object]
    """Fields of a JobInput."""
    spec: JobSpec
    job_id: JobId


@dataclass(frozen=True, slots=True)
class Inherited:
    """The part of a stored job that the client did not replace."""

    origin: Origin
    values: Mapping[str, object]
    inputs: tuple[BlobRow, ...] = ()

    @property
    def size_bytes(self) -> int:
        """Of its input images."""
        return sum(row.size_bytes for row in self.inputs)

    def in_its_words(self, error: SpoonError) -> SpoonError:
        """A refusal, in which a problem of an inherited value is one of the field that names the job."""
        fields, detail = [], error.detail
        for one in error.fields:
            found = _NAME.match(one.field)
            if found and (name := found[0]) in self.values:
                problem = f"{one.field} of {self.origin.what}: {one.problem}; or set {name} in the request"
                detail = detail.replace(f"{one.field}: {one.problem}", f"{self.origin.field}: {problem}")
                one = FieldProblem(field=self.origin.field, problem=problem)
            fields.append(one)
        if detail == error.detail:
            return error
        return type(error)(detail, fields=tuple(fields), retry_after_s=error.retry_after_s)


class Origins:
    """Finds stored jobs."""

    def __init__(self, reader: Reader, folder: Path, now_ms: Callable[[], int]) -> None:
        """`folder` has the input images."""
        self._reader = reader
        self._folder = folder
        self._now_ms = now_ms

    def of_image(self, image_id: str, caller: Caller) -> Origin:
        """The job of one image, whose file may be gone: with the image's own seed, and a count of 1.

        Raises: ImageNotFound, also for an image that the caller does not see.
        """
        row = find_image(self._reader, ImageId(image_id))
        if row is None or not caller.sees(row.key_id):
            raise of_field(ImageNotFound, "like", f"no image has the id {image_id!r}")
        values = self._values(row.spec, row.engine_id, row.checkpoint) | {"seed": row.seed, "count": 1}
        return Origin("like", f"image {image_id}", values, row.spec, row.job_id)

    def of_job(self, row: JobRow) -> Origin:
        """A job as it was submitted."""
        values = self._values(row.spec, row.engine_id, row.checkpoint) | {"priority": row.priority}
        return Origin("job_id", f"job {row.job_id}", values, row.spec, row.job_id)

    def _values(self, spec: JobSpec, engine_id: EngineId, checkpoint: ModelId | None) -> dict[str, object]:
        """The fields of a request for this job: for its engine, if that is there and has this checkpoint."""
        engine = find_engine(self._reader, engine_id)
        has_engine = engine is not None and checkpoint in (None, engine.spec.checkpoint)
        stored: dict[str, object] = msgspec.to_builtins(spec) | {
            "engine_id": engine_id if has_engine else None,
            "checkpoint": None if has_engine else checkpoint,
            "expire_after": spec.expire_after_s,
            "give_up_after": spec.give_up_after_s,
            **_controls(spec),
        }
        if spec.image_file_type is not ImageFileType.JPEG:
            stored[_BACKGROUND] = None  # between two removers it is always white
        known = frozenset(JobInput.__struct_encode_fields__)
        return {name: value for name, value in stored.items() if name in known and value is not None}

    def inherit(self, origin: Origin, said: Collection[str]) -> Inherited:
        """What is left of a stored job beside the fields that the client gives.

        Raises: EngineNotFound, if the engine is gone and the client names none; InputGone.
        """
        replaced = {*said, *(name for field in said for name in _REPLACED.get(field, ()))}
        values: dict[str, object] = {
            name: value for name, value in origin.values.items() if name not in replaced
        }
        if not any(name in values or name in said for name in _ENGINE):
            problem = f"the engine of {origin.what} is gone: set engine or checkpoint"
            raise of_field(EngineNotFound, origin.field, problem)
        if "prompt" in said and "loras" in values and origin.spec.lora_tags:
            tagged = self._tagged(origin.spec.prompt)
            kept = [use for use in origin.spec.loras if use.model_id not in tagged]
            values["loras"] = msgspec.to_builtins(kept)
        kinds = [kind for kind in origin.spec.inputs if BLOB_FIELDS[kind] not in said]
        return Inherited(origin, values, tuple(self._stored(origin, kind) for kind in kinds))

    def _tagged(self, prompt: str) -> set[str]:
        """The ids of the LoRAs that a prompt named, which go with it."""
        found = set[str]()
        for tag in lora_tags(prompt):
            rows = models_called(self._reader, ModelType.LORA, tag.name, stem_of(tag.name), "")
            found |= {tag.name, *(row.model_id for row in rows)}
        return found

    def _stored(self, origin: Origin, kind: InputKind) -> BlobRow:
        row = find_blob(self._reader, origin.job_id, BlobKind(kind.value))
        if row is None or (row.expires_at_ms is not None and row.expires_at_ms <= self._now_ms()):
            raise _gone(origin, kind)
        return row

    def images(self, inherited: Inherited) -> dict[InputKind, bytes]:
        """The inherited input images, unchanged.

        Raises: InputGone.
        """
        found = {}
        for row in inherited.inputs:
            kind = InputKind(row.kind.value)
            try:
                data = (self._folder / plain_name(row.file_name)).read_bytes()
            except FileNotFoundError as error:
                raise _gone(inherited.origin, kind) from error
            if hashlib.sha256(data).hexdigest() != row.sha256:
                raise _gone(inherited.origin, kind)
            found[kind] = data
        return found


def _controls(spec: JobSpec) -> dict[str, object]:
    """The fields of a request for these controls; a map that is the pose image itself is the only one."""
    uses = spec.controls
    if not uses:
        return {}
    return {
        "type_pose": tuple(use.control_type for use in uses),
        "control_scale": tuple(use.scale for use in uses),
        "control_start": tuple(use.start for use in uses),
        "control_end": tuple(use.end for use in uses),
        "control_models": spec.control_models,
        "preprocessed": any(use.is_preprocessed for use in uses),
    }


def _gone(origin: Origin, kind: InputKind) -> InputGone:
    field = BLOB_FIELDS[kind]
    problem = f"the {kind} image of {origin.what} is gone (setting blobs.expire_after): send it as {field}"
    return of_field(InputGone, origin.field, problem)
