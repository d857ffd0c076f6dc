"""Saving pictures: under a temporary name first, so that a file is whole or not there."""

import os
import sys
from base64 import b64decode
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

import click

from api.admin.events import Preview
from api.admin.exits import ServerUnreachable
from api.admin.rest import Rest, quoted
from kernel.protocol.errors import SpoonError


@dataclass(frozen=True, slots=True)
class Part:
    """What can be had of an image: the picture itself, or what it was made from."""

    call: str
    """The last part of the path, with its query."""
    ending: str = ""
    """Of the name that it is saved under."""

    def path_of(self, image_id: str) -> str:
        return f"/v1/images/{quoted(image_id)}/{self.call}"


WHOLE: Final = Part("download")
_SUFFIXES: Final = {"image/png": ".png", "image/jpeg": ".jpg", "image/webp": ".webp"}


def save_all(rest: Rest, image_ids: Sequence[str], out: Path) -> None:
    """Download a job's pictures, several under numbered names. If one fails, say how to get it and the rest.

    Raises: OSError, if a file cannot be written; as `save`.
    """
    many = len(image_ids) > 1
    for index, image_id in enumerate(image_ids):
        try:
            save(rest, image_id, out.with_stem(f"{out.stem}-{index + 1}") if many else out)
        except (OSError, ServerUnreachable):
            for left in image_ids[index:]:
                click.echo(f"drawn but not saved: get it with `spoon images download {left}`", err=True)
            raise


def save(rest: Rest, image_id: str, out: Path | None, part: Part = WHOLE) -> None:
    """Download a picture, or what it was made from, to `out` or a name of its id and type; say where it is.

    Raises: Refusal, if it is gone or never was; ServerUnreachable, if it did not come in whole.
    """
    with rest.stream(part.path_of(image_id), {}) as answer:
        suffix = _SUFFIXES.get(answer.headers.get("content-type", ""), "")
        file = out or Path(f"{image_id}{part.ending}{suffix}")
        with _whole(file) as stream:
            for chunk in answer.iter_bytes():
                stream.write(chunk)
    click.echo(f"saved {file}", err=True)


def pour(rest: Rest, image_id: str, part: Part = WHOLE) -> None:
    """Download a picture, or what it was made from, to stdout. Raises: as `save`."""
    with rest.stream(part.path_of(image_id), {}) as answer:
        for chunk in answer.iter_bytes():
            sys.stdout.buffer.write(chunk)


def save_preview(out: Path, preview: Preview) -> None:
    """Keep the newest rough picture of a job; those of its further pictures under numbered names.

    Raises: SpoonError, if the server sent none; OSError, if the file cannot be written.
    """
    try:
        data = b64decode(preview.data_url.partition(";base64,")[2], validate=True)
    except ValueError as error:
        raise SpoonError(f"the server's preview is none: {error}") from error
    with _whole(out.with_stem(f"{out.stem}-{preview.index + 1}") if preview.index else out) as stream:
        stream.write(data)


@contextmanager
def _whole(file: Path) -> Iterator[BinaryIO]:
    """A file that gets its name when all of it is written."""
    partial = file.with_name(f".{file.name}.{os.getpid()}.part")
    try:
        with partial.open("wb") as stream:
            yield stream
        partial.replace(file)
    finally:
        partial.unlink(missing_ok=True)
