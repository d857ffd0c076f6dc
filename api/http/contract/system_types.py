"""The server in HTTP responses: what runs, in which versions, and what it has on its disks."""

import platform
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Final

import msgspec

from api.http.contract.responses import StoredError
from conf.settings import Settings
from kernel.protocol.enums import Phase
from kernel.protocol.header import MAJOR, MINOR
from kernel.protocol.status import Status
from kernel.protocol.version import VERSION
from kernel.views.counts import StoredFiles
from kernel.views.rows import Total

PACKAGES: Final = (
    "torch",
    "diffusers",
    "transformers",
    "safetensors",
    "accelerate",
    "onnxruntime",
    "onnxruntime-gpu",
    "falcon",
    "apsw",
    "pyzmq",
)
"""Packages whose versions matter in a report of a defect."""


class InstalledVersions(msgspec.Struct, frozen=True, kw_only=True):
    """What the server runs on. `packages` are those of its environment, which its workers use too; null: not
    installed."""

    automatic_spoon: str
    protocol: str
    schema_number: int
    """The last migration of the database."""
    python: str
    system: str
    packages: dict[str, str | None]


class StorageFolder(msgspec.Struct, frozen=True, kw_only=True):
    """A folder of the server, with the disk that it is on. Units: bytes."""

    path: str
    total_bytes: int | None
    """Of the disk; null, like `free_bytes`: it cannot be read."""
    free_bytes: int | None
    files: int | None
    """Null, like `used_bytes`: they are not counted."""
    used_bytes: int | None


class StorageUse(msgspec.Struct, frozen=True, kw_only=True):
    """What the server has on its disks; null: the disk has not answered in time. Units: bytes."""

    images: StorageFolder | None
    models: StorageFolder | None
    """Downloads and uploads; models that are used in place are not counted."""
    inputs: StorageFolder | None
    """Input images and control maps; they are not counted, because there may be very many small ones."""
    database: StorageFolder | None
    logs: StorageFolder | None
    min_free_bytes: int
    """With less free space no job is accepted, and no model downloaded (images.min_free)."""
    image_quota_bytes: int | None
    """Beyond it the oldest images are deleted (images.disk_quota)."""


class ManagerReport(msgspec.Struct, frozen=True, kw_only=True):
    """What the Manager says of itself."""

    phase: Phase
    pid: int
    uptime_s: float
    jobs_waiting: int
    jobs_processing: int
    engines_running: int
    standby_workers: int
    is_disk_low: bool
    is_models_disk_low: bool
    internal_errors: int
    last_internal_error: str | None
    api_restarts: int
    """Restarts of the API process after a crash."""
    api_last_failure: str | None


class System(msgspec.Struct, frozen=True, kw_only=True):
    """The server. `manager` is null while the Manager does not answer; `error` says why."""

    manager: ManagerReport | None
    error: StoredError | None
    versions: InstalledVersions
    storage: StorageUse


def versions_of(schema_number: int) -> InstalledVersions:
    """Those of this environment."""
    return InstalledVersions(
        automatic_spoon=VERSION,
        protocol=f"ASB/{MAJOR}.{MINOR}",
        schema_number=schema_number,
        python=platform.python_version(),
        system=platform.platform(),
        packages={name: _version(name) for name in PACKAGES},
    )


def folders_of(settings: Settings, stored: StoredFiles) -> Iterator[tuple[str, StorageFolder]]:
    """The folders as they are now, by name. A disk that hangs holds up those after it."""
    database = settings.database_file
    own = [database.with_name(database.name + ending) for ending in ("", "-wal", "-shm")]
    yield "database", _folder(settings.database.folder, _total(own))
    yield "logs", _folder(settings.logs_folder, _total(_files(settings.logs_folder)))
    yield "images", _folder(settings.images.folder, stored.images)
    yield "inputs", _folder(settings.blobs.folder, None)
    yield "models", _folder(settings.models.folder, stored.models)


def storage_of(settings: Settings, folders: Mapping[str, StorageFolder]) -> StorageUse:
    """What was found, with the limits."""
    return StorageUse(
        images=folders.get("images"),
        models=folders.get("models"),
        inputs=folders.get("inputs"),
        database=folders.get("database"),
        logs=folders.get("logs"),
        min_free_bytes=settings.images.min_free_bytes,
        image_quota_bytes=settings.images.disk_quota_bytes,
    )


def manager_of(status: Status) -> ManagerReport:
    """The Manager's status as a response."""
    return ManagerReport(
        phase=status.phase,
        pid=status.pid,
        uptime_s=status.uptime_s,
        jobs_waiting=status.jobs_waiting,
        jobs_processing=status.jobs_processing,
        engines_running=status.engines_running,
        standby_workers=status.standbys,
        is_disk_low=status.is_disk_low,
        is_models_disk_low=status.is_models_disk_low,
        internal_errors=status.internal_errors,
        last_internal_error=status.last_internal_error,
        api_restarts=0 if status.api is None else status.api.restarts,
        api_last_failure=None if status.api is None else status.api.last_failure,
    )


def _folder(path: Path, stored: Total | None) -> StorageFolder:
    total_bytes, free_bytes = None, None
    with suppress(OSError):  # it does not exist yet, or its disk is not mounted
        total_bytes, _, free_bytes = shutil.disk_usage(path)
    return StorageFolder(
        path=str(path),
        total_bytes=total_bytes,
        free_bytes=free_bytes,
        files=None if stored is None else stored.count,
        used_bytes=None if stored is None else stored.size_bytes,
    )


def _files(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def _total(files: Iterable[Path]) -> Total:
    sizes = [size for file in files if (size := _size_of(file)) is not None]
    return Total(len(sizes), sum(sizes))


def _size_of(file: Path) -> int | None:
    try:
        return file.stat().st_size
    except OSError:
        return None


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
