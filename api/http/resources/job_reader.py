"""Reads a job from a request, as JSON or as a form: its fields, and its input images."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

import falcon

from api.http.contract.caller import Caller, caller_of
from api.http.contract.constraints import check_line
from api.http.contract.errors import TooLarge
from api.http.contract.job_checks import check_job
from api.http.contract.job_input import (
    BLOB_FIELDS,
    IMAGE_FIELDS,
    LATER_FIELDS,
    JobInput,
    field_of,
    images_in,
    kinds_in,
)
from api.http.contract.request_parsing import BodyReader, media_type_of, read_fields
from api.http.contract.validation_errors import ValidationErrors
from api.http.framework.concurrency_limit import ConcurrencyLimit
from api.http.framework.form import CONTENT_TYPE as FORM
from api.http.framework.form import FormDecoder
from api.http.framework.input_images import (
    fault_of,
    from_base64,
    is_empty_mask,
    most_pixels,
    upright_size,
)
from api.http.framework.memory_limiter import MemoryLimiter
from api.http.resources.job_origin import Inherited, Origin, Origins
from api.http.resources.stored_images import StoredImages, StoredInputs
from api.http.wildcards.intake import NO_TEMPLATES, Templates
from conf.settings import Server
from kernel.protocol.codec import MAX_BLOB_BYTES
from kernel.protocol.enums import InpaintArea, InputKind, MaskMode
from kernel.protocol.errors import EmptyMask, FieldProblem, SpoonError, of_field
from kernel.protocol.masks import NO_MARKS, fault_of_size

InputImages = Mapping[InputKind, bytes]

ONE: Final = 1
"""Images decoded at a time, over all requests: a file of 34 bytes can take 270 MB."""


@dataclass(frozen=True, slots=True)
class JobSubmission:
    """A checked job, with its images as the client sent them, in the order of InputKind."""

    input: JobInput
    images: InputImages
    inherited: Inherited | None = None
    """What it has from a stored job, whose images are not among `images`."""
    stored: StoredInputs = field(default_factory=dict)
    """Images of the server, whose files are not among `images` either."""
    templates: Templates = NO_TEMPLATES
    """What its prompts were made from."""

    @property
    def unread_bytes(self) -> int:
        """The size of all input images that are not among `images`."""
        inherited = 0 if self.inherited is None else self.inherited.size_bytes
        return inherited + sum(row.size_bytes for row in self.stored.values())


class JobReader:
    """Reads the body of POST /v1/jobs. Cheap checks come first: images of an invalid job are not decoded."""

    def __init__(
        self,
        limits: Server,
        slots: ConcurrencyLimit,
        memory: MemoryLimiter,
        origins: Origins,
        stored: StoredImages,
    ) -> None:
        """A request that waits to have an image checked takes one of the slots. `memory` is that of bodies
        with images."""
        self._limits = limits
        self.memory = memory
        self.origins = origins
        self.stored = stored
        self.looking = MemoryLimiter(ONE, slots, "too many input images at once")
        self._json = BodyReader(
            JobInput,
            LATER_FIELDS,
            lambda found, faults: self._check_fields(found, kinds_in(found), faults),
            limits.max_body_bytes,
        )
        self._form = FormDecoder((JobInput,), frozenset(BLOB_FIELDS.values()), limits.max_body_bytes)

    def read(self, req: falcon.Request) -> JobSubmission:
        """The job in a request.

        Raises: as BodyReader and FormDecoder do; InvalidField EmptyMask or TooLarge, if an image cannot be
        used.
        """
        caller = caller_of(req)
        if media_type_of(req) == FORM:
            form = self._form.read(req)
            files = {kind: form.files[field][0] for kind, field in BLOB_FIELDS.items() if field in form.files}
            return self.of_fields(form.texts, files, caller, strict=False)
        body = self._json.body_of(req)
        found = self._json.read_body(body)
        said = {} if found.like is None else self._json.fields_of(body)
        return self._completed(found, said, {}, caller, strict=True)

    def of_fields(
        self,
        said: Mapping[str, object],
        files: Mapping[InputKind, bytes],
        caller: Caller,
        *,
        strict: bool,
    ) -> JobSubmission:
        """The job that these fields and files say; unless `strict`, numbers and flags may be texts.

        Raises: as `read`.
        """

        def check(found: JobInput, faults: ValidationErrors) -> None:
            for kind in kinds_in(found):
                if kind in files:
                    faults.wrong(field_of(found, kind), "must be sent only once, as text or as a file")
            self._check_fields(found, {*kinds_in(found), *files}, faults)

        found = read_fields(JobInput, said, LATER_FIELDS, check, strict=strict)
        return self._completed(found, said, files, caller, strict=strict)

    def _completed(
        self,
        found: JobInput,
        said: Mapping[str, object],
        files: Mapping[InputKind, bytes],
        caller: Caller,
        *,
        strict: bool,
    ) -> JobSubmission:
        """The job with its images; one like another with what was said on top of that."""
        if found.like is not None:
            like = self._like(self.origins.of_image(found.like, caller), said, files, strict=strict)
            return replace(like, stored=self.stored.find(like.input, caller))
        stored, images = self.stored.find(found, caller), self._images(found, files)
        if not stored:
            self.check_mask(found, images)
        return JobSubmission(found, images, stored=stored)

    def again(self, origin: Origin) -> JobSubmission:
        """A stored job as it was.

        Raises: as `read`, if something that it needs is gone, or no longer allowed.
        """
        return self._like(origin, {}, {}, strict=True)

    def _like(
        self, origin: Origin, said: Mapping[str, object], files: Mapping[InputKind, bytes], *, strict: bool
    ) -> JobSubmission:
        """What is said, on top of a stored job."""
        named = {kind for kind, name in IMAGE_FIELDS.items() if name in said}
        inherited = self.origins.inherit(origin, {*said, *(BLOB_FIELDS[kind] for kind in {*files, *named})})
        kinds = {InputKind(row.kind.value) for row in inherited.inputs}

        def check(found: JobInput, faults: ValidationErrors) -> None:
            check_job(found, {*kinds_in(found), *files, *kinds}, self._limits, faults)

        try:
            found = read_fields(JobInput, {**inherited.values, **said}, LATER_FIELDS, check, strict=strict)
        except SpoonError as error:
            raise inherited.in_its_words(error) from error
        return JobSubmission(found, self._images(found, files), inherited)

    def read_if_plain(self, headers: Mapping[str, str], body: bytes) -> JobSubmission | None:
        """The job, if it is valid JSON without images; None: it is for `read`."""
        found = self._json.read_if_right(headers, body)
        is_plain = found is not None and found.like is None and not kinds_in(found)
        return JobSubmission(found, {}) if is_plain and found is not None else None

    def _check_fields(self, found: JobInput, images: Collection[InputKind], faults: ValidationErrors) -> None:
        """Check a job by itself. One like another is checked with the values that it has from there."""
        if found.like is None:
            check_job(found, images, self._limits, faults)
        else:
            check_line("like", found.like, faults)

    def _images(self, found: JobInput, files: Mapping[InputKind, bytes]) -> InputImages:
        faults = ValidationErrors()
        texts = images_in(found)
        images: dict[InputKind, bytes] = {}
        for kind, name in BLOB_FIELDS.items():
            try:
                data = from_base64(texts[kind]) if kind in texts else files.get(kind)
            except ValueError as error:
                faults.wrong(name, str(error))
                continue
            if data is not None:
                images[kind] = data
                self._check(name, data, faults)
        faults.raise_if_any()
        return images

    def _check(self, field: str, data: bytes, faults: ValidationErrors) -> None:
        if len(data) > MAX_BLOB_BYTES:
            problem = f"an image must have at most {MAX_BLOB_BYTES} bytes"
            raise TooLarge(f"{field}: {problem}", fields=(FieldProblem(field=field, problem=problem),))
        with self.looking.holding(ONE):
            fault = fault_of(data, most_pixels(self._limits.max_pixels))
        if fault is not None:
            faults.wrong(field, fault)

    def read_stored(self, stored: StoredInputs) -> dict[InputKind, bytes]:
        """The files of images of the server.

        Raises: ImageGone; InvalidField, if one is too large to be an input image.
        """
        faults, found = ValidationErrors(), self.stored.read(stored)
        for kind, data in found.items():
            self._check(IMAGE_FIELDS[kind], data, faults)
        faults.raise_if_any()
        return found

    def check_mask(self, found: JobInput, images: InputImages) -> None:
        """Check the mask of a job against its other images, those of a stored job included.

        Raises: InvalidField, if an image does not lie on the reference image; EmptyMask.
        """
        if found.mask_mode is None and InputKind.MASK not in images:
            return
        mode, faults = found.mask_mode or MaskMode.LUMINANCE, ValidationErrors()
        is_cut = found.inpaint_area is InpaintArea.MASKED
        with self.looking.holding(ONE):
            size = upright_size(images[InputKind.REFERENCE])
            for kind in (InputKind.MASK, InputKind.POSE) if is_cut else (InputKind.MASK,):
                if kind in images and (fault := fault_of_size(upright_size(images[kind]), size, kind)):
                    faults.wrong(field_of(found, kind), fault)
            faults.raise_if_any()
            kind = InputKind.MASK if InputKind.MASK in images else InputKind.REFERENCE
            if is_empty_mask(images[kind], mode):
                raise of_field(EmptyMask, field_of(found, kind), f"{NO_MARKS[mode]}: nothing would change")
