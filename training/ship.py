"""Puts what was trained where it ships: copies the exported models into the package.

Retrain and ship rarely: every version stays in the repository's history.
"""

import shutil
from pathlib import Path

from engine_worker.embedded.shipped import SHIPPED
from training.command import run_from_command_line
from training.export import export_folder
from training.loop import Run

READABLE_BY_ALL = 0o644


def ship(run: Run) -> None:
    """Copy every model that has been exported, and say which have not."""
    for model in SHIPPED:
        source = export_folder(run) / model.file
        if not source.exists():
            print(f"{model.name:<14}not exported: {source}")
            continue
        _copy(source, model.path)
        print(f"{model.name:<14}{size_of(model.path) / 1e6:6.2f} MB")


def size_of(path: Path) -> int:
    """Count the bytes of a file, or of all files of a folder."""
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return sum(file.stat().st_size for file in files)


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(source, target)
        return
    shutil.copyfile(source, target)
    target.chmod(READABLE_BY_ALL)  # safetensors writes for its owner alone


if __name__ == "__main__":
    run_from_command_line(ship, __doc__)
