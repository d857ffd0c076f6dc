"""Output of the commands: tables, single objects, JSON, sizes and times."""

import shutil
import sys
import textwrap
from collections.abc import Iterable, Sequence
from typing import Final
from unicodedata import combining, east_asian_width

import click
import msgspec

_FIRST: Final = frozenset({"model_id", "engine_id", "job_id", "image_id", "name", "status"})

_GAP: Final = "  "
_LEAST: Final = 11
"""The columns of a terminal that a cell may be cut to: a date with its ellipsis."""
COLORS: Final = {
    **dict.fromkeys(("ready", "working", "finished", "ok"), "green"),
    **dict.fromkeys(("error", "failed", "missing"), "red"),
    **dict.fromkeys(("processing", "starting", "stopping", "downloading", "note"), "yellow"),
    **dict.fromkeys(("cancelled", "closed"), "bright_black"),
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

    On a terminal the lines fit its width: long cells are cut, the longest most, but not ids. `is_wrapped`:
    instead, the last column is continued on further lines.
    """
    lines = [list(titles), *([_text(cell) for cell in row] for row in rows)]
    widths = [max(_width(line[column]) for line in lines) for column in range(len(titles))]
    space = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    if space is not None and not is_wrapped:
        widths = _fitted(titles, widths, space)
    for number, line in enumerate(lines):
        *first, last = (_cut(text, width) for text, width in zip(line, widths, strict=True))
        head = [
            text.ljust(width - _width(text) + len(text)) for text, width in zip(first, widths, strict=False)
        ]
        styled = [_styled(text, title, number) for text, title in zip([*head, last], titles, strict=True)]
        indent = sum(widths[:-1]) + len(_GAP) * len(head)
        plain = _GAP.join([*head, last])
        if space is None or _width(plain) <= space:
            click.echo(_GAP.join(styled).rstrip())
        elif is_wrapped and space - indent >= _LEAST:
            wrapped = textwrap.wrap(last, space - indent)
            click.echo(_GAP.join([*styled[:-1], wrapped[0]]))
            for more in wrapped[1:]:
                click.echo(" " * indent + more)
        else:
            click.echo(_cut(plain, space))


def _fitted(titles: Sequence[str], widths: Sequence[int], space: int) -> list[int]:
    """The widths of the columns, of which the widest are narrowed until all fit, as far as they can be."""
    found = list(widths)
    while sum(found) + len(_GAP) * (len(found) - 1) > space:
        widest = max((n for n, title in enumerate(titles) if title != "ID"), key=found.__getitem__)
        if found[widest] <= _LEAST:
            break
        found[widest] -= 1
    return found


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
    if size_bytes is None:
        return None
    for unit, factor in (("TB", 10**12), ("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size_bytes >= factor:
            return f"{size_bytes / factor:.1f} {unit}"
    return f"{size_bytes} B"


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
