"""A zip of image files, made while it is sent: each is claimed in its turn, and counted when it was taken."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from io import FileIO
from pathlib import Path
from typing import Final
from zipfile import ZIP_STORED, ZipFile, ZipInfo

from api.http.framework.file_headers import plain_name
from api.http.framework.generated_body import Pieces
from api.port import BusPort
from kernel.protocol.client import ClaimDownload, DownloadGranted, FinishDownload
from kernel.protocol.errors import ImageGone, ManagerUnreachable, SpoonError
from kernel.protocol.ids import ImageId

PIECE_BYTES: Final = 256 << 10
MISSING_NAME: Final = "missing.txt"


@dataclass(frozen=True, slots=True)
class Member:
    """An image that is to be in the zip."""

    image_id: ImageId
    name: str
    made_at: datetime


@dataclass(frozen=True, slots=True)
class Missing:
    """An image that is not in the zip, and why."""

    image_id: str
    reason: str


class _Outlet:
    """What a ZipFile writes to, and cannot seek in."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._pieces.append(data)
        return len(data)

    def flush(self) -> None:
        """Nothing is kept back."""

    def close(self) -> None:
        """Nothing is held."""

    def drain(self) -> bytes:
        """What was written since the last call."""
        data = b"".join(self._pieces)
        self._pieces.clear()
        return data


class ZipMaker:
    """Writes zips, with the files as they are: images are compressed already."""

    def __init__(self, bus: BusPort, folder: Path) -> None:
        self._bus = bus
        self._folder = folder

    def pieces(self, members: Iterable[Member], missing: list[Missing]) -> Pieces:
        """The zip in pieces. A file counts as downloaded when the piece after its last is asked for. Images
        that are gone when it is their turn join those that are `missing`."""
        outlet = _Outlet()
        with ZipFile(outlet, "w", ZIP_STORED) as zipped:
            is_silent = False
            for member in members:
                try:
                    if is_silent:
                        raise ManagerUnreachable  # asking for each of the rest would take 10 s
                    yield from self._file(zipped, outlet, member)
                except SpoonError as error:
                    missing.append(Missing(member.image_id, error.detail))
                    is_silent = isinstance(error, ManagerUnreachable)
            if missing:
                zipped.writestr(MISSING_NAME, "".join(f"{one.image_id}: {one.reason}\n" for one in missing))
        yield outlet.drain()

    def _file(self, zipped: ZipFile, outlet: _Outlet, member: Member) -> Pieces:
        """One file. Raises: SpoonError, before it has begun; OSError, if it cannot be read to its end."""
        granted = self._bus.ask(ClaimDownload(image_id=member.image_id), DownloadGranted)
        is_whole = False
        try:
            info = ZipInfo(member.name, _zip_time(member.made_at))
            with _opened(self._folder / plain_name(granted.file_name)) as file, zipped.open(info, "w") as out:
                for piece in iter(lambda: file.read(PIECE_BYTES), b""):
                    out.write(piece)
                    yield outlet.drain()
            yield outlet.drain()
            is_whole = True
        finally:
            finished = FinishDownload(image_id=member.image_id, ticket=granted.ticket, whole=is_whole)
            self._bus.tell(finished)


def _opened(path: Path) -> FileIO:
    """Raises: ImageGone."""
    try:
        return FileIO(path)
    except OSError as error:
        raise ImageGone("the file no longer exists") from error


def _zip_time(made_at: datetime) -> tuple[int, int, int, int, int, int]:
    """As zips have it, whose years begin with 1980."""
    year = max(1980, made_at.year)
    return (year, made_at.month, made_at.day, made_at.hour, made_at.minute, made_at.second)
