"""Models, newest first."""

from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

from kernel.protocol.enums import ModelBase, ModelState, ModelType
from kernel.protocol.ids import ModelId
from kernel.protocol.rows import ModelRow, ScannedFile, ScanRow
from kernel.views.page import Page, id_cursor, page_of
from kernel.views.reader import Reader, SqlValue
from kernel.views.rows import Total

MOST_CALLED: Final = 100


@dataclass(frozen=True, slots=True)
class ModelFilter:
    """A filter of models; None matches all."""

    status: ModelState | None = None
    model_type: ModelType | None = None
    model_base: ModelBase | None = None
    name: str | None = None
    tag: str | None = None
    search: str | None = None
    """Text in its name, its tags, its trigger words or its source, in any case."""


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
            "search": wanted.search,
            "after": id_cursor(after),
            "limit": limit + 1,
        },
    )
    return page_of(found, limit, lambda row: row.model_id)


def models_called(reader: Reader, model_type: ModelType, name: str, stem: str, digest: str) -> list[ModelRow]:
    """Models of one type with this name, in any case, or with a file of this name (without its suffix), or
    whose sha256 begins with these digits; an empty text means none. At most MOST_CALLED."""
    values: dict[str, SqlValue] = {
        "model_type": model_type,
        "name": name,
        "stem": stem,
        "file": f"/{quote(stem)}." if stem else "",
        "digest": digest,
        "limit": MOST_CALLED,
    }
    return reader.all("models_called", ModelRow, values)


def last_scan(reader: Reader) -> ScanRow:
    """The last scan; one that has not begun, if there was none."""
    return reader.one("last_scan", ScanRow, {}) or ScanRow()


def count_unusable(reader: Reader) -> int:
    """Files of which there is no usable model."""
    found = reader.one("count_unusable", Total, {})
    return 0 if found is None else found.count


def list_unusable(reader: Reader, limit: int, after: str | None = None) -> Page[ScannedFile]:
    """A page of those files by path; the cursor is a path."""
    values: dict[str, SqlValue] = {"after": after or "", "limit": limit + 1}
    return page_of(reader.all("unusable", ScannedFile, values), limit, lambda row: row.path)
