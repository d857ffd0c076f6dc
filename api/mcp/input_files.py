"""The input images of an edit: images of this server, or local files in the folders that were allowed."""

import os
import stat
from base64 import b64encode
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from api.mcp.arguments import is_id
from kernel.process.allowed_folders import open_within
from kernel.protocol.errors import InvalidField, wrong_field

MAX_FILE_BYTES: Final = 64 * 1024 * 1024


def input_image(role: str, name: str, said: str, folders: Sequence[Path]) -> dict[str, object]:
    """The image that an argument means, as a field of a job: by its id, or as base64.

    Raises: InvalidField, if it is neither an id nor a file in `folders`.
    """
    if is_id(said):
        return {f"{role}_image_id": said}
    return {f"{role}_image_blob": b64encode(_local(name, said, folders)).decode()}


def _local(name: str, said: str, folders: Sequence[Path]) -> bytes:
    if not folders:
        raise wrong_field(
            name,
            "must be the id of an image of this server; local files can be used if `spoon mcp` runs on this "
            "machine with --files FOLDER",
        )
    descriptor = open_within(Path(said).absolute(), folders, stat.S_ISREG)
    if descriptor is None:
        raise _outside(name, folders)
    with os.fdopen(descriptor, "rb") as file:
        data = file.read(MAX_FILE_BYTES + 1)
    if len(data) > MAX_FILE_BYTES:
        raise wrong_field(name, f"must have at most {MAX_FILE_BYTES} bytes")
    return data


def _outside(name: str, folders: Sequence[Path]) -> InvalidField:
    allowed = ", ".join(map(str, folders))
    return wrong_field(name, f"must be the id of an image, or a file in one of these folders: {allowed}")
