"""Translates a request of OpenAI's clients to the fields of a job: it decides nothing.

Errors of the job name its fields; `Translated.in_their_words` gives them the names that the client used.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from api.http.compat.openai.request_fields import (
    NO_EFFECT,
    NOTHING_ASKED,
    Background,
    OpenAiEdit,
    OpenAiFields,
    OpenAiGeneration,
    OpenAiVariation,
    check_words,
)
from api.http.contract.enum_choices import find_choice
from api.http.contract.field_aliases import our_name
from api.http.contract.job_input import BLOB_FIELDS, JobInput
from api.http.contract.request_parsing import read_fields
from api.http.contract.validation_errors import ValidationErrors
from api.http.resources.job_command import renamed
from kernel.protocol.enums import ImageFileType, InputKind, MaskMode
from kernel.protocol.errors import SpoonError

GIVE_UP_AFTER_S: Final = 30
"""How long a job waits for an engine in error, if the request does not say: clients wait for minutes only."""

_JOB_FIELDS: Final = frozenset(JobInput.__struct_encode_fields__)
_SIZE: Final = re.compile(r"\s*(\d{1,5})\s*[xX×]\s*(\d{1,5})\s*", re.ASCII)
_HEAD: Final = re.compile(r"[^.\[]*")
_LIKE: Final = "like"
_REFERENCE: Final = BLOB_FIELDS[InputKind.REFERENCE]
_MASK: Final = BLOB_FIELDS[InputKind.MASK]
_OTHER_TYPES: Final = frozenset({"gif", "svg"})


@dataclass(frozen=True, slots=True)
class Said:
    """A request as it came: its fields without nulls, and its files."""

    fields: Mapping[str, object]
    files: Mapping[str, tuple[bytes, ...]]
    is_strict: bool
    """False, if numbers and flags may be texts, as in a form."""


@dataclass(slots=True)
class Translated:
    """A request as the fields of a job."""

    theirs: OpenAiFields
    job: dict[str, object]
    """Fields of a JobInput, without the engine and the size that are still to be chosen."""
    files: dict[InputKind, bytes] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    """Fields of the job that the client knows by another name."""
    warnings: list[str] = field(default_factory=list)

    def in_their_words(self, error: SpoonError) -> SpoonError:
        """A refusal whose fields have the client's names."""
        return renamed(error, self._name_of)

    def _name_of(self, name: str) -> str:
        head = _HEAD.match(name)
        assert head is not None, "it also matches nothing"
        return f"{self.names.get(head[0], head[0])}{name[head.end() :]}"


def translated(kind: type[OpenAiFields], said: Said) -> Translated:
    """A request as the fields of a job.

    Raises: InvalidField or NotSupported with every wrong field.
    """
    faults = ValidationErrors()
    own = {name: value for name, value in said.fields.items() if name in kind.__struct_encode_fields__}
    theirs = read_fields(kind, own, frozenset(), check_words, strict=said.is_strict)
    made = Translated(theirs, {})
    for name in NO_EFFECT:
        _tell_in_vain(name, said, made)
    for name, value in said.fields.items():
        if name not in own and name not in NO_EFFECT:
            _take_over(name, value, made, faults)
    _put_common(theirs, made, faults)
    _put_images(theirs, said.files, made, faults)
    faults.raise_if_any()
    made.job.setdefault("give_up_after", GIVE_UP_AFTER_S)
    return made


def _tell_in_vain(name: str, said: Said, made: Translated) -> None:
    value = said.fields.get(name)
    is_asked = value is not None and value not in NOTHING_ASKED
    if is_asked or name in said.files:
        made.warnings.append(f"{name} has no effect: {NO_EFFECT[name]}")


def _take_over(name: str, value: object, made: Translated, faults: ValidationErrors) -> None:
    """A field of a job, maybe by the name that another tool has for it."""
    ours = name if name in _JOB_FIELDS else our_name(name, _JOB_FIELDS) or name
    _put(made, ours, value, name, faults)


def _put(made: Translated, ours: str, value: object, theirs: str, faults: ValidationErrors) -> None:
    if ours in made.job:
        faults.wrong(theirs, f"contradicts {made.names.get(ours, ours)}: set one of them")
        return
    made.job[ours] = value
    if ours != theirs:
        made.names[ours] = theirs


def _put_common(theirs: OpenAiFields, made: Translated, faults: ValidationErrors) -> None:
    if theirs.n is not None:
        _put(made, "count", theirs.n, "n", faults)
    if theirs.size is not None:
        _put_size(theirs.size, made, faults)
    if theirs.output_format is not None:
        _put_file_type(theirs.output_format, made, faults)
    _put_quality(theirs, made, faults)
    if theirs.partial_images:
        if theirs.stream:
            made.job["previews"] = True
        else:
            made.warnings.append("partial_images has no effect without stream")
    if theirs.background == Background.TRANSPARENT and _file_type(made) is ImageFileType.JPEG:
        faults.wrong("background", "transparent requires output_format png or webp: jpeg has no transparency")


def _put_size(size: str, made: Translated, faults: ValidationErrors) -> None:
    if size.strip().lower() in NOTHING_ASKED:
        return
    found = _SIZE.fullmatch(size)
    if found is None:
        faults.wrong("size", "must be WIDTHxHEIGHT in pixels, such as 512x768, or auto")
        return
    for ours, pixels in zip(("width", "height"), found.groups(), strict=True):
        _put(made, ours, int(pixels), "size", faults)


def _put_file_type(said: str, made: Translated, faults: ValidationErrors) -> None:
    wanted = said.strip().lower()
    if wanted in _OTHER_TYPES:
        known = ", ".join(ImageFileType)
        faults.wrong("output_format", f"{wanted} is not supported: images are still and of pixels ({known})")
    elif wanted not in NOTHING_ASKED:
        _put(made, "image_file_type", wanted, "output_format", faults)


def _file_type(made: Translated) -> ImageFileType | None:
    """The type of the files; None, if it is none that there is, which is refused with the job."""
    return find_choice(ImageFileType, str(made.job.get("image_file_type", ImageFileType.PNG)))


def _put_quality(theirs: OpenAiFields, made: Translated, faults: ValidationErrors) -> None:
    """OpenAI's quality is a word and its compression a number, which is our quality."""
    quality = theirs.quality
    if isinstance(quality, int) or (quality is not None and quality.strip().isdecimal()):
        _put(made, "quality", quality, "quality", faults)
    elif quality is not None and quality.strip().lower() not in NOTHING_ASKED:
        made.warnings.append("quality has no effect: set steps")
    if theirs.output_compression is None:
        return
    if _file_type(made) is not ImageFileType.PNG:
        _put(made, "quality", max(1, theirs.output_compression), "output_compression", faults)
    else:
        made.warnings.append("output_compression has no effect: png has no quality")


def _put_images(
    theirs: OpenAiFields,
    files: Mapping[str, tuple[bytes, ...]],
    made: Translated,
    faults: ValidationErrors,
) -> None:
    """The images as those of a job, and what cannot be missing beside them."""
    for kind, ours in BLOB_FIELDS.items():
        if ours in files:
            made.files[kind] = files[ours][0]
    match theirs:
        case OpenAiGeneration():
            _put_prompt(theirs.prompt, made, faults)
        case OpenAiEdit():
            _put_prompt(theirs.prompt, made, faults)
            _put_image(theirs.image, files.get("image", ()), made, faults)
            _put_mask(theirs.mask, files.get("mask", ()), made, faults)
        case OpenAiVariation():
            _put_image(theirs.image, files.get("image", ()), made, faults)


def _put_prompt(prompt: str | None, made: Translated, faults: ValidationErrors) -> None:
    if prompt is not None:
        made.job["prompt"] = prompt
    elif _LIKE not in made.job and "prompt" not in made.job:
        faults.wrong("prompt", "is required")


def _put_image(
    text: str | tuple[str, ...] | None,
    files: tuple[bytes, ...],
    made: Translated,
    faults: ValidationErrors,
) -> None:
    """The first image; OpenAI's models combine several."""
    texts = (text,) if isinstance(text, str) else text or ()
    if len(files) + len(texts) > 1:
        made.warnings.append("image: only the first one has an effect, because an image is made of one other")
    if files:
        made.files[InputKind.REFERENCE] = files[0]
        made.names[_REFERENCE] = "image"
    elif texts:
        _put(made, _REFERENCE, texts[0], "image", faults)
    elif not ({_REFERENCE, _LIKE} & made.job.keys() or InputKind.REFERENCE in made.files):
        faults.wrong("image", "is required")


def _put_mask(text: str | None, files: tuple[bytes, ...], made: Translated, faults: ValidationErrors) -> None:
    """Theirs marks by transparency, unless the request says otherwise."""
    if files:
        made.files[InputKind.MASK] = files[0]
        made.names[_MASK] = "mask"
    elif text is not None:
        _put(made, _MASK, text, "mask", faults)
    else:
        return
    made.job.setdefault("mask_mode", MaskMode.ALPHA.value)
