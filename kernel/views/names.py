"""The names of the engines and models that rows refer to by id."""

from collections.abc import Iterable
from dataclasses import dataclass

import msgspec

from kernel.protocol.ids import EngineId
from kernel.protocol.model_refs import OWN_VAE
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
    removers = spec.remove_background if isinstance(spec, JobSpec) else ()
    loras = (use.model_id for use in spec.loras)
    others = (*loras, *spec.embeddings, *spec.control_models, *removers)
    vae = None if spec.vae == OWN_VAE else spec.vae
    return [*dict.fromkeys(one for one in (engine_id, own, vae, *others) if one is not None)]
