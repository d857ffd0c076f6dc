"""Reads image requests of OpenAI's clients: their fields as those of a job, and what `auto` means for it."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import falcon
import msgspec
from msgspec.structs import replace

from api.http.compat.openai.request_fields import NO_EFFECT, Background, OpenAiFields
from api.http.compat.openai.retries import digest_of
from api.http.compat.openai.targets import find_target, refused, size_like, usual_size
from api.http.compat.openai.translation import Said, Translated, translated
from api.http.contract.caller import caller_of
from api.http.contract.field_aliases import our_name
from api.http.contract.job_input import BLOB_FIELDS, JobInput
from api.http.contract.request_parsing import BodyReader, find_nothing, media_type_of
from api.http.framework.form import CONTENT_TYPE as FORM
from api.http.framework.form import FormDecoder
from api.http.framework.input_images import upright_size
from api.http.resources.job_reader import JobReader, JobSubmission
from conf.settings import Server
from kernel.protocol.enums import InpaintArea, InputKind, ModelState, ModelType
from kernel.protocol.errors import SpoonError, wrong_field
from kernel.views.engines import job_targets
from kernel.views.models import ModelFilter, list_models
from kernel.views.page import MAX_LIMIT
from kernel.views.reader import Reader
from kernel.views.rows import JobTarget

NO_REMOVER: Final = (
    "transparent requires a background remover, and none is ready: register one with "
    "`spoon models add FILE.onnx --type background --name NAME --wait`"
)
_ENGINE: Final = ("engine_id", "engine", "checkpoint")
_REMOVERS: Final = "remove_background_models"
_IMAGE: Final = re.compile(r"image\[\d{0,3}\]", re.ASCII)
_JOB_FIELDS: Final = frozenset(JobInput.__struct_encode_fields__)
_FILES: Final = frozenset({"image", "mask", "markup", *BLOB_FIELDS.values()})
_IN_VAIN: Final = msgspec.defstruct("NoEffect", [(name, str | None, None) for name in NO_EFFECT])


@dataclass(frozen=True, slots=True)
class ImageRequest:
    """A request that was read."""

    translated: Translated
    submission: JobSubmission
    targets: Sequence[JobTarget]
    digest: str

    def in_their_words(self, error: SpoonError) -> SpoonError:
        """A refusal of the job, in terms of the request."""
        made = self.translated
        if made.theirs.model is None and made.job.keys() & {*_ENGINE, "like"}:
            return made.in_their_words(error)
        return made.in_their_words(refused(error, made.theirs.model, self.targets))


class ImageRequests:
    """Reads requests of one kind, as JSON or as forms."""

    def __init__(
        self, kind: type[OpenAiFields], reader: Reader, body: JobReader, limits: Server, default: str | None
    ) -> None:
        """`default`: the setting engines.default."""
        self._kind = kind
        self._reader = reader
        self._body = body
        self._limits = limits
        self._default = default
        self._json = BodyReader(kind, frozenset(), find_nothing, limits.max_body_bytes)
        self._form = FormDecoder(
            (kind, JobInput, _IN_VAIN),
            _FILES,
            limits.max_body_bytes,
            repeated=frozenset({"image"}),
            name_of=self._name_of,
        )

    def read(self, req: falcon.Request) -> ImageRequest:
        """The request. Raises: as JobReader.read, with the fields that the client knows."""
        said = self._said_in(req)
        made = translated(self._kind, said)
        targets = job_targets(self._reader)
        target = self._choose(made, targets)
        self._choose_remover(made)
        try:
            submission = self._body.of_fields(made.job, made.files, caller_of(req), strict=said.is_strict)
        except SpoonError as error:
            raise made.in_their_words(error) from error
        files = [(name, data) for name, found in sorted(said.files.items()) for data in found]
        digest = digest_of(req, said.fields, files)
        return ImageRequest(made, self._sized(submission, targets, target), targets, digest)

    def _said_in(self, req: falcon.Request) -> Said:
        if media_type_of(req) == FORM:
            form = self._form.read(req)
            return Said(form.texts, form.files, is_strict=False)
        found = self._json.fields_of(self._json.body_of(req))
        return Said({name: value for name, value in found.items() if value is not None}, {}, is_strict=True)

    def _name_of(self, name: str) -> str:
        """A field of a form: `image[]` is one of several images."""
        if name in self._kind.__struct_encode_fields__ or name in NO_EFFECT or name in _JOB_FIELDS:
            return name
        return "image" if _IMAGE.fullmatch(name) else our_name(name, _JOB_FIELDS) or name

    def _choose(self, made: Translated, targets: Sequence[JobTarget]) -> JobTarget | None:
        """Name the engine or checkpoint that `model` means. Returns: what the job is for, if known."""
        model = made.theirs.model
        said = [name for name in (*_ENGINE, "like") if name in made.job]
        if model is None:
            return self._chosen_without(made, targets, said)
        if said and said != ["like"]:
            raise wrong_field("model", f"contradicts {said[0]}: set one of them")
        target = find_target(targets, model)
        ours = "engine_id" if target is not None and target.is_engine else "checkpoint"
        made.job[ours] = model if target is None else target.id
        made.names[ours] = "model"
        return target

    def _chosen_without(
        self, made: Translated, targets: Sequence[JobTarget], said: Sequence[str]
    ) -> JobTarget | None:
        """As `_choose`, without `model`: if one engine has a name, it is chosen, before any checkpoint."""
        if said or self._default is not None:
            return find_target(targets, str(made.job[said[0]]) if said else str(self._default))
        named = [target for target in targets if target.is_engine and target.name is not None]
        if len(named) != 1:
            return None
        made.job["engine_id"] = named[0].id
        return named[0]

    def _choose_remover(self, made: Translated) -> None:
        """Have the background removed if it is to be transparent. Raises: InvalidField, if nothing can."""
        if made.theirs.background != Background.TRANSPARENT or made.job.get(_REMOVERS):
            return
        wanted = ModelFilter(status=ModelState.READY, model_type=ModelType.BACKGROUND)
        found = list_models(self._reader, wanted, MAX_LIMIT).items
        if not found:
            raise wrong_field("background", NO_REMOVER)
        made.job[_REMOVERS] = [found[-1].model_id]
        made.names[_REMOVERS] = "background"
        if len(found) > 1:
            made.warnings.append(
                f"background is removed by {found[-1].name}, the first of {len(found)} removers: "
                f"name another one in {_REMOVERS}"
            )

    def _sized(
        self, submission: JobSubmission, targets: Sequence[JobTarget], target: JobTarget | None
    ) -> JobSubmission:
        """The job with a size like that of its image, unless it has one or is to be made like another."""
        found, image = submission.input, submission.images.get(InputKind.REFERENCE)
        has_size = found.width_px is not None or found.height_px is not None
        is_other = found.like is not None or found.inpaint_area is InpaintArea.MASKED
        usual = usual_size(targets, target)
        if image is None or has_size or is_other or usual is None:
            return submission
        width_px, height_px = size_like(upright_size(image), usual, self._limits.max_pixels)
        return JobSubmission(replace(found, width_px=width_px, height_px=height_px), submission.images)
