"""Files that are there wholly or not at all, in folders that belong to one installation."""

import hashlib
import os
import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from kernel.protocol.codec import Frame
from kernel.protocol.errors import BadConfiguration

PART_ENDING: Final = ".part"
INSTALLATION_FILE: Final = ".spoon-installation"
_OWN_NAME: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\.(png|jpg|webp)(\.part)?")
"""A UUID and the ending of its picture, as kernel.core.blobs names them."""


def has_sha256(data: Frame, sha256: str) -> bool:
    """Are these the bytes that were described?"""
    return hashlib.sha256(data).hexdigest() == sha256


def write_durably(folder: Path, name: str, data: Frame) -> None:
    """Write a file so that it is there wholly or not at all, also after a power cut.

    Raises: OSError; then nothing of it is left, not even the temporary file.
    """
    write_all_durably(folder, [(name, data)])


def write_all_durably(folder: Path, files: Sequence[tuple[str, Frame]]) -> None:
    """Write files, each wholly or not at all; when this returns all of them are durable.

    Raises: OSError; then nothing of any of them is left, not even a temporary file, if the disk lets go of
    it.
    """
    parts = [(folder / (name + PART_ENDING), folder / name, data) for name, data in files]
    try:
        for part, _, data in parts:
            _write_synced(part, data)
        for part, whole, _ in parts:
            part.rename(whole)
        sync_folder(folder)
    except OSError:
        for part, whole, _ in parts:
            for left in (part, whole):
                with suppress(OSError):  # what cannot be removed is swept away at the next start
                    left.unlink(missing_ok=True)
        raise


def _write_synced(path: Path, data: Frame) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable. Source: fsync(2), NOTES."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def claim_folder(folder: Path, installation: int) -> None:
    """Make a folder this installation's own: two of them would sweep away each other's pictures.

    Raises: BadConfiguration, if the folder cannot be made or written, or belongs to another installation.
    """
    mark = folder / INSTALLATION_FILE
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not mark.exists():
            write_durably(folder, INSTALLATION_FILE, f"{installation:x}\n".encode())
        owner = mark.read_text(encoding="ascii", errors="replace").strip()
    except OSError as error:
        raise BadConfiguration(f"{folder} cannot be used: {error.strerror}") from error
    if owner != f"{installation:x}":
        raise BadConfiguration(
            f"{folder} holds the files of another database: configure another folder, "
            f"or delete {mark} if that database is no more"
        )


def sweep(folder: Path, kept: set[str]) -> int:
    """Remove the pictures that belong to nothing: half-written ones, and those whose row was never saved.

    Only names that this software gives are touched, so that a folder which also holds a person's own
    pictures keeps them.

    Returns: how many.
    """
    strays = [
        entry
        for entry in os.scandir(folder)
        if _OWN_NAME.fullmatch(entry.name) and entry.name not in kept and entry.is_file(follow_symlinks=False)
    ]
    for entry in strays:
        Path(entry.path).unlink()
    return len(strays)
