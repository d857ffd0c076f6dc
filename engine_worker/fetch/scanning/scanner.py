"""Reads the models in the folders that people already have: each by its headers, with what lies beside it.

A file that cannot be used is reported with its reason and the way out, and never ends the scan.
"""

import logging
import shlex
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import msgspec

from engine_worker.fetch.inspection import Subject, describe, describe_or_name, fingerprint_of
from engine_worker.fetch.scanning.base_hints import base_of_place
from engine_worker.fetch.scanning.listing import GGUF, Candidate, list_candidates, text_of
from engine_worker.fetch.scanning.sidecars import Sidecars, read_sidecars
from engine_worker.fetch.scanning.stamps import mark_of, mark_of_files
from engine_worker.formats.allowed_paths import ModelFile, find_file
from engine_worker.formats.file_kinds import FileKind, kind_by_name
from engine_worker.formats.inspection_result import InspectionResult
from engine_worker.formats.metadata import words_of
from engine_worker.formats.model_folder import ModelFolder
from engine_worker.port import ScanReport
from kernel.process.log import line
from kernel.protocol.enums import ModelType
from kernel.protocol.errors import ModelUnreadable
from kernel.protocol.specs import Fingerprint
from kernel.protocol.worker import FileScanned, ScanBegun, ScanEnded, ScanFolders, ScanProgress

MAX_TEXT: Final = 2_000
_TYPES_BY_FOLDER: Final = {
    "stable-diffusion": ModelType.CHECKPOINT,
    "checkpoints": ModelType.CHECKPOINT,
    "main": ModelType.CHECKPOINT,
    "lora": ModelType.LORA,
    "loras": ModelType.LORA,
    "lycoris": ModelType.LORA,
    "vae": ModelType.VAE,
    "embedding": ModelType.EMBEDDING,
    "embeddings": ModelType.EMBEDDING,
    "textual_inversion": ModelType.EMBEDDING,
    "controlnet": ModelType.CONTROLNET,
}
"""The folders of A1111, Forge, ComfyUI and InvokeAI. Content decides; this is for what is not opened."""
_OTHER_FILE: Final = "use a .safetensors file of the model"
_BROKE: Final = "could not be read because of an unexpected error: see the log of the server"

_log: Final = logging.getLogger(__name__)
_Model = ModelFile | ModelFolder


class Scanner:
    """Looks through folders for models."""

    def __init__(self, roots: Sequence[Path], own_folder: Path | None = None) -> None:
        """`roots` are the folders that may be read; what is in `own_folder` was put there by this server, and
        is registered already."""
        self._roots = roots
        self._own_folder = own_folder

    def scan(self, order: ScanFolders) -> Iterator[ScanReport]:
        """List the folders, then read each file that is not known; none is open between two reports."""
        listing = list_candidates(order.folders, self._roots, self._own_folder)
        known = frozenset(order.known)
        stamps = {candidate.stamp for candidate in listing.candidates}
        unknown = [candidate for candidate in listing.candidates if candidate.stamp not in known]
        yield ScanBegun(
            files=len(listing.candidates),
            unknown=len(unknown),
            gone=tuple(sorted(known - stamps)) if listing.is_complete else (),
            absent=tuple(listing.absent),
        )
        for candidate in unknown:
            yield ScanProgress(path=text_of(candidate.path), stamp=candidate.stamp)
            yield self.read(candidate)
        yield ScanEnded()

    def read(self, candidate: Candidate) -> FileScanned:
        """What a candidate is, or why it cannot be used."""
        scanned = FileScanned(path=text_of(candidate.path), stamp=candidate.stamp)
        model: _Model | None = None
        try:
            model = self._open(candidate)
            fingerprint, thumbnail = self._describe(candidate, model)
            return msgspec.structs.replace(
                scanned, mark=_mark(model), fingerprint=fingerprint, thumbnail=thumbnail
            )
        except ModelUnreadable as error:
            return msgspec.structs.replace(
                scanned, mark=_mark(model), code=error.code, text=_plain(error.detail)
            )
        except Exception:  # noqa: BLE001 - one file must not end the scan of all
            _log.error(line("scan_broke", path=scanned.path, error=traceback.format_exc()))
            text = _plain(f"{candidate.path.name} {_BROKE}")
            return msgspec.structs.replace(scanned, code=ModelUnreadable.code, text=text)

    def _open(self, candidate: Candidate) -> _Model:
        """Raises: ModelUnreadable."""
        path = candidate.path
        if candidate.problem:
            raise ModelUnreadable(f"{path.name} {candidate.problem}")
        if candidate.is_folder:
            return ModelFolder(path, self._roots)
        held = find_file(path, self._roots)
        if held is None:
            raise ModelUnreadable(f"{path.name} was removed or replaced while it was being read")
        return held

    def _describe(self, candidate: Candidate, model: _Model) -> tuple[Fingerprint, str | None]:
        """What a model is, and the path of its thumbnail. Raises: ModelUnreadable."""
        inspected = _inspect(candidate, model)
        beside = read_sidecars(candidate.path, candidate.is_folder, self._roots)
        inspected = replace(inspected, trigger_words=_trigger_words(inspected, beside))
        base = None
        if inspected.model_type is not ModelType.BACKGROUND:
            base = beside.base or base_of_place(candidate.path, candidate.top, inspected.model_type)
        thumbnail = None if beside.thumbnail is None else text_of(beside.thumbnail)
        return fingerprint_of(inspected, (str(candidate.path),), base, _size_bytes(model)), thumbnail


def _inspect(candidate: Candidate, model: _Model) -> InspectionResult:
    """Raises: ModelUnreadable."""
    if isinstance(model, ModelFolder):
        return describe(Subject(model, None))
    if candidate.path.suffix.lower() == GGUF:
        raise ModelUnreadable(f"{model.name} is a GGUF file, which is not supported: {_OTHER_FILE}")
    kind = kind_by_name(candidate.path)
    if kind is FileKind.PICKLE:
        raise ModelUnreadable(_pickle_text(candidate))
    return describe_or_name(Subject(model, kind), lambda _: _OTHER_FILE)


def _pickle_text(candidate: Candidate) -> str:
    folders = reversed([candidate.top.name, *candidate.path.parent.relative_to(candidate.top).parts])
    found = (_TYPES_BY_FOLDER.get(name.lower()) for name in folders)
    model_type = next((one.value for one in found if one is not None), "TYPE")
    command = f"spoon models add {shlex.quote(text_of(candidate.path))} --type {model_type}"
    return (
        f"{candidate.path.name} is a pickle, which can run arbitrary code when opened, so it is not used in "
        f"place: {_OTHER_FILE}, or set models.allow_pickle = true and have it converted with `{command}`"
    )


def _trigger_words(inspected: InspectionResult, beside: Sidecars) -> tuple[str, ...]:
    """Those of people come before those of the file. An embedding is called by its own word or its name,
    never by a word that others wrote beside it: each use of that word would call it."""
    if inspected.model_type not in (ModelType.CHECKPOINT, ModelType.LORA):
        return inspected.trigger_words
    return words_of((*beside.trigger_words, *inspected.trigger_words))


def _mark(model: _Model | None) -> str:
    """The mark of a model; none, if it cannot be opened or read."""
    try:
        if isinstance(model, ModelFolder):
            files = model.opened_files()
            return mark_of_files(files) if files else ""
        return "" if model is None else mark_of(model)
    except OSError as error:
        _log.info(line("mark_failed", error=error))
        return ""


def _size_bytes(model: _Model) -> int:
    if isinstance(model, ModelFolder):
        return sum(held.size_bytes for held in model.opened_files().values())
    return model.size_bytes


def _plain(text: str) -> str:
    """What a person may be shown: without characters that command a terminal."""
    return "".join(one if one.isprintable() else "?" for one in text)[:MAX_TEXT]
