"""The names of the engines and models that rows refer to by id."""

from collections.abc import Iterable
from dataclasses import dataclass

import msgspec

from kernel.protocol.ids import EngineId
from kernel.protocol.named_models import model_ids_of
from kernel.protocol.specs import EngineSpec, JobSpec
from kernel.views.reader import Reader
from kernel.views.rows import Name

Referring = tuple[EngineId, EngineSpec | JobSpec, str | None]
"""An engine, the values that name models, and a checkpoint if these do not name it."""


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
    engine_id, spec, checkpoint = row
    own = spec.checkpoint if isinstance(spec, EngineSpec) else checkpoint
    return [one for one in dict.fromkeys((engine_id, own, *model_ids_of(spec))) if one is not None]
