"""An engine's loop whose models are on another host: loading waits for them, other jobs do not."""

from collections.abc import Iterator
from pathlib import Path
from queue import SimpleQueue
from threading import Event, Thread

import pytest
from msgspec.structs import replace

from engine_worker.engine_loop import EngineLoop, Memory
from engine_worker.model_files.cache import Cache
from engine_worker.model_files.local_models import LocalModels
from engine_worker.port import Dropped, Failed, Stepped
from engine_worker.session.actions import Admit, Cancel, Load
from engine_worker.shell import Inbox, Spoken
from kernel.protocol.enums import Stage
from kernel.protocol.ids import JobId
from kernel.protocol.worker import EngineFailed, EngineProgress, EngineReady
from tests.integration.worker.sent_models import Sender, source_of
from tests.unit.worker.orders import job, load
from tests.unit.worker.test_engine_loop import END, DiaryEngine

FILE = bytes(range(256)) * 8_000
PATIENCE_S = 20.0


class ObservedEngine(DiaryEngine):
    """Says when it has made a step, and leaves the end to the test."""

    def __init__(self, inbox: Inbox) -> None:
        super().__init__(inbox)
        self.has_stepped, self.has_admitted = Event(), Event()

    def admit(self, order, inputs=None) -> None:  # type: ignore[no-untyped-def]
        super().admit(order)
        self.has_admitted.set()

    def step(self) -> bool:
        self.diary.append("step")
        self.steps_left -= 1
        self.has_stepped.set()
        return self.steps_left > 0


class Host:
    """A loop that runs in a thread, with a cache and a Manager that sends one model."""

    def __init__(self, folder: Path) -> None:
        self.inbox: Inbox = SimpleQueue()
        self.engine = ObservedEngine(self.inbox)
        self.said: list[Spoken] = []
        self.sender = Sender({"model.safetensors": FILE})
        self.cache = Cache(folder / "cache", 10**9, min_free_bytes=0)
        self.cache.open()
        self.has_failed, self.has_dropped = Event(), Event()
        (folder / "here").mkdir()
        self.here = folder / "here" / "a.safetensors"
        self.here.touch()
        models = LocalModels((self.here.parent,), (), self.cache, self.sender.courier)
        roots = (self.here.parent, self.cache.folder)
        self.loop = EngineLoop(self.inbox, self.engine.build, self._hear, roots, Memory(lambda: None), models)
        self.thread = Thread(target=self.loop.run)
        self.thread.start()

    def _hear(self, spoken: Spoken) -> None:
        self.said.append(spoken)
        if isinstance(spoken, Failed | EngineFailed):
            self.has_failed.set()
        if isinstance(spoken, Dropped):
            self.has_dropped.set()

    def load_here(self) -> None:
        """Load an engine whose file is on this host."""
        order = load().load
        self.inbox.put(Load(replace(order, checkpoint=replace(order.checkpoint, uri=self.here.as_uri()))))

    def end(self) -> None:
        self.inbox.put(END)
        self.thread.join(PATIENCE_S)
        assert not self.thread.is_alive()

    def said_of(self, kind: type[Spoken]) -> list[Spoken]:
        return [one for one in self.said if isinstance(one, kind)]


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    host = Host(tmp_path)
    yield host
    host.end()


def with_lora(host: Host, name: str) -> Admit:
    return Admit(replace(job(name), models=(source_of(host.sender),)))


def test_an_engine_is_loaded_from_the_copy_and_tells_of_the_copying(host: Host) -> None:
    order = load().load
    host.inbox.put(Load(replace(order, checkpoint=source_of(host.sender))))
    host.end()
    assert (
        host.engine.uri == (host.cache.folder / "files" / host.sender.sha256 / "model.safetensors").as_uri()
    )
    assert host.said_of(EngineReady)
    told = host.said_of(EngineProgress)
    assert told
    assert all(isinstance(one, EngineProgress) and one.is_copying for one in told)
    assert all(isinstance(one, EngineProgress) and one.total_bytes == len(FILE) for one in told)


def test_an_engine_whose_files_are_not_sent_is_in_error_with_the_reason(host: Host) -> None:
    host.sender.refusal = "this server sends no models"
    host.inbox.put(Load(replace(load().load, checkpoint=source_of(host.sender))))
    host.end()
    (failed,) = host.said_of(EngineFailed)
    assert isinstance(failed, EngineFailed)
    assert failed.code == "download_failed"
    assert "this server sends no models" in failed.text


def test_a_job_whose_models_are_here_is_admitted_at_once(host: Host) -> None:
    host.load_here()
    here = source_of(host.sender, uri=host.here.as_uri(), size_bytes=0)
    host.inbox.put(Admit(replace(job("a"), models=(here,))))
    assert host.engine.has_admitted.wait(PATIENCE_S)
    assert host.engine.model_uris == [host.here.as_uri()]


def test_other_jobs_step_while_the_model_of_one_is_copied(host: Host) -> None:
    go_on = Event()
    host.sender.before_part = lambda: assert_true(go_on.wait(PATIENCE_S))
    host.load_here()
    host.inbox.put(with_lora(host, "waits"))
    host.inbox.put(Admit(job("goes on")))
    assert host.engine.has_stepped.wait(PATIENCE_S)
    assert "admit waits" not in host.engine.diary

    host.engine.has_admitted.clear()
    go_on.set()
    assert host.engine.has_admitted.wait(PATIENCE_S)
    assert host.engine.diary[:2] == ["admit goes on", "step"]
    assert host.engine.model_uris[0].startswith(host.cache.folder.as_uri())
    assert Stepped(JobId("waits"), 0, 3, Stage.PREPARING) in host.said


def test_a_cancelled_job_does_not_wait_for_its_models(host: Host) -> None:
    go_on = Event()
    host.sender.before_part = lambda: assert_true(go_on.wait(PATIENCE_S))
    host.load_here()
    host.inbox.put(with_lora(host, "first"))
    host.inbox.put(Admit(replace(job("cancelled"), models=(source_of(host.sender, sha256="0" * 64),))))
    host.inbox.put(Cancel(JobId("cancelled")))
    host.inbox.put(Admit(replace(job("wrong"), models=(source_of(host.sender, sha256="1" * 64),))))
    assert host.has_dropped.wait(PATIENCE_S)
    go_on.set()
    assert host.has_failed.wait(PATIENCE_S)
    host.end()
    assert host.said_of(Dropped) == [Dropped(JobId("cancelled"))]
    assert [line for line in host.engine.diary if line not in ("step", "close")] == ["admit first"]
    assert host.sender.lists == 1 + 2, "its model is not asked for"
    assert "cancel cancelled" not in host.engine.diary


def test_a_job_that_is_given_again_while_its_models_come_is_admitted_once(host: Host) -> None:
    go_on, has_asked = Event(), Event()

    def wait() -> None:
        has_asked.set()
        assert go_on.wait(PATIENCE_S)

    host.sender.before_part = wait
    host.load_here()
    host.inbox.put(Admit(replace(job("a"), models=(source_of(host.sender, sha256="0" * 64),))))
    assert has_asked.wait(PATIENCE_S)
    for task in (Cancel(JobId("a")), with_lora(host, "a")):
        host.inbox.put(task)
    assert host.has_dropped.wait(PATIENCE_S)
    go_on.set()
    assert host.engine.has_admitted.wait(PATIENCE_S)
    host.end()
    assert host.engine.diary.count("admit a") == 1
    assert not host.said_of(Failed), "how the earlier order ended does not matter any more"


def test_a_job_whose_models_do_not_come_fails_and_the_engine_goes_on(host: Host) -> None:
    host.sender.refusal = "it was replaced"
    host.load_here()
    host.inbox.put(with_lora(host, "a"))
    assert host.has_failed.wait(PATIENCE_S)
    (failed,) = host.said_of(Failed)
    assert isinstance(failed, Failed)
    assert (failed.job_id, failed.code) == ("a", "download_failed")
    host.inbox.put(Admit(job("b")))
    assert host.engine.has_admitted.wait(PATIENCE_S)


def assert_true(value: bool) -> None:
    """For a wait in a lambda."""
    assert value
