"""Finds a job's models among the sources that came with its order."""

from collections.abc import Iterable

from kernel.protocol.enums import ModelType
from kernel.protocol.errors import JobRejected
from kernel.protocol.ids import ModelId
from kernel.protocol.model_refs import ModelSource


def find_source(sources: Iterable[ModelSource], model_id: ModelId, wanted: ModelType) -> ModelSource:
    """The source of the model with that id.

    Raises: JobRejected, if it did not come along, or is a model of another type.
    """
    source = next((source for source in sources if source.model_id == model_id), None)
    if source is None:
        raise JobRejected(f"the source of {wanted} {model_id} is missing from the order")
    if source.model_type is not wanted:
        raise JobRejected(f"{source.name} is a {source.model_type}, but the job uses it as a {wanted}")
    return source
