"""Named queries: each is a block of a .sql file that begins with `-- name: what it is for`."""

import re
from importlib import resources
from typing import Final

_NAME_LINE: Final = re.compile(r"^-- (?P<name>[a-z_]+): .+$", re.MULTILINE)


def load_queries(package: str, file_name: str) -> dict[str, str]:
    """The queries of one file by name, in the folder `sql` of a package.

    Raises: ValueError, if a name appears twice or there is text before the first name.
    """
    text = resources.files(package).joinpath("sql", file_name).read_text(encoding="utf-8")
    starts = list(_NAME_LINE.finditer(text))
    ends = [*(match.start() for match in starts[1:]), len(text)]
    queries: dict[str, str] = {}
    for match, end in zip(starts, ends, strict=True):
        if match["name"] in queries:
            raise ValueError(f"{file_name} has two queries named {match['name']}")
        queries[match["name"]] = text[match.end() : end].strip().rstrip(";")
    return queries


def load_list_queries(package: str, file_name: str) -> dict[str, str]:
    """The same, and of every list, newest first, the one that goes the other way: its name ends in `_oldest`.

    A direction cannot be bound to a parameter.
    """
    queries = load_queries(package, file_name)
    lists = {name: text for name, text in queries.items() if " DESC" in text}
    return queries | {f"{name}_oldest": _turned(text) for name, text in lists.items()}


def _turned(text: str) -> str:
    return text.replace("< :after", "> :after").replace("< mark.id", "> mark.id").replace(" DESC", " ASC")
