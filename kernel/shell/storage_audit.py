"""Whether the pictures that the database names lie in their folder, and whether that is the right folder.

A file that is not there may have been deleted by somebody, or its disk is not mounted. Each folder has a
number of its own in its mark, and the database remembers that of the folder which its pictures are in: only
there is a picture without a file called lost. One whose file comes back is there again.
"""

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from kernel.process.log import line
from kernel.protocol.errors import BadConfiguration
from kernel.protocol.ids import ImageId
from kernel.shell.store import Store

log = logging.getLogger("manager")


@dataclass(frozen=True, slots=True)
class PictureFiles:
    """What the database says of the files of pictures, by their names."""

    kept: Mapping[str, ImageId]
    lost: Mapping[str, tuple[ImageId, int]]
    """Of those that were called lost: also their sizes in bytes."""


@dataclass(frozen=True, slots=True)
class StorageAudit:
    """What a start finds out about pictures."""

    lost: tuple[ImageId, ...] = ()
    found: tuple[ImageId, ...] = ()
    """They were lost, and are there again."""


def audit_storage(folder: Path, number: int, pictures: PictureFiles, store: Store) -> StorageAudit:
    """Compare the folder of this number with what the database says is in it. The log tells what differs.

    A folder that has every file is the right one, whatever it was before.
    Raises: BadConfiguration, if the folder cannot be read.
    """
    try:
        there = names_in(folder)
    except OSError as error:
        raise BadConfiguration(f"{folder} cannot be used: {error.strerror}") from error
    missing = tuple(image_id for name, image_id in pictures.kept.items() if name not in there)
    found = tuple(
        image_id
        for name, (image_id, size_bytes) in pictures.lost.items()
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
    """The names of all that is in a folder. Raises: OSError."""
    with os.scandir(folder) as entries:
        return frozenset(entry.name for entry in entries)


def _has_size(file: Path, size_bytes: int) -> bool:
    """Is it whole, and not being copied back just now?"""
    try:
        return file.stat().st_size == size_bytes
    except OSError:
        return False


def _line(folder: Path, missing: tuple[ImageId, ...], *, is_home: bool) -> str:
    if is_home:
        return line("images_lost", count=len(missing), folder=folder, first=missing[0])
    hint = "mount the disk or correct images.folder; if the images are lost, run spoon images prune --missing"
    return line("images_elsewhere", count=len(missing), folder=folder, hint=hint)
