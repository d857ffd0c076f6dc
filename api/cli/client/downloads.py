"""Save images under a temporary name first, so that a file is complete or absent."""

import os
import sys
from base64 import b64decode
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

import click
import httpx

from api.cli.client.client_models import Image
from api.cli.client.events import Preview
from api.cli.client.rest import Query, Rest, quoted, read
from api.cli.exit_codes import ServerUnreachable
from api.cli.options import NAME_FIELDS, STDOUT, refuse_taken
from kernel.protocol.errors import Conflict, SpoonError


@dataclass(frozen=True, slots=True)
class Part:
    """A file of an image: the image itself, an input image or a control map."""

    call: str
    """The last part of the path, with its query."""
    ending: str = ""
    """The ending of its default file name."""

    def path_of(self, image_id: str) -> str:
        return f"/v1/images/{quoted(image_id)}/{self.call}"


WHOLE: Final = Part("download")
_SUFFIXES: Final = {"image/png": ".png", "image/jpeg": ".jpg", "image/webp": ".webp"}


def save_all(rest: Rest, image_ids: Sequence[str], files: Sequence[Path]) -> Iterator[Path]:
    """Download a job's images, each to its file, and yield that. On failure, print how to get the rest.

    Raises: OSError, if a file cannot be written; Conflict, if it exists; as `save`.
    """
    for index, (image_id, file) in enumerate(zip(image_ids, files, strict=True)):
        try:
            yield _download(rest, image_id, file, WHOLE)
        except (OSError, ServerUnreachable, Conflict):
            for left in image_ids[index:]:
                click.echo(f"image not saved; get it with `spoon images download {left}`", err=True)
            raise


def saved(rest: Rest, image_ids: Sequence[str], out: Path) -> Iterator[Path]:
    """Download a job's images to `out`, and yield the name of each file; stdout has none.

    Raises: Conflict, if several images were to go to stdout; as `save_all` and `filled_in`.
    """
    if out != STDOUT:
        yield from save_all(rest, image_ids, files_for(rest, image_ids, out))
    elif len(image_ids) == 1:
        pour(rest, image_ids[0])
    else:
        raise Conflict(f"{len(image_ids)} images cannot be told apart on stdout; use a file name")


def files_for(rest: Rest, image_ids: Sequence[str], out: Path) -> list[Path]:
    """A file for each image: `out` with the fields of its name filled in, and numbers if some are the same.

    Raises: as `filled_in`.
    """
    files = [filled_in(rest, image_id, out) for image_id in image_ids]
    are_distinct = len(set(files)) == len(files)
    return files if are_distinct else [one.with_stem(f"{one.stem}-{n + 1}") for n, one in enumerate(files)]


def filled_in(rest: Rest, image_id: str, out: Path) -> Path:
    """The file with the values of the image in place of the fields of its name.

    Raises: Refusal, if there is no such image; ServerUnreachable.
    """
    if "{" not in out.name and "}" not in out.name:
        return out
    image = read(rest.get(f"/v1/images/{quoted(image_id)}"), Image)
    date, _, time = (image.created_at or "").partition("T")
    values = {name: getattr(image, name, None) for name in NAME_FIELDS}
    return out.with_name(out.name.format(**values | {"date": date, "time": time[:8].replace(":", "-")}))


def save(rest: Rest, image_id: str, out: Path | None, part: Part = WHOLE) -> None:
    """Download a file of an image to `out`, or to a name made of its id and type, and print that name.

    Raises: Refusal, if there is no such image; ServerUnreachable, if the download was incomplete; Conflict,
    if the file exists.
    """
    click.echo(f"saved {_download(rest, image_id, out, part)}", err=True)


def _download(rest: Rest, image_id: str, out: Path | None, part: Part) -> Path:
    with rest.stream(part.path_of(image_id), {}) as answer:
        suffix = _SUFFIXES.get(answer.headers.get("content-type", ""), "")
        file = out or Path(f"{image_id}{part.ending}{suffix}")
        refuse_taken(file)
        with _whole(file) as stream:
            for chunk in answer.iter_bytes():
                stream.write(chunk)
    return file


def save_stream(rest: Rest, path: str, query: Query, out: Path) -> None:
    """Download what a path sends, to a file or stdout. Raises: as `save`."""
    with rest.stream(path, {}, query) as answer:
        if out == STDOUT:
            _pour(answer)
            return
        with _whole(out) as stream:
            for chunk in answer.iter_bytes():
                stream.write(chunk)
    click.echo(f"saved {out}", err=True)


def pour(rest: Rest, image_id: str, part: Part = WHOLE) -> None:
    """Download a file of an image to stdout. Raises: as `save`."""
    with rest.stream(part.path_of(image_id), {}) as answer:
        _pour(answer)


def _pour(answer: httpx.Response) -> None:
    for chunk in answer.iter_bytes():
        sys.stdout.buffer.write(chunk)
    sys.stdout.buffer.flush()


def save_preview(out: Path, preview: Preview) -> None:
    """Save the latest preview of a job, with numbered names for its second and further images.

    Raises: SpoonError, if the preview is invalid; OSError, if the file cannot be written.
    """
    try:
        data = b64decode(preview.data_url.partition(";base64,")[2], validate=True)
    except ValueError as error:
        raise SpoonError(f"the server sent an invalid preview: {error}") from error
    with _whole(out.with_stem(f"{out.stem}-{preview.index + 1}") if preview.index else out) as stream:
        stream.write(data)


@contextmanager
def _whole(file: Path) -> Iterator[BinaryIO]:
    """A file that gets its name when it is complete."""
    partial = file.with_name(f".{file.name}.{os.getpid()}.part")
    try:
        with partial.open("wb") as stream:
            yield stream
        partial.replace(file)
    finally:
        partial.unlink(missing_ok=True)
