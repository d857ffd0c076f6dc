"""Options that several commands have in common, and values as people write them."""

import os
import sys
from collections.abc import Collection, Mapping
from enum import StrEnum
from math import isfinite
from pathlib import Path
from typing import Final

import click

from api.http.words import find_word, hint_of
from conf.units import parse_duration_s, parse_size_bytes
from kernel.protocol.vocabulary import ImageFileType

_SUFFIXES: Final[Mapping[ImageFileType, str]] = {
    ImageFileType.PNG: ".png",
    ImageFileType.JPEG: ".jpg",
    ImageFileType.WEBP: ".webp",
}

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
limit_option = click.option(
    "--limit", type=click.IntRange(min=1), default=50, show_default=True, help="List at most so many."
)
all_option = click.option("--all", "is_all", is_flag=True, help="List all of them, whatever --limit says.")
yes_option = click.option("--yes", "is_sure", is_flag=True, help="Do not ask.")


def confirm(question: str, *, is_sure: bool) -> None:
    """Ask a person, unless --yes was said.

    Raises: Abort, if the answer is no; UsageError, if nobody is there to ask.
    """
    if is_sure:
        return
    try:
        is_agreed = click.confirm(question)
    except click.Abort:
        if sys.stdin.isatty():
            raise
        raise click.UsageError("nobody is there to answer: say --yes to do it without a question") from None
    if not is_agreed:
        raise click.Abort


class WordChoice(click.Choice[str]):
    """One of a closed set of words, in the spellings that the REST API takes: `DPM++ 2M Karras`, `LoRA`."""

    def __init__(self, words: type[StrEnum]) -> None:
        super().__init__([word.value for word in words])
        self._words = words

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The word itself, whatever its spelling. Raises: BadParameter, with the words that there are."""
        found = find_word(self._words, value)
        hint = hint_of(self._words, value)
        if found is None and hint:
            self.fail(f"{hint}must be one of {', '.join(self._words)}", param, ctx)
        return super().convert(value if found is None else found.value, param, ctx)


class PictureFile(click.Path[Path]):
    """Where a picture is to be saved: checked before it is drawn, so that it is not drawn in vain."""

    def __init__(self, allow_dash: bool = False, types: Collection[ImageFileType] = ()) -> None:
        """`types`: what the suffix may mean, if it matters what it means."""
        super().__init__(dir_okay=False, path_type=Path, allow_dash=allow_dash)
        self._types = types

    def convert(
        self, value: str | os.PathLike[str], param: click.Parameter | None, ctx: click.Context | None
    ) -> Path:
        """The path. Raises: BadParameter, if no file can be made there, or its suffix means no right type."""
        file = super().convert(value, param, ctx)
        if value == "-" and self.allow_dash:
            return file
        # A picture gets its name when it is whole: what must be writable is the folder, not a file in it.
        if not file.parent.is_dir():
            self.fail(f"there is no folder {file.parent}", param, ctx)
        if not os.access(file.parent, os.W_OK | os.X_OK):
            self.fail(f"the folder {file.parent} cannot be written to", param, ctx)
        if self._types and file.suffix and _meant(file) not in self._types:
            names = " or ".join(_SUFFIXES[kind] for kind in self._types)
            self.fail(f"no picture is made as {file.suffix}: the name must end in {names}", param, ctx)
        return file


def file_type_for(out: Path | None, said: str | None) -> str | None:
    """The type of a picture: the one that was said, else the one that the file's suffix means.

    None where neither says anything. Raises: BadParameter, if they contradict each other.
    """
    meant = None if out is None else _meant(out)
    if said and meant and said != meant:
        raise click.BadParameter(f"{out} is the name of a {meant}, not of a {said}", param_hint="--file-type")
    return said or meant


def _meant(file: Path) -> ImageFileType | None:
    return find_word(ImageFileType, file.suffix.removeprefix("."))


def duration(text: str) -> float:
    """A duration such as 90s or 10m, to seconds; click names the type after this function."""
    try:
        return parse_duration_s(text)
    except ValueError as error:
        raise click.BadParameter(f"{text} is no duration such as 90s, 10m or 2h") from error


def numbers(text: str) -> tuple[str, ...]:
    """Numbers with commas between them, as they are written; click names the type after this function."""
    found = tuple(one.strip() for one in text.split(","))
    try:
        are_finite = all(isfinite(float(one)) for one in found)
    except ValueError:
        are_finite = False
    if not are_finite:
        raise click.BadParameter(f"{text} are no numbers such as 0.5,0.5,0.5")
    return found


def disk_size(text: str) -> int:
    """A size such as 500MB or 5GB, to bytes; click names the type after this function."""
    try:
        return parse_size_bytes(text)
    except ValueError as error:
        raise click.BadParameter(f"{text} is no size such as 500MB or 5GB") from error
