"""What lies in the folders of pictures and models just now, as far as decisions depend on it."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from kernel.core.events import KeptModel
from kernel.core.rows import ModelRow
from kernel.protocol.enums import ModelState
from kernel.protocol.ids import ModelId
from kernel.shell.model_files import is_there, kept_models
from kernel.shell.storage_audit import names_in


@dataclass(frozen=True, slots=True)
class StorageFolders:
    """The folders of an installation."""

    images: Path
    models: Path

    def pictures(self) -> frozenset[str]:
        """The names of all that is in the folder of pictures. Raises: OSError."""
        return names_in(self.images)

    def kept_models(self) -> tuple[KeptModel, ...]:
        """What the models folder keeps, whether a model is made of it or not."""
        return kept_models(self.models)

    def absent_models(self, rows: Iterable[ModelRow]) -> frozenset[ModelId]:
        """Those of these models that should be there, and are not."""
        return frozenset(
            row.model_id
            for row in rows
            if row.status is not ModelState.DOWNLOADING and not is_there(self.models, row)
        )
