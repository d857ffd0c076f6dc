"""Finds a job's model in its order, resolves it to files, and checks its type and base."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from engine_worker.formats.allowed_paths import ANYWHERE, ModelFile, open_file, resolve
from engine_worker.formats.component_folder import describe_component
from engine_worker.formats.inspection_result import InspectionResult
from engine_worker.formats.model_folder import ModelFolder
from engine_worker.formats.single_file import describe_file
from kernel.protocol.enums import ModelBase, ModelType
from kernel.protocol.errors import JobRejected, ModelUnreadable
from kernel.protocol.ids import ModelId
from kernel.protocol.model_refs import ModelSource


def find_source(sources: Iterable[ModelSource], model_id: ModelId, wanted: ModelType) -> ModelSource:
    """The source of the model with that id.

    Raises: JobRejected, if it is missing, or is a model of another type.
    """
    source = next((source for source in sources if source.model_id == model_id), None)
    if source is None:
        raise JobRejected(f"the source of {wanted} {model_id} is missing from the order")
    if source.model_type is not wanted:
        raise JobRejected(f"{source.name} is a {source.model_type}, but the job uses it as a {wanted}")
    return source


def resolve_model(
    source: ModelSource, wanted: ModelType, base: ModelBase, roots: Sequence[Path] = ANYWHERE
) -> ModelFile | ModelFolder:
    """Open the file or folder of a model of that type, for that base.

    Raises: ModelUnreadable, if inspection finds another type or base, or what is beside it has changed.
    """
    path = resolve(source.uri, roots)
    found: ModelFile | ModelFolder
    if path.is_dir():
        found = ModelFolder(path, roots)
        inspected = describe_component(found, source.variant)
    else:
        found = open_file(path, roots)
        inspected = describe_file(found)
    if inspected.model_type is not wanted:
        raise ModelUnreadable(f"{source.name} is a {inspected.model_type}, not a {wanted}")
    check_beside(source, inspected)
    theirs = inspected.model_base or source.model_base
    if theirs not in (None, base):
        raise ModelUnreadable(f"{source.name} is for {theirs}, but the checkpoint is {base}")
    return found


def check_beside(source: ModelSource, inspected: InspectionResult) -> None:
    """Check that what decides a model's images, but is not in its file, is what its registration found.

    Raises: ModelUnreadable.
    """
    if source.beside not in (None, inspected.beside):
        name = (source.beside or inspected.beside).partition(" ")[0]
        raise ModelUnreadable(
            f"the file {name} beside {source.name}, which decides its images, has changed since its "
            "registration: retry the model to take it as it is now"
        )
