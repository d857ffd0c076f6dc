"""Reads the files that other tools keep beside a model: its trigger words, its base, its thumbnail.

    NAME.json            A1111 and Forge ("activation text", "sd version"), or CivitAI's answer for the model
    NAME.civitai.info    CivitAI's answer for the version (trainedWords, baseModel)
    NAME.metadata.json   the same under `civitai`, with base_model
    NAME.cm-info.json    TrainedWords, BaseModel
    NAME.preview.png     the thumbnail; also without `.preview`, and as .jpg, .jpeg or .webp

Beside a folder they have its name; in it they may have none.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from engine_worker.fetch.scanning.base_hints import base_of_name
from engine_worker.formats.allowed_paths import ModelFile, find_file
from engine_worker.formats.metadata import words_of
from kernel.process.log import line
from kernel.protocol.enums import ModelBase
from kernel.protocol.type_info import analyzed

MAX_SIDECAR_BYTES: Final = 4 << 20
"""CivitAI's answer with the prompts of all sample images has some hundred KB."""
_INFOS: Final = (".json", ".civitai.info", ".metadata.json", ".cm-info.json")
_IMAGES: Final = tuple(
    f"{infix}{ending}" for infix in (".preview", "") for ending in (".png", ".jpg", ".jpeg", ".webp")
)
_MAGIC_BYTES: Final = 12
_BOM: Final = b"\xef\xbb\xbf"
_PNG, _JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
_Words = list[str | None] | str | None

_log: Final = logging.getLogger(__name__)


class _Version(msgspec.Struct, frozen=True, kw_only=True):
    trained_words: _Words = msgspec.field(name="trainedWords", default=None)
    base: str | None = msgspec.field(name="baseModel", default=None)


class _Info(_Version, frozen=True, kw_only=True):
    """What is read of any of these files; other fields are skipped."""

    activation_text: str | None = msgspec.field(name="activation text", default=None)
    sd_version: str | None = msgspec.field(name="sd version", default=None)
    base_model: str | None = None
    words_of_cm: _Words = msgspec.field(name="TrainedWords", default=None)
    base_of_cm: str | None = msgspec.field(name="BaseModel", default=None)
    civitai: _Version | None = None
    versions: list[_Version] | None = msgspec.field(name="modelVersions", default=None)


@dataclass(frozen=True, slots=True)
class Sidecars:
    """What the files beside a model say."""

    trigger_words: tuple[str, ...] = ()
    base: ModelBase | None = None
    thumbnail: Path | None = None


def names_beside(name: str) -> tuple[str, ...]:
    """The names that sidecars of a model may have, in the order of their worth; `name` has no suffix."""
    return tuple(f"{name}{ending}" for ending in (*_INFOS, *_IMAGES))


def read_sidecars(model: Path, is_folder: bool, roots: Sequence[Path]) -> Sidecars:
    """Read what lies beside a model and, of a folder, in it. What cannot be read is logged and left out."""
    words: list[str] = []
    bases: list[ModelBase | None] = []
    for path in _paths(model, is_folder, _INFOS):
        info = _read_info(path, roots)
        if info is not None:
            words += _words(info)
            bases += [base_of_name(said) for said in _said_bases(info)]
    return Sidecars(
        trigger_words=words_of(words),
        base=next((base for base in bases if base is not None), None),
        thumbnail=next(
            (path for path in _paths(model, is_folder, _IMAGES) if _is_image(find_file(path, roots))), None
        ),
    )


def _paths(model: Path, is_folder: bool, endings: Sequence[str]) -> Iterator[Path]:
    name = model.name if is_folder else model.stem
    for ending in endings:
        yield model.with_name(f"{name}{ending}")
    if is_folder:
        for ending in endings:
            yield model / f"{name}{ending}"
        yield from (model / ending[1:] for ending in endings if ending.count(".") > 1)


def _read_info(path: Path, roots: Sequence[Path]) -> _Info | None:
    held = find_file(path, roots)
    if held is None:
        return None
    try:
        with held.open() as file:
            text = file.read(MAX_SIDECAR_BYTES + 1)
        if len(text) > MAX_SIDECAR_BYTES:
            raise ValueError("it is too long")
        return msgspec.json.decode(text.removeprefix(_BOM), type=analyzed(_Info))
    except (OSError, ValueError, RecursionError, msgspec.DecodeError) as error:
        _log.info(line("sidecar_ignored", path=path, error=error))
        return None


def _words(info: _Info) -> Iterator[str]:
    # The words of a version are the file's own only if there is no other version.
    versions = info.versions if info.versions is not None and len(info.versions) == 1 else []
    nested = [version.trained_words for version in (info.civitai, *versions) if version is not None]
    for said in (info.activation_text, info.trained_words, info.words_of_cm, *nested):
        for phrase in [said] if isinstance(said, str) else said or []:
            # What is in angle brackets calls the model; it is no word that the model was trained on.
            yield from (word for word in (phrase or "").split(",") if "<" not in word)


def _said_bases(info: _Info) -> Iterator[str]:
    nested = None if info.civitai is None else info.civitai.base
    for said in (info.sd_version, info.base, info.base_model, info.base_of_cm, nested):
        if said is not None:
            yield said


def _is_image(held: ModelFile | None) -> bool:
    """True if a file begins as PNG, JPEG or WebP does."""
    if held is None:
        return False
    try:
        with held.open() as file:
            first = file.read(_MAGIC_BYTES)
    except OSError as error:
        _log.info(line("sidecar_ignored", path=held.path, error=error))
        return False
    return first.startswith((_PNG, _JPEG)) or (first[:4] == b"RIFF" and first[8:12] == b"WEBP")
