"""Records what a version leaves behind, so that every later version is tested with it.

    python -m tests.acceptance.releases.record [--tree CHECKOUT]

Starts the Manager and the API of a checkout (default: this one) with fake engines, lets them live through
`story.py` over HTTP, and writes `VERSION.tar.xz` beside this file: the data folder as a clean stop leaves it,
as `kill -9` leaves it, and what the API said of everything before. Nothing but that server touches the data.
"""

import hashlib
import lzma
import shutil
import tarfile
import tempfile
from argparse import ArgumentParser
from contextlib import chdir, closing
from io import BytesIO
from pathlib import Path
from typing import Final

import apsw
import msgspec

from tests.acceptance.patience import wait_for
from tests.acceptance.releases.client import Client
from tests.acceptance.releases.recording import (
    KILLED,
    MANIFEST,
    MIGRATIONS,
    STOPPED,
    Left,
    Recording,
    archive_of,
)
from tests.acceptance.releases.story import add_open_jobs, fill
from tests.acceptance.server import Server

ROOT: Final = Path(__file__).parents[3]
KEPT: Final = ("database", "images", "blobs", "models")
"""The folders of an installation but for sockets and keys, which each start makes anew."""
LEFT_OUT: Final = ("logs", "manager.lock")


class RecordedServer(Server):
    """The Manager and the API of a checkout."""

    def __init__(self, folder: Path, tree: Path) -> None:
        super().__init__(folder, with_api=True)
        keep = {"SPOON_IMAGES_EXPIRE_AFTER": "never", "SPOON_BLOBS_EXPIRE_AFTER": "36500d"}
        self.variables |= {"PYTHONPATH": str(tree), **keep}

    def wait_for_manager(self) -> None:
        """Its API is waited for: on the bus it may speak another version."""


def record(tree: Path) -> Path:
    """Returns: the archive."""
    with tempfile.TemporaryDirectory(prefix="spoon-") as name:
        folder, out = Path(name, "data"), Path(name, "out")
        folder.mkdir()
        with closing(RecordedServer(folder, tree)) as server, chdir(folder):
            stopped, version = _live(server, out)
            killed = _die(server, out)
        manifest = Recording(
            version=version,
            schema=_schema(out),
            migrations={
                path.name: hashlib.sha256(path.read_bytes()).hexdigest()
                for path in sorted((tree / MIGRATIONS).glob("*.sql"))
            },
            stopped=stopped,
            killed=killed,
        )
        (out / MANIFEST).write_bytes(msgspec.json.format(msgspec.json.encode(manifest), indent=1))
        return pack(out, archive_of(version))


def _live(server: RecordedServer, out: Path) -> tuple[Left, str]:
    """What was there before the clean stop, and the version."""
    server.start()
    with closing(Client(server.port, "first-")) as client:
        wait_for("the server", lambda: client.http.get("health/ready").is_success)
        fill(client, server.folder)
        left = client.left()
        version = str(client.get("capabilities")["versions"]["automatic_spoon"])
    assert server.stop() == 0
    _copy(server.folder, out / STOPPED)
    return left, version


def _die(server: RecordedServer, out: Path) -> Left:
    """What was there before the kill."""
    server.start()
    with closing(Client(server.port, "second-")) as client:
        wait_for("the server", lambda: client.http.get("health/ready").is_success)
        add_open_jobs(client)
        left = client.left()
    server.kill()
    _copy(server.folder, out / KILLED)
    assert (out / KILLED / "database/spoon.sqlite3-wal").stat().st_size, "a write-ahead log is left"
    return left


def _copy(folder: Path, target: Path) -> None:
    for name in KEPT:
        shutil.copytree(folder / name, target / name, ignore=shutil.ignore_patterns(*LEFT_OUT))


def _schema(out: Path) -> int:
    file = out / STOPPED / "database/spoon.sqlite3"
    with closing(apsw.Connection(str(file), flags=apsw.SQLITE_OPEN_READONLY)) as connection:
        return int(connection.pragma("user_version"))


def pack(folder: Path, target: Path) -> Path:
    """One archive of everything in a folder; the same files give the same bytes.

    What is recorded stays: between releases the code has another schema under the same version.
    """
    assert not target.exists(), f"{target} is there already: a release is recorded once"
    stream = BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path in sorted(folder.rglob("*")):
            archive.add(path, str(path.relative_to(folder)), recursive=False, filter=_plain)
    target.write_bytes(lzma.compress(stream.getvalue(), preset=9))
    return target


def _plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """Without what depends on the machine and the moment."""
    member.uid = member.gid = member.mtime = 0
    member.uname = member.gname = ""
    return member


def main() -> None:
    parser = ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--tree", type=Path, default=ROOT, help="the checkout of the release")
    print(record(parser.parse_args().tree.absolute()))


if __name__ == "__main__":
    main()
