"""What a release left behind: its data folders, and what its API had said of everything in them."""

import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

RELEASES: Final = Path(__file__).parent
ENDING: Final = ".tar.xz"
MANIFEST: Final = "manifest.json"
STOPPED: Final = "stopped"
"""The data as a clean stop leaves it."""
KILLED: Final = "killed"
"""The data as `kill -9` leaves it, with a write-ahead log, and jobs that workers had."""
MIGRATIONS: Final = "kernel/shell/migrations"

Said = dict[str, Any]
"""An object of the REST API."""


class Reply(msgspec.Struct, frozen=True):
    """A POST with an idempotency key, and its answer."""

    path: str
    key: str
    body: Said
    answer: Said


class Left(msgspec.Struct, frozen=True):
    """What the API had said of a data folder before its end."""

    models: list[Said]
    engines: list[Said]
    jobs: list[Said]
    images: list[Said]
    replies: list[Reply]


class Recording(msgspec.Struct, frozen=True):
    """The manifest of an archive."""

    version: str
    schema: int
    migrations: dict[str, str]
    """The sha256 of each migration's text, by its name: released ones never change."""
    stopped: Left
    killed: Left

    def left(self, end: str) -> Left:
        """Of STOPPED or KILLED."""
        return self.stopped if end == STOPPED else self.killed


def archive_of(version: str) -> Path:
    return RELEASES / f"{version}{ENDING}"


def recorded_versions() -> list[str]:
    return sorted(path.name.removesuffix(ENDING) for path in RELEASES.glob(f"*{ENDING}"))


def read_recording(version: str) -> Recording:
    """The manifest alone."""
    with tarfile.open(archive_of(version)) as archive:
        stream = archive.extractfile(MANIFEST)
        assert stream is not None
        return msgspec.json.decode(stream.read(), type=Recording)


def unpack(version: str, end: str, folder: Path) -> None:
    """Put one of the data folders into this folder."""
    with tarfile.open(archive_of(version)) as archive:
        archive.extractall(folder, members=_below(archive, f"{end}/"), filter="data")


def _below(archive: tarfile.TarFile, prefix: str) -> Iterator[tarfile.TarInfo]:
    for member in archive:
        if member.name.startswith(prefix):
            yield member.replace(name=member.name.removeprefix(prefix))
