"""Output of the commands: tables, single objects, JSON, sizes and times."""

from collections.abc import Iterable, Sequence
from typing import Final

import click
import msgspec

_FIRST: Final = frozenset({"model_id", "engine_id", "job_id", "image_id", "name", "status"})

Cell = str | int | float | None


def print_json(body: bytes | msgspec.Raw) -> None:
    """Print JSON, indented, every value unchanged."""
    click.echo(msgspec.json.format(bytes(body), indent=2).decode())


def print_struct(value: msgspec.Struct) -> None:
    """Print a struct as JSON."""
    print_json(msgspec.json.encode(value))


def print_table(titles: Sequence[str], rows: Iterable[Sequence[Cell]]) -> None:
    """Print aligned columns; only the titles if there are no rows."""
    lines = [list(titles), *([_text(cell) for cell in row] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(titles))]
    for line in lines:
        click.echo("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip())


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
