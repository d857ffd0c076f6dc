"""The contents of the images, models and detectors folders, as far as decisions depend on them."""

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

    def image_names(self) -> frozenset[str]:
        """The names of all files in the images folder. Raises: OSError."""
        return names_in(self.images)

    def kept_models(self) -> tuple[KeptModel, ...]:
        """The stored models, whether a row refers to them or not."""
        return kept_models(self.models)

    def absent_models(self, rows: Iterable[ModelRow]) -> frozenset[ModelId]:
        """The models whose files are missing."""
        return frozenset(
            row.model_id
            for row in rows
            if row.status is not ModelState.DOWNLOADING and not is_there(self.models, row)
        )


def absent_detectors(folder: Path) -> dict[ControlType, str]:
    """For each detector with missing files in this folder, how to get them.

    Read anew each time, because a person may add them at any moment.
    """
    absent: dict[ControlType, str] = {}
    for control_type, files in DETECTOR_FILES.items():
        place = folder / control_type
        names = [name for name in files.names if not (place / name).is_file()]
        if names:
            absent[control_type] = files.remedy(names, str(place))
    return absent


def none_absent() -> dict[ControlType, str]:
    """For fake engines, which need no detectors."""
    return {}
