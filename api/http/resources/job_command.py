"""Sends checked jobs as commands, and converts the Manager's refusals to the field names of HTTP."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from operator import attrgetter
from types import MappingProxyType
from typing import Final

from api.http.contract.controls import controls_of
from api.http.contract.job_input import BLOB_FIELDS, RANDOM_SEED, JobInput
from api.http.contract.model_names import ModelNames
from api.http.contract.model_refs import lora_uses, vae_id
from api.http.contract.retention import expiry_s, patience_s
from api.http.contract.validation_errors import ValidationErrors
from api.http.framework.access import Access
from api.http.framework.input_images import mime_of
from api.http.resources.job_reader import InputImages, JobReader, JobSubmission
from api.http.wildcards.intake import PROMPTS, WildcardIntake, templates_of
from api.port import Answer, BusPort
from kernel.protocol.client import SubmitJob
from kernel.protocol.enums import InputKind, ModelType
from kernel.protocol.errors import FieldProblem, SpoonError
from kernel.protocol.ids import EngineId, KeyId, ModelId
from kernel.protocol.model_refs import InputFile
from kernel.protocol.specs import JobRequest, JobValues
from kernel.protocol.webhooks import ENDS, Callback
from kernel.views.reader import Reader

_HTTP_NAMES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "controls": "type_pose",
        "expire_after_s": "expire_after",
        "give_up_after_s": "give_up_after",
        **{kind.value: field for kind, field in BLOB_FIELDS.items()},
    }
)
"""Fields of the bus that have another name in HTTP."""
_values_of: Final = attrgetter(*JobValues.__struct_fields__)
"""What a client says as the bus does, all at once."""


LIGHT_BYTES: Final = 64 << 10
"""The memory of a body with a few fields is not counted."""
TIMES: Final = 2
"""A body takes this many times its size in memory: as bytes, and as text or decoded."""


class JobCommands:
    """Builds the commands for jobs, with model names looked up in the database."""

    def __init__(self, reader: Reader) -> None:
        self._names = ModelNames(reader)

    def submit(
        self, submission: JobSubmission, images: InputImages, key_id: KeyId | None, *, validate_only: bool
    ) -> SubmitJob:
        """The command for a checked job of a key; all its images are sent as blobs, in the same order.

        Raises: InvalidField, if a model's name is ambiguous.
        """
        found = submission.input
        return SubmitJob(
            engine_id=None if found.engine_id is None else EngineId(found.engine_id),
            engine_name=found.engine,
            checkpoint=found.checkpoint,
            request=self._request(submission, images),
            files=tuple(_described(data) for data in images.values()),
            priority=found.priority,
            validate_only=validate_only,
            key_id=key_id,
            callback=_callback_of(found),
        )

    @staticmethod
    def need_database(found: JobInput) -> bool:
        """True if the job names models, which have to be looked up."""
        models = (found.loras, found.embeddings, found.vae, found.control_models)
        return any((*models, found.remove_background_models))

    def _request(self, submission: JobSubmission, images: InputImages) -> JobRequest:
        found, templates = submission.input, submission.templates
        faults, names = ValidationErrors(), self._names
        values = dict(zip(JobValues.__struct_fields__, _values_of(found), strict=True))
        values["seed"] = None if found.seed == RANDOM_SEED else found.seed
        request = JobRequest(
            **values,
            loras=None if found.loras is None else lora_uses(found.loras, names, faults),
            embeddings=self._ids("embeddings", found.embeddings, ModelType.EMBEDDING, faults),
            vae=vae_id(found.vae, names, faults),
            inputs=tuple(images),
            controls=controls_of(found),
            control_models=self._ids("control_models", found.control_models, ModelType.CONTROLNET, faults),
            remove_background=names.ids_of(
                "remove_background_models", found.remove_background_models, ModelType.BACKGROUND, faults
            ),
            expire_after_s=expiry_s(found.expire_after),
            give_up_after_s=patience_s(found.give_up_after),
            is_resolved=submission.inherited is not None,
            prompt_template=templates.prompt,
            negative_prompt_template=templates.negative_prompt,
        )
        faults.raise_if_any()
        return request

    def _ids(
        self, field: str, refs: tuple[str, ...] | None, kind: ModelType, faults: ValidationErrors
    ) -> tuple[ModelId, ...] | None:
        return None if refs is None else self._names.ids_of(field, refs, kind, faults)


class JobSending:
    """Has jobs read and sent, within the memory of all requests with images."""

    def __init__(
        self, bus: BusPort, reader: Reader, body: JobReader, access: Access, wildcards: WildcardIntake
    ) -> None:
        """`access` finds the callers of requests that are not admitted by their route."""
        self._bus = bus
        self.wildcards = wildcards
        self.body = body
        self.access = access
        self.commands = JobCommands(reader)

    def send(
        self,
        read: Callable[[], tuple[JobSubmission, str | None]],
        length: int,
        expected: type[Answer],
        key_id: KeyId | None,
        *,
        validate_only: bool = False,
    ) -> Answer:
        """The Manager's reply to a job that is read, with its idempotency key, from a body of this length in
        bytes; 0: from none. `key_id` is the API key of the caller, to whom it will belong.

        Raises: as `read`; the Manager's refusals, with the field names of HTTP.
        """
        with self.body.memory.holding(_weight(length)):
            submission, key = read()
            if not submission.unread_bytes:
                return self._send(submission, expected, key, key_id, validate_only=validate_only)
        with self.body.memory.holding(_weight(length + submission.unread_bytes)):
            return self._send(submission, expected, key, key_id, validate_only=validate_only)

    def _send(
        self,
        submission: JobSubmission,
        expected: type[Answer],
        key: str | None,
        key_id: KeyId | None,
        *,
        validate_only: bool,
    ) -> Answer:
        """Send a job with all its images."""
        submission = self._chosen(submission, key)
        inherited = submission.inherited
        found = {**submission.images, **self.body.read_stored(submission.stored)}
        if inherited is not None:
            found |= self.body.origins.images(inherited)
        images = {kind: found[kind] for kind in InputKind if kind in found}

        if inherited is not None or submission.stored:
            self.body.check_mask(submission.input, images)

        def ask() -> Answer:
            command = self.commands.submit(submission, images, key_id, validate_only=validate_only)
            return self._bus.ask(command, expected, key, tuple(images.values()))

        try:
            return in_http_words(ask)
        except SpoonError as error:
            if inherited is None:
                raise
            raise inherited.in_its_words(error) from error

    def _chosen(self, submission: JobSubmission, key: str | None) -> JobSubmission:
        """The job with the choices in its prompts made; those of a stored job stay as they were made.

        Raises: WildcardNotFound; InvalidField.
        """
        inherited = submission.inherited
        kept = () if inherited is None else tuple(name for name in PROMPTS if name in inherited.values)
        fields = tuple(name for name in PROMPTS if name not in kept)
        found, templates = self.wildcards.resolve(submission.input, key, fields)
        if inherited is not None:
            old = templates_of(inherited.origin.spec)
            templates = replace(templates, **{name: getattr(old, name) for name in kept})
        return replace(submission, input=found, templates=templates)


def in_http_words(answer: Callable[[], Answer]) -> Answer:
    """The reply; a refusal has the field names of HTTP."""
    try:
        return answer()
    except SpoonError as error:
        raise renamed(error, _http_name) from error


def renamed(error: SpoonError, name_of: Callable[[str], str]) -> SpoonError:
    """A refusal whose fields have other names."""
    fields = tuple(FieldProblem(field=name_of(one.field), problem=one.problem) for one in error.fields)
    if fields == error.fields:
        return error
    detail = error.detail
    for old, new in zip(error.fields, fields, strict=True):
        detail = detail.replace(f"{old.field}: ", f"{new.field}: ")
    return type(error)(detail, fields=fields, retry_after_s=error.retry_after_s)


def _http_name(field: str) -> str:
    """`controls[0].control_scale` is `control_scale[0]` in HTTP, `reference` is `reference_image_blob`."""
    whole, _, inner = field.partition(".")
    name, bracket, index = whole.partition("[")
    if name == "controls" and inner:
        return f"{inner}{bracket}{index}"
    return field.replace(name, _HTTP_NAMES[name], 1) if name in _HTTP_NAMES else field


def _callback_of(found: JobInput) -> Callback | None:
    if found.callback_url is None:
        return None
    return Callback(url=found.callback_url, events=found.callback_events or ENDS)


def _described(data: bytes) -> InputFile:
    mime = mime_of(data)
    assert mime is not None, "only checked images are sent"
    return InputFile(mime=mime, size_bytes=len(data), sha256=hashlib.sha256(data).hexdigest())


def _weight(length: int) -> int:
    return 0 if length <= LIGHT_BYTES else TIMES * length
