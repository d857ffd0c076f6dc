"""A disk whose power can be cut: what was synced is there afterwards, of the rest any sectors, or none.

It stands between SQLite and the real file system, writes through, and remembers what a cut could undo. The
model is the one that SQLite asks for: an unsynced write may be lost, torn at a sector, or overtaken by a
later one, but it harms no bytes beside its own; names of files are safe at once. Source: SQLite, "Powersafe
Overwrite" and "Atomic Commit".
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Final

import apsw

SHIM: Final = "power"
BASE: Final = "unix"
SECTOR_BYTES: Final = 512


class PowerCutError(apsw.IOError):
    """The power is gone."""


@dataclass
class Platter:
    """One file as it lies on the disk for sure, and the writes that are still on their way there."""

    durable: bytearray
    pending: list[tuple[int, bytes]] = field(default_factory=list)

    def write(self, data: bytes, offset: int) -> None:
        """Remember a write by its sectors: each may arrive without the others."""
        for start in range(0, len(data), SECTOR_BYTES):
            self.pending.append((offset + start, data[start : start + SECTOR_BYTES]))

    def sync(self) -> None:
        for offset, data in self.pending:
            self._put(offset, data)
        self.pending.clear()

    def after_cut(self, chance: Random) -> bytes:
        """What is found when the power is back: of the pending sectors some share arrived."""
        share = chance.random()
        for offset, data in self.pending:
            if chance.random() < share:
                self._put(offset, data)
        return bytes(self.durable)

    def _put(self, offset: int, data: bytes) -> None:
        if len(self.durable) < offset:
            self.durable.extend(bytes(offset - len(self.durable)))
        self.durable[offset : offset + len(data)] = data


@dataclass
class Power:
    """Counts what SQLite does to the disk; at number `cut_at` the power goes, and stays away."""

    cut_at: int | None = None
    done: int = 0
    platters: dict[str, Platter] = field(default_factory=dict)

    def use(self) -> None:
        """One write, sync or truncation. Raises: PowerCutError."""
        self.done += 1
        if self.cut_at is not None and self.done >= self.cut_at:
            raise PowerCutError

    def restore(self, folder: Path, chance: Random) -> None:
        """Put the files into a folder as they are found when the power is back."""
        folder.mkdir()
        for name, platter in self.platters.items():
            (folder / Path(name).name).write_bytes(platter.after_cut(chance))


class PowerFile(apsw.VFSFile):
    """A file on such a disk."""

    def __init__(self, power: Power, name: str | apsw.URIFilename | None, flags: list[int]) -> None:
        path = name.filename() if isinstance(name, apsw.URIFilename) else name
        file = Path(path) if path else None
        known = file.read_bytes() if file is not None and file.exists() else b""
        self._power = power
        self._platter = Platter(bytearray(known))
        if path:
            self._platter = power.platters.setdefault(path, self._platter)
        super().__init__(BASE, name, flags)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802 - apsw's name
        self._power.use()
        self._platter.write(bytes(data), offset)
        super().xWrite(data, offset)

    def xTruncate(self, size: int) -> None:  # noqa: N802 - apsw's name
        self._power.use()
        self._platter.sync()
        del self._platter.durable[size:]
        super().xTruncate(size)

    def xSync(self, flags: int) -> None:  # noqa: N802 - apsw's name
        """The bytes are safe in this model; the real disk need not be troubled."""
        self._power.use()
        self._platter.sync()


class PowerSystem(apsw.VFS):
    """The default file system of SQLite while it exists."""

    def __init__(self, power: Power) -> None:
        self._power = power
        super().__init__(SHIM, BASE, makedefault=True)

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:  # noqa: N802
        return PowerFile(self._power, name, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: N802 - apsw's name
        self._power.use()
        self._power.platters.pop(filename, None)
        super().xDelete(filename, syncdir)


@contextmanager
def unsafe_power() -> Iterator[Power]:
    """Every database opened inside lies on a disk that loses its power when it is told to."""
    power = Power()
    system = PowerSystem(power)
    try:
        yield power
    finally:
        system.unregister()
