"""Inspects a model: checks that it is what its source says, and reads its properties.

Only headers are interpreted; the rest of a file is read for its sha256, which a scan leaves out. No model is
loaded here.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from engine_worker.fetch.digest import Digest, Moved, digest_file, digest_files
from engine_worker.formats.allowed_paths import ModelFile
from engine_worker.formats.component_folder import describe_component, is_component
from engine_worker.formats.diffusers_folder import describe_folder
from engine_worker.formats.file_kinds import FileKind, stranger_in
from engine_worker.formats.inspection_result import InspectionResult, variant_of
from engine_worker.formats.model_folder import ModelFolder
from engine_worker.formats.onnx_background import describe_background, terms_of
from engine_worker.formats.single_file import describe_file
from engine_worker.formats.tensor_places import listed
from kernel.process.log import line
from kernel.protocol.enums import ModelBase, ModelType, Variant
from kernel.protocol.errors import ModelUnreadable
from kernel.protocol.model_refs import ModelSource
from kernel.protocol.specs import Fingerprint

_log: Final = logging.getLogger(__name__)
ONE_FILE: Final = ""
"""The name under which the digest of a single file is known."""


@dataclass(frozen=True, slots=True)
class Subject:
    """The model to inspect."""

    model: ModelFile | ModelFolder
    kind: FileKind | None
    """None for a folder."""
    hashes: Mapping[str, str] = field(default_factory=dict)
    """sha256 digests that need not be computed again: of a folder's files by name, or of the file."""


def inspect(source: ModelSource, subject: Subject, moved: Moved) -> Fingerprint:
    """Inspect a model, first its headers, then its bytes.

    Raises: ModelUnreadable, if it cannot be used, with the reason for the person who registered it.
    """
    inspected = describe_or_name(subject, _remedy_of, source.variant)
    _check_declared(source, inspected)
    _check_size(source, inspected)
    digest = _digest(source, subject, moved)
    if inspected.leftovers:
        _log.info(line("tensors_ignored", model_id=source.model_id, tensors=listed(inspected.leftovers)))
    if source.sha256 is not None and source.sha256.lower() != digest.sha256:
        if source.known_bytes is not None:
            raise ModelUnreadable("it has changed since it was registered: retry it to take it as it is now")
        raise ModelUnreadable(f"the model's sha256 is {digest.sha256}, but {source.sha256} was declared")
    names = (source.name, source.uri)
    return fingerprint_of(inspected, names, source.model_base, digest.size_bytes, digest.sha256)


def _remedy_of(stranger: str) -> str:
    return "name it .ckpt, or use safetensors" if stranger == "a pickle" else "fetch it again"


def describe_or_name(
    subject: Subject, remedy_of: Callable[[str], str], variant: Variant | None = None
) -> InspectionResult:
    """As `describe`. Of a file that is something else by its first bytes, the error says what, and the remedy
    that is made of these words."""
    try:
        return describe(subject, variant)
    except ModelUnreadable as error:
        model = subject.model
        stranger = stranger_in(model) if isinstance(model, ModelFile) else None
        if stranger is None:
            raise
        text = f"{model.path.name} is {stranger}, not a model file: {remedy_of(stranger)}"
        raise ModelUnreadable(text) from error


def describe(subject: Subject, variant: Variant | None = None) -> InspectionResult:
    """Describe a model by its headers; of a folder, `variant` is preferred if its weights exist in several,
    and all model files are open afterwards.

    Raises: ModelUnreadable.
    """
    if isinstance(subject.model, ModelFolder):
        folder = subject.model
        folder.model_files()
        return (describe_component if is_component(folder) else describe_folder)(folder, variant)
    return (describe_background if subject.kind is FileKind.ONNX else describe_file)(subject.model)


def fingerprint_of(
    inspected: InspectionResult,
    names: Sequence[str],
    said_base: ModelBase | None,
    size_bytes: int,
    sha256: str | None = None,
) -> Fingerprint:
    """The report of an inspection. The content's base, if it tells one, is believed before `said_base`.
    `names`: the model's name, its address, or its path."""
    terms = terms_of(names) if inspected.model_type is ModelType.BACKGROUND else ()
    return Fingerprint(
        model_type=inspected.model_type,
        model_base=inspected.model_base or said_base,
        variant=variant_of(inspected.weights),
        sha256=sha256,
        size_bytes=size_bytes,
        memory_bytes=sum(entry.size_bytes for entry in inspected.weights),
        parameters=sum(entry.parameters for entry in inspected.weights),
        prediction_type=inspected.prediction_type,
        native_size_px=inspected.native_size_px,
        memory=inspected.memory,
        trigger_words=inspected.trigger_words,
        control_type=inspected.control_type,
        warnings=(*inspected.warnings, *terms),
        beside=inspected.beside,
    )


def _digest(source: ModelSource, subject: Subject, moved: Moved) -> Digest:
    """The digest; that of a model that was inspected before is believed while its size is the same."""
    if isinstance(subject.model, ModelFolder):
        # Links to folders are not walked through, but what loading reached through them is open and counts.
        files = sorted(subject.model.opened_files().items())
        size_bytes = sum(held.size_bytes for _, held in files)
        if source.sha256 is not None and source.known_bytes == size_bytes:
            return Digest(source.sha256, size_bytes)
        return digest_files(files, moved, subject.hashes)
    if source.sha256 is not None and source.known_bytes == subject.model.size_bytes:
        return Digest(source.sha256, subject.model.size_bytes)
    known = subject.hashes.get(ONE_FILE)
    return digest_file(subject.model, moved) if known is None else Digest(known, subject.model.size_bytes)


def _check_declared(source: ModelSource, inspected: InspectionResult) -> None:
    if inspected.model_type is not source.model_type:
        raise ModelUnreadable(f"the model is of type {inspected.model_type}, not {source.model_type}")
    if (
        None not in (inspected.model_base, source.model_base)
        and inspected.model_base is not source.model_base
    ):
        raise ModelUnreadable(f"the model is for {inspected.model_base}, not {source.model_base}")


def _check_size(source: ModelSource, inspected: InspectionResult) -> None:
    """Check the declared input size of a background remover if its file fixes the size.

    Raises: ModelUnreadable.
    """
    said = None if source.preparation is None else source.preparation.input_size
    side = inspected.native_size_px
    if said is not None and side is not None and said != (side, side):
        raise ModelUnreadable(f"the model's input size is {side} x {side} pixels, not {said[0]} x {said[1]}")
