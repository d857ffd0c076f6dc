"""Saving pictures: under a temporary name first, so that a file is whole or not there."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import click

from api.admin.exits import ServerUnreachable
from api.admin.rest import Rest, quoted

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


def save(rest: Rest, image_id: str, out: Path | None) -> None:
    """Download a picture to `out`, or to a name made of its id and type, and say where it is.

    Raises: Refusal, if it is gone or never was; ServerUnreachable, if it did not come in whole.
    """
    with rest.stream(f"/v1/images/{quoted(image_id)}/download", {}) as answer:
        file = out or Path(image_id + _SUFFIXES.get(answer.headers.get("content-type", ""), ""))
        partial = file.with_name(f".{file.name}.{os.getpid()}.part")
        try:
            with partial.open("wb") as stream:
                for chunk in answer.iter_bytes():
                    stream.write(chunk)
            partial.replace(file)
        finally:
            partial.unlink(missing_ok=True)
    click.echo(f"saved {file}", err=True)


def pour(rest: Rest, image_id: str) -> None:
    """Download a picture to stdout. Raises: as `save`."""
    with rest.stream(f"/v1/images/{quoted(image_id)}/download", {}) as answer:
        for chunk in answer.iter_bytes():
            sys.stdout.buffer.write(chunk)
