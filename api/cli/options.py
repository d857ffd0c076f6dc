"""Options that several commands share, and parsers for values as people write them."""

import os
import sys
from collections.abc import Callable, Collection, Mapping
from enum import StrEnum
from math import isfinite
from pathlib import Path
from string import Formatter
from typing import Final, TypeVar

import click

from api.http.contract.enum_choices import find_choice, find_levels, problem_with
from conf.units import parse_duration_s, parse_size_bytes
from kernel.protocol.enums import ImageFileType, Scheduler
from kernel.protocol.errors import Conflict

Command = TypeVar("Command", bound=Callable[..., None])

_SUFFIXES: Final[Mapping[ImageFileType, str]] = {
    ImageFileType.PNG: ".png",
    ImageFileType.JPEG: ".jpg",
    ImageFileType.WEBP: ".webp",
}

NAME_FIELDS: Final = ("date", "time", "seed", "index", "width", "height", "image_id", "job_id")
"""The fields of an output file's name: values of its image, and the date and time (UTC) of its creation."""

STDOUT: Final = Path("-")
"""As the value of --out."""
_IS_FORCED: Final = "api.cli.options.is_forced"

json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print the result as JSON, and an error as JSON on stderr."
)
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
        if found is None and self._words is Scheduler and find_levels(value) is not None:
            return value  # which the server reads as two fields
        if found is None:
            self.fail(problem_with(self._words, value), param, ctx)
        return found.value


class ImagePath(click.Path[Path]):
    """The file to save an image to, checked before the job runs so that no work is wasted."""

    def __init__(self, types: Collection[ImageFileType] = (), *, is_preview: bool = False) -> None:
        """`types`: the file types that the suffix may name; empty for any. Only the name of a preview has no
        fields (NAME_FIELDS) and cannot be stdout."""
        super().__init__(dir_okay=False, path_type=Path, allow_dash=not is_preview)
        self._types = types
        self._has_fields = not is_preview

    def convert(
        self, value: str | os.PathLike[str], param: click.Parameter | None, ctx: click.Context | None
    ) -> Path:
        """The path. Raises: BadParameter, if it cannot be created or its suffix names no allowed type."""
        file = super().convert(value, param, ctx)
        if file == STDOUT and self.allow_dash:
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


def out_option(kind: click.ParamType[Path], text: str) -> Callable[[Command], Command]:
    """The options --out and --force. Commands first check what was said with `check_out`."""
    out = click.option("--out", type=kind, help=text)
    force = click.option(
        "--force", is_flag=True, expose_value=False, callback=_remember_force,
        help="Overwrite the file in --out if it exists.",
    )  # fmt: skip
    return lambda command: out(force(command))


def check_out(out: Path | None, images: object = 1, *, as_json: bool = False) -> None:
    """Check before any work that its result can be saved in --out.

    Raises: UsageError, if stdout would get two things; Conflict, if a file exists and --force was not given.
    """
    count = images if isinstance(images, int) else 1
    if out == STDOUT and as_json:
        raise click.UsageError("--json and --out - cannot be used together: both write to stdout")
    if out == STDOUT and count > 1:
        raise click.UsageError(f"{count} images cannot be told apart on stdout; use a file name")
    if out not in (None, STDOUT) and "{" not in out.name:
        for file in numbered(out, count):
            refuse_taken(file)


def refuse_taken(file: Path) -> None:
    """Raises: Conflict, if the file exists and --force was not given."""
    if os.path.lexists(file) and not is_forced():
        raise Conflict(f"{file} already exists; pass --force to overwrite it, or choose another name")


def is_forced() -> bool:
    """Whether the running command was given --force."""
    context = click.get_current_context(silent=True)
    return context is not None and bool(context.meta.get(_IS_FORCED))


def numbered(out: Path, images: int) -> list[Path]:
    """A file for each image: `out` itself for one, numbered names for several."""
    return [out] if images == 1 else [out.with_stem(f"{out.stem}-{n + 1}") for n in range(images)]


def _remember_force(context: click.Context, param: click.Parameter, value: bool) -> None:
    context.meta[_IS_FORCED] = value


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
