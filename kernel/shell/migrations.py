"""The numbered steps that bring a database to the present schema."""

import re
from importlib import resources
from typing import Final

import apsw

from kernel.protocol.errors import DatabaseUnusable

_FILE_NAME: Final = re.compile(r"(?P<number>\d{4})_[a-z0-9_]+\.sql")


def steps() -> dict[int, str]:
    """Every migration by its number, 1 upwards without a gap."""
    found = {
        int(match["number"]): entry.read_text(encoding="utf-8")
        for entry in resources.files("kernel.shell").joinpath("migrations").iterdir()
        if (match := _FILE_NAME.fullmatch(entry.name))
    }
    return dict(sorted(found.items()))


def migrate(connection: apsw.Connection) -> int:
    """Apply the missing steps, each in a transaction of its own with the number that it leads to.

    Returns: the schema's number (PRAGMA user_version).
    Raises: DatabaseUnusable, if the database was made by a newer version of this software.
    """
    present = int(connection.pragma("user_version"))
    known = steps()
    if present > len(known):
        raise DatabaseUnusable(
            f"the database has schema {present}, but this version supports {len(known)}: upgrade"
        )
    for number in range(present + 1, len(known) + 1):
        with connection:
            connection.execute(known[number])
            connection.pragma("user_version", number)
    return len(known)
