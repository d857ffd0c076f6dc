"""Models, newest first."""

from dataclasses import dataclass

from kernel.protocol.enums import ModelBase, ModelState, ModelType
from kernel.protocol.ids import ModelId
from kernel.protocol.rows import ModelRow
from kernel.views.page import Page, id_cursor, page_of
from kernel.views.reader import Reader


@dataclass(frozen=True, slots=True)
class ModelFilter:
    """A filter of models; None matches all."""

    status: ModelState | None = None
    model_type: ModelType | None = None
    model_base: ModelBase | None = None
    name: str | None = None
    tag: str | None = None


def find_model(reader: Reader, model_id: ModelId) -> ModelRow | None:
    """One model by its id."""
    return reader.one("model", ModelRow, {"model_id": model_id})


def find_model_of(reader: Reader, uri: str) -> ModelRow | None:
    """The model that was registered from this source URI; None, if there is none."""
    return reader.one("model_of", ModelRow, {"uri": uri})


def models_named(reader: Reader, name: str, limit: int) -> list[ModelRow]:
    """The newest models with this name, which several may have."""
    return reader.all("models_named", ModelRow, {"name": name, "limit": limit})


def list_models_for(
    reader: Reader, checkpoint: ModelId, kind: ModelType | None, limit: int, after: str | None = None
) -> Page[ModelRow]:
    """A page of the ready models that engines with this checkpoint can use; `kind` None: of every type.

    Raises: InvalidField, if `after` is not a cursor.
    """
    values = {
        "checkpoint": checkpoint,
        "model_type": kind,
        "after": id_cursor(after),
        "limit": limit + 1,
    }
    return page_of(reader.all("models_for", ModelRow, values), limit, lambda row: row.model_id)


def list_models(reader: Reader, wanted: ModelFilter, limit: int, after: str | None = None) -> Page[ModelRow]:
    """A page of models.

    Raises: InvalidField, if `after` is not a cursor.
    """
    found = reader.all(
        "models",
        ModelRow,
        {
            "status": wanted.status,
            "model_type": wanted.model_type,
            "model_base": wanted.model_base,
            "name": wanted.name,
            "tag": wanted.tag,
            "after": id_cursor(after),
            "limit": limit + 1,
        },
    )
    return page_of(found, limit, lambda row: row.model_id)
