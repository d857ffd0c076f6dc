"""Checks that the images in the database have files, and that the folder is the right one.

A missing file may have been deleted by a person, or its disk is not mounted. Each folder's mark has a number
of its own, and the database remembers that of the images folder: only there is an image without a file marked
lost. One whose file is back is marked present again.
"""

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from kernel.process.log import line
from kernel.protocol.errors import unusable_folder
from kernel.protocol.ids import ImageId
from kernel.shell.store import Store

log = logging.getLogger("manager")


@dataclass(frozen=True, slots=True)
class ImageFiles:
    """The image files that the database expects, by name."""

    kept: Mapping[str, ImageId]
    lost: Mapping[str, tuple[ImageId, int]]
    """Images marked lost, with their sizes in bytes."""


@dataclass(frozen=True, slots=True)
class StorageAudit:
    """The result of the audit at the start."""

    lost: tuple[ImageId, ...] = ()
    found: tuple[ImageId, ...] = ()
    """Lost images whose files are back."""


def audit_storage(folder: Path, number: int, files: ImageFiles, store: Store) -> StorageAudit:
    """Compare the folder of this number with the database, and log the differences.

    A folder that has every file is the right one, whatever its number.
    Raises: BadConfiguration, if the folder cannot be read.
    """
    try:
        there = names_in(folder)
    except OSError as error:
        raise unusable_folder(folder, error) from error
    missing = tuple(image_id for name, image_id in files.kept.items() if name not in there)
    found = tuple(
        image_id
        for name, (image_id, size_bytes) in files.lost.items()
        if name in there and _has_size(folder / name, size_bytes)
    )
    is_home = store.is_images_folder(number)
    if not missing and not is_home:
        store.remember_images_folder(number)
    if missing:
        log.warning(_line(folder, missing, is_home=is_home))
    if found:
        log.info(line("images_found_again", count=len(found), folder=folder))
    return StorageAudit(missing if is_home else (), found)


def names_in(folder: Path) -> frozenset[str]:
    """The names of all entries of a folder. Raises: OSError."""
    with os.scandir(folder) as entries:
        return frozenset(entry.name for entry in entries)


def _has_size(file: Path, size_bytes: int) -> bool:
    """True if the file is complete, and not being copied back just now."""
    try:
        return file.stat().st_size == size_bytes
    except OSError:
        return False


def _line(folder: Path, missing: tuple[ImageId, ...], *, is_home: bool) -> str:
    if is_home:
        return line("images_lost", count=len(missing), folder=folder, first=missing[0])
    hint = "mount the disk or correct images.folder; if the images are lost, run spoon images prune --missing"
    return line("images_elsewhere", count=len(missing), folder=folder, hint=hint)
