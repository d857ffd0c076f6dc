"""A folder of models, and the worker that scans it."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import unquote
from zlib import crc32

from msgspec.structs import replace

from kernel.core.actions import Action
from kernel.core.ports import Limits
from kernel.protocol import worker as wire
from kernel.protocol.enums import ModelType
from kernel.protocol.ids import WorkerId
from kernel.protocol.rows import ModelRow
from tests.unit.core.samples import fingerprint
from tests.unit.core.story import Story, orders_to

PLACE = "/w"
LIMITS = Limits(model_folders=(PLACE,), scan_every_s=300.0)
BROKEN = "broken"
"""The content of a file that cannot be used."""


@dataclass
class Folder:
    """Files by path: what they contain, and how often they were written."""

    files: dict[str, tuple[str, int]] = field(default_factory=dict)
    is_absent: bool = False
    types: dict[str, ModelType] = field(default_factory=dict)
    """Of contents that are no LoRAs."""
    writes: int = 0

    def write(self, path: str, content: str) -> str:
        self.writes += 1
        self.files[f"{PLACE}/{path}"] = (content, self.writes)
        return f"{PLACE}/{path}"

    def move(self, old: str, new: str) -> str:
        content, _ = self.files.pop(f"{PLACE}/{old}")
        return self.write(new, content)

    def delete(self, path: str) -> None:
        del self.files[f"{PLACE}/{path}"]

    def reports(self, order: wire.ScanFolders) -> Iterator[wire.WorkerReport]:
        """What a worker reports that is told to scan it."""
        assert order.folders == (PLACE,)
        there = {} if self.is_absent else {_stamp(path, held): path for path, held in self.files.items()}
        unknown = sorted(path for stamp, path in there.items() if stamp not in order.known)
        yield wire.ScanBegun(
            files=len(there),
            unknown=len(unknown),
            gone=tuple(stamp for stamp in order.known if stamp not in there),
            absent=(PLACE,) if self.is_absent else (),
        )
        for path in unknown:
            stamp = _stamp(path, self.files[path])
            yield wire.ScanProgress(path=path, stamp=stamp)
            yield self._scanned(path, stamp)
        yield wire.ScanEnded()

    def _scanned(self, path: str, stamp: int) -> wire.FileScanned:
        content, _ = self.files[path]
        if content == BROKEN:
            return wire.FileScanned(path=path, stamp=stamp, code="model_unreadable", text="it is broken")
        found = replace(fingerprint(), model_type=self.types.get(content, ModelType.LORA), sha256=None)
        return wire.FileScanned(path=path, stamp=stamp, mark=content, fingerprint=found)


def _stamp(path: str, held: tuple[str, int]) -> int:
    return crc32(repr((path, held)).encode()) + 1


class Scanned(Story):
    """A story with such a folder."""

    def __init__(self, *models: ModelRow, folder: Folder | None = None, limits: Limits = LIMITS) -> None:
        self.folder = folder or Folder()
        super().__init__(*models, limits=limits)

    def begin(self, **found: object) -> list[Action]:
        """The shell of a start sees which models have no file."""
        there = {} if self.folder.is_absent else self.folder.files
        rows = self.database.models.values()
        paths = {row.model_id: unquote(row.uri).removeprefix("file://") for row in rows}
        absent = frozenset(one for one, path in paths.items() if path.startswith(PLACE) and path not in there)
        return super().begin(absent_models=absent, **found)

    def scanner(self) -> tuple[WorkerId, wire.ScanFolders]:
        """The worker that was launched for a scan comes up. Returns: it, and what it is told."""
        worker_id = self.newcomers[-1]
        (order,) = [
            one for one in orders_to(self.hello(worker_id), worker_id) if isinstance(one, wire.ScanFolders)
        ]
        return worker_id, order

    def scan(self) -> None:
        """A scan that was wanted runs to its end, and those that follow from it."""
        while self.database.scan.is_running:
            worker_id, order = self.scanner()
            for report in self.folder.reports(order):
                self.say(worker_id, report)
            self.exits(worker_id, "exit 0")

    def again(self) -> None:
        """The next scan becomes due and runs."""
        self.wait(self.limits.scan_every_s or 0.0)
        self.scan()

    def of(self, path: str) -> ModelRow | None:
        """The model of a file."""
        row = self.database.scanned_files.get(f"{PLACE}/{path}")
        return None if row is None or row.model_id is None else self.database.models[row.model_id]

    def there(self, path: str) -> ModelRow:
        found = self.of(path)
        assert found is not None
        return found
