"""Checks of the machine: folders, disk space, port, socket paths and GPUs."""

import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from api.cli.context import configured_url, written_url
from api.cli.installation.diagnosis import CheckResult, Verdict
from api.cli.installation.privacy import privacy
from api.cli.output import printable, size
from api.http.contract.errors import PROBLEM_TYPE
from conf.installation import Installation
from conf.settings import Models, Settings
from kernel.protocol.endpoints import BACK_SOCKET, FRONT_SOCKET, MAX_IPC_PATH_BYTES
from kernel.protocol.type_info import analyzed

_ANSWER_S: Final = 2.0


def machine(settings: Settings, is_running: bool) -> Iterator[CheckResult]:
    """Results of the checks of the machine. `is_running`: the Manager of this configuration answers."""
    yield from folders(settings)
    yield from privacy(settings)
    yield from disks(settings)
    yield socket_paths(settings.bus_folder)
    yield port(settings, is_running)
    yield from gpus()


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
    """The folders that the Manager writes to; it creates missing ones when it starts."""
    named = {
        "database.folder": settings.database.folder,
        "images.folder": settings.images.folder,
        "blobs.folder": settings.blobs.folder,
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
            yield CheckResult(subject=subject, verdict=Verdict.OK, found=f"{size(free_bytes)} free for {key}")
        else:
            yield CheckResult(
                subject=subject,
                verdict=Verdict.MISSING,
                found=f"{size(free_bytes)} free for {key}, "
                f"images.min_free is {size(settings.images.min_free_bytes)}",
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


def port(settings: Settings, is_running: bool) -> CheckResult:
    """Whether the API can listen on its configured address, or else who does."""
    host, number, url = settings.server.host, settings.server.port, configured_url(settings)
    subject = f"port {number}"
    reason = bind_error(host, number)
    if reason is None:
        return CheckResult(subject=subject, verdict=Verdict.OK, found=f"free on {host}")
    holder = _holder(url)
    if is_running and written_url(settings) == url:
        return CheckResult(subject=subject, verdict=Verdict.OK, found=f"in use by this server: {holder}")
    return CheckResult(
        subject=subject,
        verdict=Verdict.MISSING,
        found=f"cannot listen on {host} port {number}: {reason}; in use by {holder}",
        remedy="stop the program that uses it, or change server.host or server.port",
    )


def bind_error(host: str, number: int) -> str | None:
    """Why nobody can listen there now; None, if the API can."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # As the server does, so that closed connections in TIME_WAIT do not block the port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, number))
        except OSError as error:
            return error.strerror or str(error)
    return None


class _Versions(msgspec.Struct, frozen=True, kw_only=True):
    automatic_spoon: str


class _Capabilities(msgspec.Struct, frozen=True, kw_only=True):
    """The part of GET /v1/capabilities that tells a server of ours from others."""

    versions: _Versions


def _holder(url: str) -> str:
    """Who answers there."""
    import httpx

    try:
        answer = httpx.get(f"{url}/v1/capabilities", timeout=_ANSWER_S, trust_env=False)
    except httpx.HTTPError:
        return "a program that does not speak HTTP"
    try:
        version = msgspec.json.decode(answer.content, type=analyzed(_Capabilities)).versions.automatic_spoon
    except (msgspec.DecodeError, UnicodeDecodeError):
        if PROBLEM_TYPE.encode() in answer.content:  # it asks for a key
            return f"automatic-spoon at {url}"
        name = printable(answer.headers.get("server", ""))
        return f"another web server{f' ({name})' if name else ''}"
    return f"automatic-spoon {version} at {url}"


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
            found = f"{pynvml.nvmlDeviceGetName(device)}, {size(memory.free)} of {size(memory.total)} free"
            yield CheckResult(subject=f"GPU cuda:{number}", verdict=Verdict.OK, found=found)
    finally:
        pynvml.nvmlShutdown()


def _nearest(folder: Path) -> Path:
    """The folder, or its closest existing parent."""
    return next(path for path in (folder, *folder.parents) if path.exists())
