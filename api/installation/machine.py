"""Checks of the machine: folders, disk space, socket paths and GPUs."""

import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from api.installation.diagnosis import CheckResult, Verdict
from api.installation.privacy import privacy
from conf.installation import Installation
from conf.settings import Models, Settings
from conf.units import rounded_size
from kernel.protocol.endpoints import BACK_SOCKET, FRONT_SOCKET, MAX_IPC_PATH_BYTES


def storage(settings: Settings) -> Iterator[CheckResult]:
    """Folders, who may read them, the disks that they are on, and the paths of the sockets."""
    yield from folders(settings)
    yield from privacy(settings)
    yield from disks(settings)
    yield socket_paths(settings.bus_folder)


def configuration(installation: Installation) -> CheckResult:
    """Which configuration file counts; a note, if the installation is found from one folder only."""
    found = str(installation.file or "no file: defaults and variables")
    notice = installation.notice()
    return CheckResult(
        subject="configuration",
        verdict=Verdict.NOTE if notice else Verdict.OK,
        found=f"{found}; the data are in this folder" if notice else found,
        remedy="run `spoon init` here to use them from every folder" if notice else None,
    )


def folders(settings: Settings) -> Iterator[CheckResult]:
    """The folders that the Manager and the API write to; they create missing ones."""
    named = {
        "database.folder": settings.database.folder,
        "images.folder": settings.images.folder,
        "blobs.folder": settings.blobs.folder,
        "thumbnails.folder": settings.thumbnails.folder,
        "models.folder": settings.models.folder,
        "bus.folder": settings.bus_folder,
        "logs.folder": settings.logs_folder,
    }
    for key, folder in named.items():
        present = _nearest(folder)
        if present.is_dir() and os.access(present, os.W_OK | os.X_OK):
            found = str(folder) if present == folder else f"{folder}, will be created in {present}"
            yield CheckResult(subject=key, verdict=Verdict.OK, found=found)
        else:
            remedy = f"make {present} a folder that this user can write to, or change {key}"
            yield CheckResult(
                subject=key,
                verdict=Verdict.MISSING,
                found=f"{present} is not a writable folder",
                remedy=remedy,
            )
    yield from model_folders(settings.models)
    yield from _absent("wildcards.folders", settings.wildcards.folders)


def model_folders(models: Models) -> Iterator[CheckResult]:
    """The folders of local models: a note if none is set or one is missing."""
    if not models.roots:
        yield CheckResult(
            subject="models.folders",
            verdict=Verdict.NOTE,
            found="not set: models on this machine can only be uploaded",
            remedy="set it (or SPOON_MODELS_FOLDERS) to the folders with the models that you have",
        )
    for key, folders in (("models.file_roots", models.file_roots), ("models.folders", models.folders)):
        yield from _absent(key, folders)


def _absent(key: str, folders: Sequence[Path]) -> Iterator[CheckResult]:
    """The folders of the owner that are not there."""
    for folder in folders:
        if not folder.is_dir():
            yield CheckResult(
                subject=key,
                verdict=Verdict.NOTE,
                found=f"{folder} is not a folder",
                remedy=f"create it, or remove it from {key}",
            )


def disks(settings: Settings) -> Iterator[CheckResult]:
    """Free disk space for images and for models, compared with images.min_free."""
    looked_at = (
        ("disk", "images.folder", settings.images.folder),
        ("disk of models", "models.folder", settings.models.folder),
    )
    for subject, key, folder in looked_at:
        free_bytes = shutil.disk_usage(_nearest(folder)).free
        if free_bytes >= settings.images.min_free_bytes:
            yield CheckResult(
                subject=subject, verdict=Verdict.OK, found=f"{rounded_size(free_bytes)} free for {key}"
            )
        else:
            yield CheckResult(
                subject=subject,
                verdict=Verdict.MISSING,
                found=f"{rounded_size(free_bytes)} free for {key}, "
                f"images.min_free is {rounded_size(settings.images.min_free_bytes)}",
                remedy=f"free up disk space, or move {key} to a larger disk",
            )


def socket_paths(bus_folder: Path) -> CheckResult:
    """The length of the socket paths, which the system limits."""
    longest = max(len(os.fsencode(bus_folder / name)) for name in (FRONT_SOCKET, BACK_SOCKET))
    found = f"the longest has {longest} bytes, the limit is {MAX_IPC_PATH_BYTES}"
    if longest <= MAX_IPC_PATH_BYTES:
        return CheckResult(subject="socket paths", verdict=Verdict.OK, found=found)
    return CheckResult(
        subject="socket paths",
        verdict=Verdict.MISSING,
        found=found,
        remedy="set bus.folder to a shorter path, e.g. ~/.spoon-bus",
    )


def gpus() -> Iterator[CheckResult]:
    """The NVIDIA GPUs that engines can run on, as reported by NVML."""
    try:
        import pynvml
    except ImportError:
        return  # Reported by the checks of packages.
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        remedy = "install the NVIDIA driver to use a GPU; without one, engines run slowly on the CPU"
        yield CheckResult(subject="GPU", verdict=Verdict.NOTE, found=f"none ({error})", remedy=remedy)
        return
    try:
        for number in range(pynvml.nvmlDeviceGetCount()):
            device = pynvml.nvmlDeviceGetHandleByIndex(number)
            memory = pynvml.nvmlDeviceGetMemoryInfo(device)
            room = f"{rounded_size(memory.free)} of {rounded_size(memory.total)} free"
            found = f"{pynvml.nvmlDeviceGetName(device)}, {room}"
            yield CheckResult(subject=f"GPU cuda:{number}", verdict=Verdict.OK, found=found)
    finally:
        pynvml.nvmlShutdown()


def _nearest(folder: Path) -> Path:
    """The folder, or its closest existing parent."""
    return next(path for path in (folder, *folder.parents) if path.exists())
