"""Atomic and durable file operations, in folders that belong to one installation."""

import hashlib
import os
import re
import secrets
from collections.abc import Sequence, Set
from contextlib import suppress
from pathlib import Path
from typing import Final

from kernel.protocol.codec import Frame
from kernel.protocol.errors import BadConfiguration, unusable_folder
from kernel.shell.fs_ops import FileSystem, sync_folder

PART_ENDING: Final = ".part"
PRIVATE_FILE: Final = 0o600
GROUP_FILE: Final = 0o640
PRIVATE_FOLDER: Final = 0o700
INSTALLATION_FILE: Final = ".spoon-installation"
NUMBER_BITS: Final = 62
"""SQLite's integers have 64 bits with a sign."""
_OWN_NAME: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\.(png|jpg|webp)(\.part)?")
"""A UUID and an image's file extension, as kernel.core.state.blobs makes them."""


def has_sha256(data: Frame, sha256: str) -> bool:
    """True if the bytes have this digest."""
    return hashlib.sha256(data).hexdigest() == sha256


def write_durably(folder: Path, name: str, data: Frame, disk: FileSystem, mode: int = PRIVATE_FILE) -> None:
    """Write a file atomically and durably.

    Raises: OSError; then nothing of it is left, not even the temporary file.
    """
    write_all_durably(folder, [(name, data)], disk, mode)


def write_all_durably(
    folder: Path, files: Sequence[tuple[str, Frame]], disk: FileSystem, mode: int = PRIVATE_FILE
) -> None:
    """Write files, each atomically; when this returns, all of them are durable.

    Raises: OSError; then nothing of any of them is left, not even a temporary file, if the disk allows to
    remove it.
    """
    parts = [(folder / (name + PART_ENDING), folder / name, data) for name, data in files]
    try:
        for part, _, data in parts:
            _write_synced(part, data, disk, mode)
        for part, whole, _ in parts:
            disk.rename(part, whole)
        sync_folder(folder, disk)
    except OSError:
        for part, whole, _ in parts:
            for left in (part, whole):
                with suppress(OSError):  # leftovers are swept at the next start
                    disk.unlink(left)
        raise


def _write_synced(file: Path, data: Frame, disk: FileSystem, mode: int) -> None:
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, PRIVATE_FILE)
    try:
        if mode != PRIVATE_FILE:
            os.fchmod(descriptor, mode)  # independent of the umask
        disk.write(descriptor, data)
        disk.sync(descriptor)
    finally:
        os.close(descriptor)


def claim_folder(folder: Path, installation: int, disk: FileSystem) -> int:
    """Claim a folder for this installation: two of them would sweep each other's images.

    The mark contains the number of its owner, and a number of its own, by which the folder is recognized: a
    mount point whose disk is not mounted has no mark, or another one.

    Returns: the folder's own number.
    Raises: BadConfiguration, if the folder cannot be created or written, or belongs to another installation.
    """
    mark = folder / INSTALLATION_FILE
    try:
        folder.mkdir(PRIVATE_FOLDER, parents=True, exist_ok=True)
        words = mark.read_text(encoding="ascii", errors="replace").split() if mark.exists() else []
        if words[:1] not in ([], [f"{installation:x}"]):
            raise BadConfiguration(
                f"{folder} holds the files of another database: configure another folder, "
                f"or delete {mark} if that database no longer exists"
            )
        if len(words) == 2 and (number := _number(words[1])) is not None:
            return number
        number = secrets.randbits(NUMBER_BITS)
        write_durably(folder, INSTALLATION_FILE, f"{installation:x} {number:x}\n".encode(), disk)
    except OSError as error:
        raise unusable_folder(folder, error) from error
    return number


def _number(digits: str) -> int | None:
    try:
        number = int(digits, 16)
    except ValueError:
        return None
    return number if 0 <= number < 1 << NUMBER_BITS else None


def is_own_name(name: str) -> bool:
    """True for the names of our own image files, also partial ones."""
    return _OWN_NAME.fullmatch(name) is not None


def sweep(folder: Path, kept: Set[str], disk: FileSystem) -> int:
    """Remove images without a row: partial ones, and those whose row was never saved.

    Only files with names of our own are touched, so a person's images in the same folder are safe.

    Returns: the number found. Those that cannot be removed are found again at the next start.
    Raises: BadConfiguration, if the folder cannot be read.
    """
    try:
        strays = [
            entry
            for entry in os.scandir(folder)
            if is_own_name(entry.name) and entry.name not in kept and entry.is_file(follow_symlinks=False)
        ]
    except OSError as error:
        raise unusable_folder(folder, error) from error
    for entry in strays:
        with suppress(OSError):  # a leftover must not fail the start
            disk.unlink(Path(entry.path))
    return len(strays)
