"""Optional features: background removal, and the detectors that extract control maps."""

import subprocess
import sys
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path
from shlex import quote
from typing import Final

from api.installation.diagnosis import CheckResult, Verdict
from api.installation.driver import Runtime, runtime
from api.installation.origin import install_command, right_sets
from kernel.protocol.detectors import DETECTOR_FILES, DetectorFiles

_RUNTIMES: Final = {Runtime.CUDA: "onnxruntime-gpu", Runtime.CPU: "onnxruntime"}
_POSE, _FACES, _MCP = "controlnet-aux", "mediapipe", "mcp"
_FIRST_WITHOUT_MEDIAPIPE: Final = (3, 13)
_IMPORT_TIMEOUT_S: Final = 60.0


def features(detectors_folder: Path) -> Iterator[CheckResult]:
    """Checks of optional features, besides OpenCV. None is ever MISSING: only the jobs that need one fail
    without it."""
    installed = {name: _version(name) for name in (*_RUNTIMES.values(), _POSE, _FACES, _MCP)}
    kind = runtime()
    yield background_removal(installed, kind)
    yield pose_packages(installed, kind)
    yield face_packages(installed, kind, sys.version_info[:2])
    yield mcp_packages(installed)
    for files in DETECTOR_FILES.values():
        yield detector(files, detectors_folder / files.control_type)


def background_removal(installed: Mapping[str, str | None], kind: Runtime) -> CheckResult:
    """The ONNX runtime. Its two distributions overwrite each other's files."""
    there = [one for one, name in _RUNTIMES.items() if installed.get(name)]
    found = [f"{_RUNTIMES[one]} {installed[_RUNTIMES[one]]}" for one in there]
    if there == [Runtime.CPU] and kind is Runtime.CUDA:
        return CheckResult(
            subject="background removal",
            verdict=Verdict.NOTE,
            found=f"{found[0]} does not use the GPU",
            remedy=_command(kind),
        )
    if len(found) == 1:
        return CheckResult(subject="background removal", verdict=Verdict.OK, found=found[0])
    if found:
        pip = f"{quote(sys.executable)} -m pip"
        return CheckResult(
            subject="background removal",
            verdict=Verdict.NOTE,
            found=f"{found[0]} and {found[1]} are both installed and overwrite each other",
            remedy=f"{pip} uninstall --yes {' '.join(_RUNTIMES.values())} && {pip} install {_RUNTIMES[kind]}",
        )
    return CheckResult(
        subject="background removal",
        verdict=Verdict.NOTE,
        found=f"unavailable: {_RUNTIMES[kind]} is not installed",
        remedy=_command(kind),
    )


def opencv_here() -> CheckResult:
    """Whether OpenCV can be imported. It is tried in a process of its own, which takes seconds."""
    return opencv(_import_error("cv2"), runtime())


def opencv(error: str | None, kind: Runtime) -> CheckResult:
    """OpenCV, which the detectors canny and mediapipe need; `error` is the last line of a failed import."""
    if error is None:
        return CheckResult(subject="OpenCV", verdict=Verdict.OK, found="can be imported")
    remedy = _command(kind)
    if "libGL.so" in error:
        remedy = "install the system package libgl1 (Debian, Ubuntu) or mesa-libGL (Fedora)"
    return CheckResult(
        subject="OpenCV", verdict=Verdict.NOTE, found=f"cannot be imported: {error}", remedy=remedy
    )


def pose_packages(installed: Mapping[str, str | None], kind: Runtime) -> CheckResult:
    """The package of the detectors openpose and midas."""
    if version := installed.get(_POSE):
        return CheckResult(subject="pose detectors", verdict=Verdict.OK, found=f"{_POSE} {version}")
    return CheckResult(
        subject="pose detectors",
        verdict=Verdict.NOTE,
        found=f"openpose and midas are unavailable: {_POSE} is not installed",
        remedy=_command(kind, "pose"),
    )


def face_packages(installed: Mapping[str, str | None], kind: Runtime, python: tuple[int, ...]) -> CheckResult:
    """The packages of the detector mediapipe, which draws faces."""
    absent = [name for name in (_POSE, _FACES) if not installed.get(name)]
    if not absent:
        return CheckResult(subject="face detector", verdict=Verdict.OK, found=f"{_FACES} {installed[_FACES]}")
    remedy = "run the worker with Python 3.11 or 3.12; no usable mediapipe release supports later versions"
    if python < _FIRST_WITHOUT_MEDIAPIPE:
        remedy = _command(kind, "faces")
    return CheckResult(
        subject="face detector",
        verdict=Verdict.NOTE,
        found=f"mediapipe is unavailable; not installed: {', '.join(absent)}",
        remedy=remedy,
    )


def mcp_packages(installed: Mapping[str, str | None]) -> CheckResult:
    """The package of `spoon mcp`."""
    if version := installed.get(_MCP):
        return CheckResult(subject="agents", verdict=Verdict.OK, found=f"{_MCP} {version}")
    return CheckResult(
        subject="agents",
        verdict=Verdict.NOTE,
        found=f"`spoon mcp` is unavailable: {_MCP} is not installed",
        remedy=mcp_command(),
    )


def mcp_command() -> str:
    """The command that installs what `spoon mcp` needs, beside what engines need if they run here."""
    sets = right_sets(are_workers_local=_version("torch") is not None, kind=runtime())
    return install_command(*sets, "mcp")


def _command(kind: Runtime, *more: str) -> str:
    """The command that installs what engines need on this machine, and more."""
    return install_command(*right_sets(are_workers_local=True, kind=kind), *more)


def detector(files: DetectorFiles, folder: Path) -> CheckResult:
    """The files of one detector."""
    subject = f"detector {files.control_type}"
    absent = [name for name in files.names if not (folder / name).is_file()]
    if absent:
        return CheckResult(
            subject=subject,
            verdict=Verdict.NOTE,
            found=f"{len(absent)} of {len(files.names)} files are missing from {folder}",
            remedy=files.remedy(absent, str(folder)),
        )
    without = [name for name in files.optional if not (folder / name).is_file()]
    found = f"{folder}, without {' and '.join(without)}" if without else str(folder)
    if files.licence is not None:
        return CheckResult(subject=subject, verdict=Verdict.NOTE, found=f"{found}{files.terms()}")
    return CheckResult(subject=subject, verdict=Verdict.OK, found=found)


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _import_error(module: str) -> str | None:
    """The last line of a fresh interpreter's error if it cannot import the module, else None.

    Not imported in this process, which would load all its dependencies.
    """
    command = [sys.executable, "-c", f"import {module}"]
    try:
        ended = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=_IMPORT_TIMEOUT_S
        )
    except subprocess.TimeoutExpired:
        return f"the import took longer than {_IMPORT_TIMEOUT_S:.0f} s"
    lines = ended.stderr.strip().splitlines() or [f"exit code {ended.returncode}"]
    return None if ended.returncode == 0 else lines[-1]
