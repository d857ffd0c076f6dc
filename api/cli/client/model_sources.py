"""The source of a model: what a person writes, as a URL, a name, or a file to upload."""

import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

import click

from api.cli.client.progress_bar import ProgressBar
from api.cli.client.rest import Rest
from api.cli.client.uploading import Form
from kernel.protocol.enums import ModelType
from kernel.protocol.sources import BadSource, CivitaiSource, default_name, is_air, parse_source

_LOCAL_SUFFIXES: Final = (".safetensors", ".ckpt", ".pt", ".pth", ".bin", ".onnx")


def address_of(source: str) -> str | None:
    """The URL of a source: a local path becomes an absolute file:// URI (RFC 8089), percent-encoded.

    None for the id of a repository, which is sent as the name alone.
    """
    if "://" in source or is_air(source):
        return source
    path = Path(source).expanduser()
    if path.exists():
        # Do not resolve the last name: a link may have the suffix that its target lacks.
        return (path.parent.resolve() / path.name).as_uri()
    if source.startswith((".", "/", "~")) or source.endswith(_LOCAL_SUFFIXES) or source.count("/") != 1:
        raise click.BadParameter(
            f"no such file or folder: {source} (write a Hugging Face repository as owner/name, and a file in "
            "one as hf://owner/name/file)",
            param_hint="SOURCE",
        )
    return None


def name_of(source: str) -> str:
    """The default name of a model."""
    if (until_known := default_name(source)) is not None:
        return until_known
    if address_of(source) is None:
        return source
    if "://" in source or is_air(source):
        # The query is not part of the name, and may hold a secret.
        path = Path(unquote(urlsplit(source).path or urlsplit(source).netloc))
    else:
        path = Path(source).expanduser()
    if path.suffix in _LOCAL_SUFFIXES:
        return path.stem
    return path.resolve().name if path.is_dir() else path.name


def type_of(source: str) -> ModelType:
    """The type that the source says. Raises: click.MissingParameter, if it says none."""
    try:
        parsed = parse_source(source)
    except BadSource:
        parsed = None
    if isinstance(parsed, CivitaiSource) and parsed.model_type is not None:
        return parsed.model_type
    raise click.MissingParameter(
        f"It is one of {', '.join(ModelType)}.", param_hint="'--type'", param_type="option"
    )


def upload(rest: Rest, source: str, fields: Mapping[str, str | tuple[str, ...] | None]) -> bytes:
    """Upload a file, with a progress bar on stderr. Raises: click.BadParameter, if it is not a file."""
    file = Path(source).expanduser()
    if not file.is_file():
        what = "is a folder; only a file can be uploaded" if file.is_dir() else "does not exist"
        raise click.BadParameter(f"{file} {what}", param_hint="SOURCE")
    bar, began_s = ProgressBar(sys.stderr), time.monotonic()

    def sent(done_bytes: int, total_bytes: int) -> None:
        spent_s = time.monotonic() - began_s
        bar.show_bytes(
            "uploading", done_bytes, total_bytes, int(done_bytes / spent_s) if spent_s > 0 else None
        )

    form = Form(fields, file, sent)
    try:
        return rest.send_form("/v1/models/upload", form.headers, form.pieces())
    finally:
        bar.close()
