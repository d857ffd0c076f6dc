"""Options that several commands share, and parsers for values as people write them."""

import os
import sys
from collections.abc import Collection, Mapping
from enum import StrEnum
from math import isfinite
from pathlib import Path
from string import Formatter
from typing import Final

import click

from api.http.contract.enum_choices import find_choice, problem_with
from conf.units import parse_duration_s, parse_size_bytes
from kernel.protocol.enums import ImageFileType

_SUFFIXES: Final[Mapping[ImageFileType, str]] = {
    ImageFileType.PNG: ".png",
    ImageFileType.JPEG: ".jpg",
    ImageFileType.WEBP: ".webp",
}

NAME_FIELDS: Final = ("date", "time", "seed", "index", "width", "height", "image_id", "job_id")
"""The fields of an output file's name: values of its image, and the date and time (UTC) of its creation."""

json_option = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
limit_option = click.option(
    "--limit",
    type=click.IntRange(min=1),
    metavar="N",
    default=50,
    show_default=True,
    help="Maximum number of items to list.",
)
all_option = click.option("--all", "is_all", is_flag=True, help="List all items, ignoring --limit.")
yes_option = click.option("--yes", "is_sure", is_flag=True, help="Do not ask for confirmation.")


def confirm(question: str, *, is_sure: bool) -> None:
    """Ask for confirmation, unless --yes was given.

    Raises: Abort, if the answer is no; UsageError, if stdin is not a terminal.
    """
    if is_sure:
        return
    try:
        is_agreed = click.confirm(question)
    except click.Abort:
        if sys.stdin.isatty():
            raise
        raise click.UsageError("stdin is not a terminal; pass --yes to confirm") from None
    if not is_agreed:
        raise click.Abort


class WordChoice(click.Choice[str]):
    """One of a closed set of words, in the spellings that the REST API takes: `DPM++ 2M Karras`, `LoRA`."""

    def __init__(self, words: type[StrEnum]) -> None:
        super().__init__([word.value for word in words])
        self._words = words

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The word in its canonical spelling. Raises: BadParameter, with the words or the nearest."""
        found: StrEnum | None = find_choice(self._words, value)
        if found is None:
            self.fail(problem_with(self._words, value), param, ctx)
        return found.value


class ImagePath(click.Path[Path]):
    """The file to save an image to, checked before the job runs so that no work is wasted."""

    def __init__(
        self, allow_dash: bool = False, types: Collection[ImageFileType] = (), has_fields: bool = False
    ) -> None:
        """`types`: the file types that the suffix may name; empty for any. `has_fields`: see NAME_FIELDS."""
        super().__init__(dir_okay=False, path_type=Path, allow_dash=allow_dash)
        self._types = types
        self._has_fields = has_fields

    def convert(
        self, value: str | os.PathLike[str], param: click.Parameter | None, ctx: click.Context | None
    ) -> Path:
        """The path. Raises: BadParameter, if it cannot be created or its suffix names no allowed type."""
        file = super().convert(value, param, ctx)
        if value == "-" and self.allow_dash:
            return file
        # An image gets its name when it is complete: the folder must be writable, not a file in it.
        if not file.parent.is_dir():
            self.fail(f"folder {file.parent} does not exist", param, ctx)
        if not os.access(file.parent, os.W_OK | os.X_OK):
            self.fail(f"folder {file.parent} is not writable", param, ctx)
        if self._has_fields and (problem := _wrong_field_in(file.name)):
            self.fail(problem, param, ctx)
        if self._types and file.suffix and _meant(file) not in self._types:
            *names, last = (_SUFFIXES[kind] for kind in self._types)
            wanted = f"{', '.join(names)} or {last}" if names else last
            self.fail(f"{file.suffix} is not supported; use {wanted}", param, ctx)
        return file


def _wrong_field_in(name: str) -> str | None:
    """What is wrong with the fields of a file name; None if nothing is."""
    known = f"use {', '.join(f'{{{field}}}' for field in NAME_FIELDS)}, and {{{{ for a brace"
    try:
        fields = [(field, more) for _, field, *more in Formatter().parse(name) if field is not None]
    except ValueError:
        return f"{name} has a single brace; {known}"
    wrong = [field for field, more in fields if field not in NAME_FIELDS or more != ["", None]]
    return f"{{{wrong[0]}}} is not a field of a file name; {known}" if wrong else None


def file_type_for(out: Path | None, said: str | None) -> str | None:
    """The file type that was given, else the one that the suffix of `out` names.

    None if neither is given. Raises: BadParameter, if they contradict each other.
    """
    meant = None if out is None else _meant(out)
    if said and meant and said != meant:
        raise click.BadParameter(f"{said} does not match the suffix of {out}", param_hint="--file-type")
    return said or meant


def suffix_of(file_type: ImageFileType) -> str:
    """The suffix of a file of this type."""
    return _SUFFIXES[file_type]


def _meant(file: Path) -> ImageFileType | None:
    return find_choice(ImageFileType, file.suffix.removeprefix("."))


def duration(text: str) -> float:
    """A duration such as 90s or 10m, to seconds; click names the type after this function."""
    try:
        return parse_duration_s(text)
    except ValueError as error:
        raise click.BadParameter(f"{text!r} is not a duration (examples: 90s, 10m, 2h)") from error


def numbers(text: str) -> tuple[str, ...]:
    """Comma-separated numbers, as written; click names the type after this function."""
    found = tuple(one.strip() for one in text.split(","))
    try:
        are_finite = all(isfinite(float(one)) for one in found)
    except ValueError:
        are_finite = False
    if not are_finite:
        raise click.BadParameter(f"{text!r} is not a list of numbers (example: 0.5,0.5,0.5)")
    return found


def disk_size(text: str) -> int:
    """A size such as 500MB or 5GB, to bytes; click names the type after this function."""
    try:
        return parse_size_bytes(text)
    except ValueError as error:
        raise click.BadParameter(f"{text!r} is not a size (examples: 500MB, 5GB)") from error
