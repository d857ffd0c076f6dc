"""Tables of Markdown pages, as rows of cells."""

import re
from typing import NamedTuple

_RULE = re.compile(r"\|(?:\s*:?-+:?\s*\|)+")


class Row(NamedTuple):
    """One row, below the head of its table."""

    cells: tuple[str, ...]


def rows_after(page: str, mark: str) -> list[Row]:
    """The rows of the first table that follows a text.

    Raises: ValueError, if the text is not there, or no table follows it.
    """
    return _rows(page[page.index(mark) :])[0]


def all_rows(page: str) -> list[Row]:
    """The rows of every table."""
    return [row for table in _rows(page) for row in table]


def _rows(text: str) -> list[list[Row]]:
    tables: list[list[Row]] = []
    is_inside = False
    for line in text.splitlines():
        if _RULE.fullmatch(line):
            tables.append([])
            is_inside = True
        elif is_inside and line.startswith("|"):
            tables[-1].append(Row(tuple(cell.strip() for cell in line.strip("|").split("|"))))
        else:
            is_inside = False
    if not tables:
        raise ValueError("there is no table")
    return tables
