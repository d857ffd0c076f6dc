"""What lies in the folders of images, models and detectors just now, as far as decisions depend on it."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from kernel.core.events import KeptModel
from kernel.protocol.detectors import DETECTOR_FILES
from kernel.protocol.enums import ControlType, ModelState
from kernel.protocol.ids import ModelId
from kernel.protocol.rows import ModelRow
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


def absent_detectors(folder: Path) -> dict[ControlType, str]:
    """How to get the files of each one that is not whole below this folder.

    Looked up anew whenever it matters, because a person may put them there at any time.
    """
    absent: dict[ControlType, str] = {}
    for control_type, files in DETECTOR_FILES.items():
        place = folder / control_type
        names = [name for name in files.names if not (place / name).is_file()]
        if names:
            absent[control_type] = files.remedy(names, str(place))
    return absent


def none_absent() -> dict[ControlType, str]:
    """For engines that only pretend."""
    return {}
