"""/v1/infotext"""

import re
from pathlib import PurePosixPath
from typing import Annotated, Final

import falcon
import msgspec
from msgspec import Meta

from api.http.contract.errors import NoInfotext, TooLarge, UnsupportedMediaType
from api.http.contract.job_checks import check_job
from api.http.contract.job_input import JobInput
from api.http.contract.model_refs import LoraInput
from api.http.contract.request_parsing import media_type_of, refuse_compressed
from api.http.contract.responses import send
from api.http.contract.validation_errors import ValidationErrors
from api.http.framework.form import CONTENT_TYPE as FORM
from api.http.framework.memory_limiter import MemoryLimiter
from api.http.infotext.infotext import read_infotext
from api.http.infotext.parsed_infotext import Mention, ParsedInfotext, Unmapped
from conf.settings import Server
from kernel.protocol.enums import ModelState, ModelType, PromptTechnique
from kernel.protocol.error_texts import in_words
from kernel.protocol.errors import InvalidField, wrong_field
from kernel.protocol.prompts import fault_of_length
from kernel.protocol.rows import ModelRow
from kernel.protocol.sources import stem_of
from kernel.protocol.type_info import analyzed
from kernel.views.models import models_called
from kernel.views.reader import Reader

TIMES: Final = 2
"""A body takes this many times its size in memory: as bytes, and as texts."""
MEDIA_TYPES: Final = ("image/png", "image/jpeg", "image/webp", "text/plain", "application/octet-stream")
_DIGEST: Final = re.compile(r"[0-9a-f]{8,64}")
_DIGITS_OF_WEIGHTS: Final = 12
"""A digest of 12 digits, as A1111 has it of LoRAs, is that of the weights alone, without the header."""
_LISTED: Final = 5
_LISTS: Final = ("embeddings", "remove_background_models")


class Infotext(msgspec.Struct, frozen=True, kw_only=True):
    """How an image was made, as it says itself. `job` has fields for POST /v1/jobs; `unmapped` lists what
    else it says, and `more` counts what is not listed."""

    source: str
    job: Annotated[
        msgspec.Raw, Meta(description="Fields of a JobInput.", extra_json_schema={"type": "object"})
    ]
    unmapped: tuple[Unmapped, ...]
    more: int


class Infotexts:
    """Reads infotexts, and looks up the models that they name."""

    def __init__(self, reader: Reader, limits: Server, bodies: MemoryLimiter) -> None:
        """`bodies` limits the memory of all bodies with images."""
        self._reader = reader
        self._limits = limits
        self._bodies = bodies

    def read(self, req: falcon.Request, resp: falcon.Response) -> None:
        """The format is recognized by the content, whatever the type of the body says."""
        refuse_compressed(req)
        if media_type_of(req) == FORM:
            raise UnsupportedMediaType("send the file itself as the body, not a form")
        if (req.content_length or 0) > self._limits.max_body_bytes:
            raise TooLarge(f"the body must have at most {self._limits.max_body_bytes} bytes")
        with self._bodies.holding(TIMES * (req.content_length or 0)):
            try:
                parsed = read_infotext(req.bounded_stream.read())
            except ValueError as error:
                raise wrong_field("$", str(error)) from error
        if parsed is None:
            raise NoInfotext
        for mention in parsed.models:
            self._look_up(parsed, mention)
        send(resp, 200, self._answer(parsed))

    def _look_up(self, parsed: ParsedInfotext, mention: Mention) -> None:
        """Give the job a model, if exactly one is meant."""
        said = mention.name or mention.digest
        digest = mention.digest.lower() if _DIGEST.fullmatch(mention.digest.lower()) else ""
        name = PurePosixPath(mention.name).name
        rows = models_called(self._reader, mention.model_type, mention.name, stem_of(name), digest)
        same = [row for row in rows if digest and (row.sha256 or "").startswith(digest)][:1]
        ready = [row for row in rows if row.status is ModelState.READY]
        chosen = same or _exact(ready, mention.name) or ready or rows
        if not chosen:
            kind = mention.model_type.value
            parsed.leave(
                mention.said_as, said, f"no {kind} has this name or sha256: register it, or name another"
            )
        elif len(chosen) > 1:
            several = "; ".join(f"{row.model_id} ({row.name})" for row in chosen[:_LISTED])
            parsed.leave(
                mention.said_as, said, f"several models are called so: name one of the ids {several}"
            )
        else:
            (row,) = chosen
            self._use(parsed, mention, row)
            is_other = digest and not same and row.sha256 is not None and len(digest) != _DIGITS_OF_WEIGHTS
            if is_other:
                problem = f"{row.name} has another sha256: it may be another version"
                parsed.leave(f"{mention.said_as} hash", mention.digest, problem)

    def _use(self, parsed: ParsedInfotext, mention: Mention, row: ModelRow) -> None:
        if mention.model_type is ModelType.LORA:
            _add_lora(parsed, mention, row)
        elif mention.field in _LISTS:
            ids = _listed(parsed.job.get(mention.field))
            parsed.take(mention.field, mention.said_as, [*ids, row.model_id])
        else:
            parsed.take(mention.field, mention.said_as, row.model_id)

    def _answer(self, parsed: ParsedInfotext) -> Infotext:
        """The job without the values that this server does not take."""
        for _ in range(len(parsed.job)):
            faults = ValidationErrors()
            values = {_ATTRIBUTES[name]: value for name, value in parsed.job.items()}
            found = JobInput(**values)  # type: ignore[arg-type]
            check_job(found, (), self._limits, faults)
            try:
                faults.raise_if_any()
            except InvalidField as error:
                for one in error.fields:
                    name = re.split(r"[.\[]", one.field)[0]
                    if name in parsed.job:
                        parsed.leave(name, parsed.job.pop(name), one.problem)
            else:
                break
        technique = parsed.job.get("long_prompt_technique", PromptTechnique.SD_EMBED)
        for name in ("prompt", "negative_prompt"):
            fault = fault_of_length(str(parsed.job.get(name, "")), PromptTechnique(str(technique)))
            if fault is not None:
                parsed.leave(
                    "long_prompt_technique", parsed.job.pop("long_prompt_technique", technique), fault
                )
                break
        job = msgspec.Raw(msgspec.json.encode(parsed.job))
        return Infotext(source=parsed.source, job=job, unmapped=tuple(parsed.unmapped), more=parsed.uncounted)


_ATTRIBUTES: Final = {one.encode_name: one.name for one in msgspec.structs.fields(JobInput)}


def _exact(rows: list[ModelRow], name: str) -> list[ModelRow]:
    return [row for row in rows if row.name == name]


def _listed(value: object) -> tuple[object, ...]:
    return value if isinstance(value, tuple) else ()


def _add_lora(parsed: ParsedInfotext, mention: Mention, row: ModelRow) -> None:
    """Add a LoRA with its weight; one that is there already is left out."""
    loras = _listed(parsed.job.get("loras"))
    if any(isinstance(one, LoraInput) and one.model_id == row.model_id for one in loras):
        parsed.leave(mention.said_as, mention.name, "names a LoRA that is there already")
        return
    weight = 1.0 if mention.weight is None else mention.weight
    try:
        use = msgspec.convert({"model_id": row.model_id, "weight": weight}, analyzed(LoraInput))
    except msgspec.ValidationError as error:
        parsed.leave(mention.said_as, f"{mention.name}:{weight:g}", f"its weight {in_words(str(error))[1]}")
        return
    parsed.job["loras"] = (*loras, use)
