"""The names of the engines, models and API keys that rows refer to by id."""

from collections.abc import Iterable
from dataclasses import dataclass

import msgspec

from kernel.protocol.ids import EngineId, KeyId
from kernel.protocol.named_models import model_ids_of
from kernel.protocol.specs import EngineSpec, JobSpec
from kernel.views.reader import Reader
from kernel.views.rows import Name

Referring = tuple[EngineId, EngineSpec | JobSpec, str | None, KeyId | None]
"""An engine, the values that name models, a checkpoint if these do not name it, and an API key."""


@dataclass(frozen=True, slots=True)
class Names:
    """Names by id; deleted models, engines that left no images, and engines without a name, are missing."""

    by_id: dict[str, str]

    def of(self, row: Referring) -> dict[str, str]:
        """The names of what this one refers to."""
        return {one: self.by_id[one] for one in _ids(row) if one in self.by_id}


def names_of(reader: Reader, rows: Iterable[Referring]) -> Names:
    """Read the names of everything that these rows refer to, by one query for all."""
    wanted = sorted({one for row in rows for one in _ids(row)})
    found = reader.all("names", Name, {"ids": msgspec.json.encode(wanted).decode()})
    return Names({row.id: row.name for row in found})


def _ids(row: Referring) -> list[str]:
    """Every id, once."""
    engine_id, spec, checkpoint, key_id = row
    own = spec.checkpoint if isinstance(spec, EngineSpec) else checkpoint
    return [one for one in dict.fromkeys((engine_id, own, *model_ids_of(spec), key_id)) if one is not None]
