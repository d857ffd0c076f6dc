"""Resolves model names where an id is expected, if only one model has the name."""

from collections.abc import Sequence
from typing import Final

from api.http.contract.validation_errors import ValidationErrors
from kernel.protocol.enums import ModelState, ModelType
from kernel.protocol.ids import ModelId
from kernel.protocol.rows import ModelRow
from kernel.views.models import ModelFilter, find_model, list_models
from kernel.views.reader import Reader

MAX_NAMED: Final = 5
"""Models with one name that a refusal lists."""


class ModelNames:
    """Looks names up in the database; the Manager checks whether a model fits."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def id_of(self, field: str, given: str, kind: ModelType, faults: ValidationErrors) -> ModelId:
        """The id: `given` itself if such an id exists, or no model has that name.

        Of several models with the name, those of the right type count, and of these the ready ones.
        """
        if find_model(self._reader, ModelId(given)) is not None:
            return ModelId(given)
        named = self._named(given, kind) or self._named(given, None)
        ready = [row for row in named if row.status is ModelState.READY]
        found = ready or named
        if len(found) > 1:
            faults.wrong(field, several(given, found))
        return found[0].model_id if found else ModelId(given)

    def ids_of(
        self, field: str, given: Sequence[str], kind: ModelType, faults: ValidationErrors
    ) -> tuple[ModelId, ...]:
        """The ids, in the same order."""
        ids = tuple(self.id_of(f"{field}[{index}]", one, kind, faults) for index, one in enumerate(given))
        if len(set(ids)) < len(ids):
            faults.wrong(field, "must not repeat a model")
        return ids

    def _named(self, name: str, kind: ModelType | None) -> tuple[ModelRow, ...]:
        wanted = ModelFilter(name=name, model_type=kind)
        return list_models(self._reader, wanted, MAX_NAMED).items


def several(name: str, found: Sequence[ModelRow]) -> str:
    """The message that lists the models with this name, so that one can be chosen."""
    listed = "; ".join(f"{row.model_id} ({row.status} {row.model_type}, {row.uri})" for row in found)
    return f"several models are named {name!r}: use one of the ids {listed}"
