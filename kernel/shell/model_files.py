"""The models folder, as the Manager sees it: what is kept, what is being gathered, what is left over.

files/<sha256>.safetensors   a model of one file          incoming/<model_id>/  what a fetch worker gathers
trees/<sha256>/              a model of several           uploads/<id>          what came in through the API
"""

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from kernel.core.events import KeptModel
from kernel.core.rows import ModelRow
from kernel.protocol.ids import ModelId
from kernel.protocol.sources import (
    BadSource,
    UploadedSource,
    incoming_name,
    is_stored_name,
    parse_source,
    uploaded_name,
)
from kernel.protocol.vocabulary import ModelState

READY_NAME: Final = "ready"
"""What a fetch worker calls the file or folder that is whole."""
PRIVATE: Final = 0o700
OLD_S: Final = 3600.0
"""An upload is registered within moments; one that nobody knows for so long was left over."""


@dataclass(frozen=True, slots=True)
class Move:
    """A gathered model, and the name below the models folder that it is to have."""

    model_id: ModelId
    file_name: str


def move_model(folder: Path, move: Move) -> bool:
    """Move a gathered model to its place, so that it is there wholly or not at all, also after a power cut.

    The place is named by the content, so what is there already is the same.

    Returns: False, if the model is neither here nor there.
    Raises: OSError.
    """
    gathered, place = folder / incoming_name(move.model_id), folder / move.file_name
    if not place.exists():
        if not (gathered / READY_NAME).exists():
            return False
        (gathered / READY_NAME).rename(place)
        _sync(place.parent)
    shutil.rmtree(gathered, ignore_errors=True)
    return True


def remove(path: Path) -> None:
    """Remove a file or a folder; one that is not there is removed already.

    Raises: OSError.
    """
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def kept_models(folder: Path) -> tuple[KeptModel, ...]:
    """What the models folder keeps under names of its own; what a person put there is passed over."""
    found = []
    for kind in ("files", "trees"):
        for entry in sorted((folder / kind).iterdir()):
            name = f"{kind}/{entry.name}"
            if is_stored_name(name):
                found.append(KeptModel(name, _size_bytes(entry)))
    return tuple(found)


def _size_bytes(path: Path) -> int:
    return sum(one.lstat().st_size for one in (path, *path.rglob("*")) if not one.is_dir())


def prepare_models(folder: Path, models: Sequence[ModelRow], now_s: float) -> None:
    """Make the folders, and remove what belongs to no model any more. `now_s` is the calendar's time.

    Raises: OSError.
    """
    for name in ("files", "trees", "incoming", "uploads"):
        (folder / name).mkdir(mode=PRIVATE, exist_ok=True)
    unready = [row for row in models if row.status is not ModelState.READY]
    _sweep(folder / "incoming", {incoming_name(row.model_id) for row in unready})
    uploads = {upload for row in unready if (upload := _upload_of(row)) is not None}
    _sweep(folder / "uploads", uploads, before_s=now_s - OLD_S)


def _upload_of(row: ModelRow) -> str | None:
    try:
        source = parse_source(row.uri)
    except BadSource:
        return None
    return uploaded_name(source.upload) if isinstance(source, UploadedSource) else None


def _sweep(folder: Path, kept: set[str], before_s: float | None = None) -> None:
    for entry in os.scandir(folder):
        is_old = before_s is None or entry.stat(follow_symlinks=False).st_mtime < before_s
        if is_old and f"{folder.name}/{entry.name}" not in kept:
            remove(Path(entry.path))


def _sync(folder: Path) -> None:
    """Make the names in a folder durable. Source: fsync(2), NOTES."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
