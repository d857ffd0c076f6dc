"""Optional features: background removal, and the detectors that extract control maps."""

import subprocess
import sys
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Final

from api.cli.installation.diagnosis import CheckResult, Verdict
from api.cli.installation.software import install_command
from kernel.protocol.detectors import DETECTOR_FILES, DetectorFiles

_RUNTIMES: Final = ("onnxruntime-gpu", "onnxruntime")
_POSE_PACKAGES: Final = ("controlnet-aux", "mediapipe")
_FIRST_WITHOUT_MEDIAPIPE: Final = (3, 13)
_IMPORT_TIMEOUT_S: Final = 60.0


def features(detectors_folder: Path) -> Iterator[CheckResult]:
    """Checks of optional features. None is ever MISSING: only the jobs that need one fail without it."""
    installed = {name: _version(name) for name in (*_RUNTIMES, *_POSE_PACKAGES)}
    yield background_removal(installed)
    yield opencv(_import_error("cv2"))
    yield pose_packages(installed, sys.version_info[:2])
    for files in DETECTOR_FILES.values():
        yield detector(files, detectors_folder / files.control_type)


def background_removal(installed: Mapping[str, str | None]) -> CheckResult:
    """The ONNX runtime. Its two distributions overwrite each other's files."""
    found = [f"{name} {installed[name]}" for name in _RUNTIMES if installed.get(name)]
    if len(found) == 1:
        return CheckResult(subject="background removal", verdict=Verdict.OK, found=found[0])
    if found:
        return CheckResult(
            subject="background removal",
            verdict=Verdict.NOTE,
            found=f"{found[0]} and {found[1]} are both installed and overwrite each other",
            remedy=f"pip uninstall {' '.join(_RUNTIMES)}, then pip install one of them",
        )
    return CheckResult(
        subject="background removal",
        verdict=Verdict.NOTE,
        found="unavailable: onnxruntime is not installed",
        remedy=f"{install_command('cuda')}, or with [cpu] on a machine without a GPU",
    )


def opencv(error: str | None) -> CheckResult:
    """OpenCV, which the detectors canny and mediapipe need; `error` is the last line of a failed import."""
    if error is None:
        return CheckResult(subject="OpenCV", verdict=Verdict.OK, found="can be imported")
    remedy = install_command("worker")
    if "libGL.so" in error:
        remedy = "install the system package libgl1 (Debian, Ubuntu) or mesa-libGL (Fedora)"
    return CheckResult(
        subject="OpenCV", verdict=Verdict.NOTE, found=f"cannot be imported: {error}", remedy=remedy
    )


def pose_packages(installed: Mapping[str, str | None], python: tuple[int, ...]) -> CheckResult:
    """The packages of the detectors openpose, midas and mediapipe."""
    absent = [name for name in _POSE_PACKAGES if not installed.get(name)]
    if not absent:
        found = ", ".join(f"{name} {installed[name]}" for name in _POSE_PACKAGES)
        return CheckResult(subject="pose detectors", verdict=Verdict.OK, found=found)
    if python >= _FIRST_WITHOUT_MEDIAPIPE:
        remedy = (
            "run the worker with Python 3.11 or 3.12; no usable mediapipe release supports later versions"
        )
    else:
        remedy = install_command("pose")
    return CheckResult(
        subject="pose detectors",
        verdict=Verdict.NOTE,
        found=f"openpose, midas and mediapipe are unavailable; not installed: {', '.join(absent)}",
        remedy=remedy,
    )


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
