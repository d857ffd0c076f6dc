"""Any folder, and any course of scans: what is in the folder and what the server says of it agree."""

from urllib.parse import unquote

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from kernel.core.models.scanning import GONE
from kernel.protocol import client
from kernel.protocol import worker as wire
from kernel.protocol.enums import ModelState
from kernel.protocol.model_refs import ModelSource
from tests.unit.core.folder import BROKEN, PLACE, Folder, Scanned
from tests.unit.core.samples import CHECKPOINT, fingerprint
from tests.unit.core.story import orders_to

paths = st.sampled_from(
    [f"{folder}{name}.safetensors" for folder in ("", "a/", "b/") for name in ("x", "y", "z")]
)
contents = st.sampled_from(["one", "two", "three", BROKEN])


class AnyFolder(RuleBasedStateMachine):
    """Files come, change, move and go; scans run, or are cut off when their worker or the Manager ends."""

    @initialize()
    def begins(self) -> None:
        self.deleted: set[str] = set()
        """Contents of which a person deleted a model, while files have them."""
        self.story = Scanned(folder=Folder())

    @property
    def folder(self) -> Folder:
        return self.story.folder

    @rule(path=paths, content=contents)
    def somebody_writes_a_file(self, path: str, content: str) -> None:
        self.folder.write(path, content)

    @precondition(lambda self: self.folder.files)
    @rule(number=st.integers(0, 20), path=paths)
    def somebody_moves_a_file(self, number: int, path: str) -> None:
        old = sorted(self.folder.files)[number % len(self.folder.files)].removeprefix(f"{PLACE}/")
        self.folder.move(old, path)

    @precondition(lambda self: self.folder.files)
    @rule(number=st.integers(0, 20))
    def somebody_removes_a_file(self, number: int) -> None:
        path = sorted(self.folder.files)[number % len(self.folder.files)]
        self.folder.delete(path.removeprefix(f"{PLACE}/"))

    @rule(is_absent=st.booleans())
    def the_disk_is_unplugged_or_plugged_in(self, is_absent: bool) -> None:
        self.folder.is_absent = is_absent

    @rule(number=st.integers(0, 20))
    def somebody_deletes_a_model(self, number: int) -> None:
        rows = sorted(self.story.database.models.keys() - {CHECKPOINT})
        if rows:
            model_id = rows[number % len(rows)]
            files = self.story.database.scanned_files.values()
            self.deleted |= {row.mark for row in files if row.model_id == model_id}
            assert self.story.ask(client.DeleteModel(model_id=model_id)) == client.Done()

    @rule(reports=st.integers(0, 8), is_crash=st.booleans())
    def a_scan_is_cut_off(self, reports: int, is_crash: bool) -> None:
        worker_id, order = self.wanted()
        for report in list(self.folder.reports(order))[:reports]:
            self.story.say(worker_id, report)
        if is_crash:
            self.story.exits(worker_id)
        else:
            self.story.begin()
        self.story.broker.world.scan.crashes.clear()  # no file is at fault here
        self.story.broker.world.scan.deaths = 0

    @rule()
    def a_digest_is_computed(self) -> None:
        for worker_id in list(self.story.newcomers):
            for order in orders_to(self.story.hello(worker_id), worker_id):
                if isinstance(order, wire.InspectModel):
                    self.story.say(worker_id, self.inspected(order.source))

    def inspected(self, source: ModelSource) -> wire.WorkerReport:
        """What a worker finds at the path of a model."""
        content, _ = self.folder.files.get(unquote(source.uri).removeprefix("file://"), (BROKEN, 0))
        if content == BROKEN or self.folder.is_absent:
            return wire.ModelFailed(model_id=source.model_id, code="model_unreadable", text="it is not there")
        return wire.ModelInspected(model_id=source.model_id, fingerprint=fingerprint())

    @rule()
    def a_scan_runs_to_its_end(self) -> None:
        is_first = True
        while is_first or self.story.database.scan.is_running:
            worker_id, order = self.wanted()
            for report in self.folder.reports(order):
                self.story.say(worker_id, report)
            self.story.exits(worker_id, "exit 0")
            is_first = False
        if not self.folder.is_absent:
            self.check_agreement()

    def wanted(self) -> tuple[str, wire.ScanFolders]:
        """The worker of a scan that a person has asked for."""
        world = self.story.broker.world
        if world.scan.worker_id is None:
            self.story.ask(client.ScanModels())
        worker_id = world.scan.worker_id
        assert worker_id is not None
        found = orders_to(self.story.hello(worker_id), worker_id)
        return worker_id, next(one for one in found if isinstance(one, wire.ScanFolders))

    def check_agreement(self) -> None:
        """Every content that can be used is a ready model at one of its paths, unless somebody deleted it;
        nothing else is ready."""
        rows, models = self.story.database.scanned_files, self.story.database.models
        present = {path: content for path, (content, _) in self.folder.files.items()}
        assert {path for path, row in rows.items() if row.stamp != GONE} == present.keys()
        usable = set(present.values()) - {BROKEN}
        self.deleted &= usable
        ready = [
            row for row in models.values() if row.model_id != CHECKPOINT and row.status is ModelState.READY
        ]
        at = [present[row.uri.removeprefix("file://")] for row in ready]
        assert usable - self.deleted <= set(at) <= usable
        assert len({row.uri for row in ready}) == len(ready)
        for path, row in rows.items():
            assert (row.code is None) == (
                row.stamp == GONE or (row.model_id in {one.model_id for one in ready})
            ), path

    @invariant()
    def memory_is_the_database(self) -> None:
        world, database = self.story.broker.world, self.story.database
        assert world.scanned_files == database.scanned_files
        assert world.models == database.models
        assert world.scan.row == database.scan
        owned = [row.model_id for row in database.scanned_files.values() if row.model_id is not None]
        assert len(owned) == len(set(owned))
        assert set(owned) <= database.models.keys()


TestAnyFolder = AnyFolder.TestCase
