"""From a source to the files of a model that is laid over a checkpoint: of the right type and family."""

from pathlib import Path

from engine_worker.fetch.component_folder import describe_component
from engine_worker.fetch.model_folder import ModelFolder
from engine_worker.fetch.one_file import describe_file
from engine_worker.files import resolve
from kernel.protocol.errors import ModelUnreadable
from kernel.protocol.ingredients import ModelSource
from kernel.protocol.vocabulary import ModelBase, ModelType

# The worker has confined the address to the allowed folders before it comes here, and inspection the links
# inside a folder when it was registered.
ANYWHERE = (Path("/"),)


def locate(source: ModelSource, wanted: ModelType, base: ModelBase) -> Path:
    """Where the model's file or folder is, which inspection finds to be one of that type, for that base.

    Raises: ModelUnreadable.
    """
    path = resolve(source.uri, ANYWHERE)
    if path.is_dir():
        finding = describe_component(ModelFolder(path, ANYWHERE), source.variant)
    else:
        finding = describe_file(path)
    if finding.model_type is not wanted:
        raise ModelUnreadable(f"{source.name} is a {finding.model_type}, not a {wanted}")
    found = finding.model_base or source.model_base
    if found not in (None, base):
        raise ModelUnreadable(f"{source.name} is for {found}, and the checkpoint is {base}")
    return path
