"""Inspection: is a model what it is said to be, and what else is there to know about it?

Only headers are interpreted; the rest of a file is read for its sha256 alone. No model is loaded here.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from engine_worker.fetch.component_folder import describe_component, is_component
from engine_worker.fetch.diffusers_folder import describe_folder
from engine_worker.fetch.digest import Digest, Moved, digest_file, digest_files
from engine_worker.fetch.finding import Finding, variant_of
from engine_worker.fetch.model_folder import ModelFolder
from engine_worker.fetch.one_file import describe_file
from engine_worker.files import resolve
from kernel.protocol.errors import ModelUnreadable
from kernel.protocol.ingredients import ModelSource
from kernel.protocol.specs import Fingerprint
from kernel.protocol.vocabulary import ModelType

PICKLES: Final = frozenset({".ckpt", ".pt", ".pth", ".bin", ".pkl", ".pickle"})


def inspect(source: ModelSource, roots: Sequence[Path], moved: Moved) -> Fingerprint:
    """Find out what the model is, first by its headers, then by its bytes.

    Raises: ModelUnreadable, if it cannot be used, with the reason in words for the one who registered it.
    """
    path = resolve(source.uri, roots)
    if path.is_dir():
        folder = ModelFolder(path, roots)
        files = folder.model_files()
        describe = describe_component if is_component(folder) else describe_folder
        finding = describe(folder, source.variant)
        _check_declared(source, finding)
        return _fingerprint(source, finding, digest_files(files, moved))
    if path.suffix.lower() == ".onnx":
        return _background(source, digest_file(path, moved))
    _check_ending(path)
    finding = describe_file(path)
    _check_declared(source, finding)
    return _fingerprint(source, finding, digest_file(path, moved))


def _check_ending(path: Path) -> None:
    ending = path.suffix.lower()
    if ending in PICKLES:
        raise ModelUnreadable(
            f"{path.name} is a pickle, which can run any code when it is opened: convert it to .safetensors"
        )
    if ending != ".safetensors":
        raise ModelUnreadable(f"{path.name} is neither a .safetensors file nor a diffusers folder")


def _check_declared(source: ModelSource, finding: Finding) -> None:
    if finding.model_type is not source.model_type:
        raise ModelUnreadable(f"this is a model of type {finding.model_type}, not {source.model_type}")
    if None not in (finding.model_base, source.model_base) and finding.model_base is not source.model_base:
        raise ModelUnreadable(f"this model is for {finding.model_base}, not for {source.model_base}")


def _background(source: ModelSource, digest: Digest) -> Fingerprint:
    """An ONNX file has no header that could be read by itself: it is what its ending says."""
    finding = Finding(model_type=ModelType.BACKGROUND, model_base=None, weights=())
    _check_declared(source, finding)
    return _fingerprint(source, finding, digest)


def _fingerprint(source: ModelSource, finding: Finding, digest: Digest) -> Fingerprint:
    if source.sha256 is not None and source.sha256.lower() != digest.sha256:
        raise ModelUnreadable(f"its sha256 is {digest.sha256}, but {source.sha256} was declared")
    is_counted = finding.model_type is not ModelType.BACKGROUND
    weights_bytes = sum(entry.size_bytes for entry in finding.weights)
    return Fingerprint(
        model_type=finding.model_type,
        model_base=finding.model_base or source.model_base,
        variant=variant_of(finding.weights),
        sha256=digest.sha256,
        size_bytes=digest.size_bytes,
        memory_bytes=weights_bytes if is_counted else digest.size_bytes,
        parameters=sum(entry.parameters for entry in finding.weights),
        prediction_type=finding.prediction_type,
        native_size_px=finding.native_size_px,
        memory=finding.memory,
    )
