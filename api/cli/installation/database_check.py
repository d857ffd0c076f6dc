"""Find problems in the database and in the folders whose files it refers to."""

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import apsw
import msgspec

from api.cli.installation.database_copy import read_only
from api.installation.privacy import is_open, open_paths
from conf.settings import Settings
from kernel.protocol.type_info import analyzed
from kernel.views.named_sql import load_queries


class CheckReport(msgspec.Struct, frozen=True, kw_only=True):
    """Problems, one sentence each; orphaned files; and paths that other users can access."""

    wrong: tuple[str, ...]
    orphans: tuple[str, ...]
    open: tuple[str, ...]
    files: int


class Named(msgspec.Struct, frozen=True, kw_only=True):
    """A file as the database knows it."""

    kind: str
    file_name: str
    size_bytes: int
    sha256: str


def check(settings: Settings, is_deep: bool) -> CheckReport:
    """Check the database's pages, references and counts, and that every file it refers to exists.

    Deep: also verify each file's sha256. Safe beside a running Manager, whose changes in the meantime are not
    reported. Raises: DatabaseUnusable, if the database cannot be read at all.
    """
    folders = {"images": settings.images.folder, "blobs": settings.blobs.folder}
    # First the files, then the rows, so that a file created in the meantime does not look like an orphan.
    present = {(kind, name) for kind, folder in folders.items() for name in _files_below(folder)}
    queries = load_queries("api.cli.installation", "check.sql")
    with read_only(settings.database_file) as connection:
        wrong = [*_unsound(connection), *_lines(connection, queries["dangling"])]
        if connection.execute(queries["has_counts"]).get:
            wrong += _lines(connection, queries["miscounted"])
        named = _named(connection, queries["files"])
        unfit = {one: text for one in named if (text := _unfit(folders[one.kind], one, is_deep))}
        # A row that has been deleted in the meantime took its file with it.
        still_named = set(_named(connection, queries["files"])) if unfit else set[Named]()
        spoken_for = set(_lines(connection, queries["spoken_for"]))
    wrong += [text for one, text in unfit.items() if one in still_named]
    known = {(one.kind, one.file_name) for one in named}
    orphans = sorted({f"{kind}/{name}" for kind, name in present - known} - spoken_for)
    return CheckReport(
        wrong=tuple(wrong),
        orphans=tuple(orphans),
        open=tuple(_open(settings, [folders[one.kind] / one.file_name for one in named])),
        files=len(known),
    )


def unknown_images(settings: Settings, database: Path) -> tuple[str, ...]:
    """The image files that a database does not refer to: a server that starts on it deletes its own ones.

    Raises: DatabaseUnusable, if the database cannot be read.
    """
    queries = load_queries("api.cli.installation", "check.sql")
    with read_only(database) as connection:
        known = {one.file_name for one in _named(connection, queries["files"]) if one.kind == "images"}
        spoken_for = set(_lines(connection, queries["spoken_for"]))
    present = set(_files_below(settings.images.folder))
    return tuple(sorted(name for name in present - known if f"images/{name}" not in spoken_for))


def _open(settings: Settings, files: Iterable[Path]) -> Iterator[str]:
    yield from map(str, open_paths(settings))
    images, is_shared = settings.images.folder, settings.images.group_readable
    yield from (str(path) for path in files if is_open(path, is_shared=is_shared and path.parent == images))


def _unsound(connection: apsw.Connection) -> Iterator[str]:
    for (verdict,) in connection.execute("PRAGMA integrity_check"):
        if verdict != "ok":
            yield f"the database file is damaged: {verdict}"


def _named(connection: apsw.Connection, query: str) -> list[Named]:
    rows = connection.execute(query)
    return [
        msgspec.convert(dict(zip(Named.__struct_fields__, row, strict=True)), analyzed(Named)) for row in rows
    ]


def _lines(connection: apsw.Connection, query: str) -> Iterator[str]:
    return (str(line) for (line,) in connection.execute(query))


def _unfit(folder: Path, named: Named, is_deep: bool) -> str | None:
    """The problem with a file that the database refers to, if any."""
    path = folder / named.file_name
    try:
        size_bytes = path.stat().st_size
        if size_bytes != named.size_bytes:
            return f"{path} is {size_bytes} bytes long, expected {named.size_bytes}"
        if is_deep and _sha256(path) != named.sha256:
            return f"{path} has changed since it was stored: its SHA-256 differs"
    except FileNotFoundError:
        return f"{path} is missing"
    except OSError as error:
        return f"{path} cannot be read: {error.strerror}"
    return None


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _files_below(folder: Path) -> Iterator[str]:
    """Every file except hidden ones, such as the server's own marker."""
    files = (path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    return (path.relative_to(folder).as_posix() for path in files)
