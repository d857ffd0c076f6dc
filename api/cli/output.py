"""Output of the commands: tables, single objects, JSON, sizes and times."""

import os
import shutil
import sys
import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final
from unicodedata import combining, east_asian_width

import click
import msgspec

from api.cli.options import refuse_taken
from conf.units import rounded_size

_FIRST: Final = frozenset({"model_id", "engine_id", "job_id", "image_id", "name", "status"})

_GAP: Final = "  "
_LEAST: Final = 11
"""The columns of a terminal that a cell may be cut to: a date with its ellipsis."""
_FEWEST: Final = 3
"""Columns that are always shown."""
COLORS: Final = {
    **dict.fromkeys(("ready", "working", "finished", "ok", "active"), "green"),
    **dict.fromkeys(("error", "failed", "missing"), "red"),
    **dict.fromkeys(("processing", "starting", "stopping", "downloading", "note"), "yellow"),
    **dict.fromkeys(("cancelled", "closed", "expired", "revoked"), "bright_black"),
}
"""Of the words in columns named STATUS."""

Cell = str | int | float | None


def print_json(body: bytes | msgspec.Raw) -> None:
    """Print JSON, indented, every value unchanged."""
    click.echo(msgspec.json.format(bytes(body), indent=2).decode())


def print_struct(value: msgspec.Struct) -> None:
    """Print a struct as JSON."""
    print_json(msgspec.json.encode(value))


def print_table(titles: Sequence[str], rows: Iterable[Sequence[Cell]], *, is_wrapped: bool = False) -> None:
    """Print aligned columns; only the titles if there are no rows.

    On a terminal the lines fit its width: long cells are cut, the longest most, but not ids; where that is
    not enough, columns before the last are left out, and stderr names them. `is_wrapped`: instead, the last
    column is continued on further lines.
    """
    lines = [list(titles), *([_text(cell) for cell in row] for row in rows)]
    widths = [max(_width(line[column]) for line in lines) for column in range(len(titles))]
    space = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    shown = list(range(len(titles)))
    if space is not None and not is_wrapped:
        shown, widths = _fitted(titles, widths, space)
    for number, line in enumerate(lines):
        texts = [_cut(line[column], widths[column]) for column in shown]
        padded = [f"{text}{' ' * (widths[n] - _width(text))}" for n, text in zip(shown, texts, strict=True)]
        cells = [*padded[:-1], texts[-1]]
        styled = [_styled(text, titles[n], number) for n, text in zip(shown, cells, strict=True)]
        plain = _GAP.join(cells)
        if space is None or _width(plain) <= space:
            click.echo(_GAP.join(styled).rstrip())
        elif is_wrapped:
            _print_wrapped(styled, cells, space)
        else:
            click.echo(_cut(plain, space))
    if hidden := [title for n, title in enumerate(titles) if n not in shown]:
        click.echo(f"no room for {', '.join(hidden)}: use a wider terminal, or --json", err=True)


def _print_wrapped(styled: Sequence[str], cells: Sequence[str], space: int) -> None:
    indent = sum(_width(cell) + len(_GAP) for cell in cells[:-1])
    first, *more = textwrap.wrap(cells[-1], max(space - indent, _LEAST)) or [""]
    click.echo(_GAP.join([*styled[:-1], first]))
    for line in more:
        click.echo(" " * indent + line)


def _fitted(titles: Sequence[str], widths: Sequence[int], space: int) -> tuple[list[int], list[int]]:
    """The columns to show, by number, and the widths of all; the widest are narrowed until they fit."""
    found, least = list(widths), [width if title == "ID" else min(width, _LEAST)
                                  for title, width in zip(titles, widths, strict=True)]  # fmt: skip
    shown = list(range(len(titles)))
    while _taken(shown, least) > space and len(shown) > _FEWEST:
        shown.pop(-2)
    while _taken(shown, found) > space and _taken(shown, found) > _taken(shown, least):
        widest = max(shown, key=lambda n: found[n] - least[n] and found[n])
        found[widest] -= 1
    return shown, found


def _taken(shown: Sequence[int], widths: Sequence[int]) -> int:
    return sum(widths[n] for n in shown) + len(_GAP) * (len(shown) - 1)


def _width(text: str) -> int:
    """The columns of a terminal that a text takes; Chinese characters take two (Unicode annex 11)."""
    if text.isascii():
        return len(text)
    return sum(0 if combining(c) else 2 if east_asian_width(c) in "WF" else 1 for c in text)


def _cut(text: str, width: int) -> str:
    """The text, with an ellipsis in place of its end if it is too wide."""
    if _width(text) <= width:
        return text
    while _width(text) >= width:
        text = text[:-1]
    return f"{text}…"


def _styled(text: str, title: str, line: int) -> str:
    """A cell with its color; click leaves colors out where they are not wanted."""
    if line == 0:
        return click.style(text, bold=True)
    return click.style(text, fg=COLORS.get(text.split(",")[0].strip())) if title == "STATUS" else text


def print_thing(body: bytes | msgspec.Raw) -> None:
    """Print a JSON object, one line per field that has a value: first what it is, then how."""
    fields = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    names = sorted(fields, key=lambda name: name not in _FIRST)
    shown = {name: _plain(fields[name]) for name in names}
    width = max((len(name) for name in shown), default=0)
    for name, text in shown.items():
        if text is not None:
            click.echo(f"{name.ljust(width)}  {text}")


def beginning(text: str | None, width: int = 40) -> str | None:
    """The beginning of a text that may be long, such as a prompt."""
    return text if text is None or len(text) <= width else text[: width - 3] + "..."


def size(size_bytes: int | None) -> str | None:
    """A human-readable size, such as 4.3 GB."""
    return None if size_bytes is None else rounded_size(size_bytes)


def when(time: str | None) -> str | None:
    """An RFC 3339 time to the second: 2026-01-31 12:00:05Z."""
    return None if time is None else time[:19].replace("T", " ") + "Z"


def printable(text: str) -> str:
    """The text on one line, with newlines and escape characters from user input replaced."""
    return "".join(c if c.isprintable() else "?" for c in text)


def _text(cell: Cell) -> str:
    return "-" if cell is None else printable(str(cell))


def _plain(raw: msgspec.Raw) -> str | None:
    """A JSON value as text: strings bare, nothing for null and for what is empty."""
    text = bytes(raw).decode()
    if text in ("null", "[]", "{}", '""'):
        return None
    return _text(msgspec.json.decode(raw, type=str)) if text.startswith('"') else text


def counted_jobs(running: int) -> str:
    """The number of running jobs, in words."""
    return f"{running} running {'job' if running == 1 else 'jobs'}"


def write_secret(file: Path, data: bytes) -> None:
    """Create a file that only its owner can ever read. Raises: Conflict, if it exists without --force."""
    refuse_taken(file)
    file.unlink(missing_ok=True)
    handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as stream:
        stream.write(data)
