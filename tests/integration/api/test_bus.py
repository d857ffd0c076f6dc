"""The bus client against a ROUTER with real CURVE sockets."""

import hashlib
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest
import zmq

from api.bus import Bus
from api.hub import Hub, Reread
from api.session import Patience
from kernel.protocol.client import (
    ApiAsk,
    BrokerReply,
    Changed,
    DeleteJob,
    Done,
    JobAccepted,
    JobProgress,
    Refused,
)
from kernel.protocol.endpoints import MAX_UNANSWERED
from kernel.protocol.enums import ChangeKind
from kernel.protocol.errors import BadConfiguration, BadMessage, JobNotFound, ManagerUnreachable, ShuttingDown
from kernel.protocol.ids import EventSeq, JobId
from tests.integration.api.fake_manager import FakeManager, make_keys

ASK = DeleteJob(job_id=JobId("j1"))
QUICK = Patience(resend_after_s=0.3, give_up_after_s=1.5, watch_every_s=1.0)
PATIENT = Patience()


@contextmanager
def opened(bus_folder: Path, hub: Hub | None = None, patience: Patience = QUICK) -> Iterator[Bus]:
    bus = Bus(bus_folder, hub or Hub(), patience)
    bus.open()
    try:
        yield bus
    finally:
        bus.close()


def test_a_command_is_answered(bus_folder: Path) -> None:
    with FakeManager(bus_folder) as manager, opened(bus_folder) as bus:
        assert bus.ask(ASK, Done, "http:k1") == Done()
        (command,) = manager.commands
    assert (command.key, command.ask) == ("http:k1", ASK)
    assert command.digest == hashlib.sha256(msgspec.msgpack.encode(ASK)).digest()


def test_without_a_key_every_command_has_its_own(bus_folder: Path) -> None:
    with FakeManager(bus_folder) as manager, opened(bus_folder) as bus:
        bus.ask(ASK, Done)
        bus.ask(ASK, Done)
        assert len({command.key for command in manager.commands}) == 2


def test_a_refusal_is_raised(bus_folder: Path) -> None:
    def refuse(ask: ApiAsk) -> BrokerReply:
        return Refused(code="job_not_found", detail="no j1")

    with (
        FakeManager(bus_folder, say=refuse),
        opened(bus_folder) as bus,
        pytest.raises(JobNotFound, match="no j1"),
    ):
        bus.ask(ASK, Done)


def test_an_answer_to_another_question_is_refused(bus_folder: Path) -> None:
    with FakeManager(bus_folder), opened(bus_folder) as bus, pytest.raises(BadMessage):
        bus.ask(ASK, JobAccepted)


def test_the_status_is_asked_for(bus_folder: Path) -> None:
    with FakeManager(bus_folder), opened(bus_folder) as bus:
        assert bus.status(5.0).version == "0"


def test_what_is_only_told_arrives_before_the_end(bus_folder: Path) -> None:
    with FakeManager(bus_folder) as manager:
        with opened(bus_folder) as bus:
            bus.status(5.0)
            for _ in range(100):
                bus.tell(ASK)
        assert len(manager.commands) == 100


def test_an_unanswered_command_is_sent_again_under_the_same_key(bus_folder: Path) -> None:
    heard = threading.Semaphore(0)

    def say(ask: ApiAsk) -> BrokerReply | None:
        heard.release()
        return None if heard._value == 1 else Done()

    with FakeManager(bus_folder, say=say) as manager, opened(bus_folder) as bus:
        bus.ask(ASK, Done)
        keys = [command.key for command in manager.commands]
    assert len(keys) == 2
    assert len(set(keys)) == 1
    assert bus.figures().resent >= 1


def test_a_new_manager_gets_the_commands_of_the_old_one_at_once(bus_folder: Path) -> None:
    hub = Hub()
    never_resent = Patience(resend_after_s=60.0, give_up_after_s=60.0)
    with (
        opened(bus_folder, hub, never_resent) as bus,
        ThreadPoolExecutor(1) as pool,
        hub.subscribe(None) as ear,
    ):
        with FakeManager(bus_folder, epoch=1, say=lambda ask: None) as old:
            asked = pool.submit(bus.ask, ASK, Done)
            old.wait_until(lambda manager: bool(manager.commands))
        with FakeManager(bus_folder, epoch=2) as new:
            assert asked.result(30) == Done()
            assert new.commands[0].key == old.commands[0].key
            new.wait_until(lambda manager: manager.watches > 0)
        assert ear.next(5.0) == Reread()


def test_a_manager_with_new_keys_is_found(bus_folder: Path) -> None:
    """After the line has been dead for as long as a lost Watch takes to show."""
    with opened(bus_folder) as bus:
        with FakeManager(bus_folder):
            bus.status(5.0)
        for file in bus_folder.glob("*key*"):
            file.unlink()
        make_keys(bus_folder)
        with FakeManager(bus_folder, epoch=2) as manager:
            manager.wait_until(lambda manager: manager.watches > 0, 30.0)
            assert bus.ask(ASK, Done) == Done()


def test_at_most_the_window_is_unanswered(bus_folder: Path) -> None:
    release = threading.Event()

    def say(ask: ApiAsk) -> BrokerReply | None:
        return Done() if release.is_set() else None

    asks = MAX_UNANSWERED + 20
    with (
        FakeManager(bus_folder, say=say) as manager,
        opened(bus_folder, patience=Patience(resend_after_s=1.0)) as bus,
        ThreadPoolExecutor(asks) as pool,
    ):
        asked = [pool.submit(bus.ask, ASK, Done) for _ in range(asks)]
        manager.wait_until(lambda manager: len(manager.commands) > MAX_UNANSWERED)
        assert len({command.key for command in manager.commands}) == MAX_UNANSWERED
        release.set()
        assert [one.result(15) for one in asked] == [Done()] * asks
        assert len({command.key for command in manager.commands}) == asks


def test_late_and_foreign_answers_are_dropped(bus_folder: Path) -> None:
    with FakeManager(bus_folder) as manager, opened(bus_folder) as bus:
        bus.ask(ASK, Done)
        manager.tell(Done(), correlation=b"x" * 16)
        manager.tell(JobAccepted(job_id=JobId("j"), image_ids=(), created_at_ms=1), correlation=bytes(16))
        assert bus.ask(ASK, Done) == Done()


def test_a_manager_that_is_away_is_told_after_the_timeout(bus_folder: Path) -> None:
    with opened(bus_folder) as bus:
        with pytest.raises(ManagerUnreachable):
            bus.status(0.2)
        began = time.monotonic()
        with pytest.raises(ManagerUnreachable) as error:
            bus.ask(ASK, Done)
        assert time.monotonic() - began >= QUICK.give_up_after_s
        assert error.value.retry_after_s is not None


def test_a_closing_process_refuses_what_is_still_open(bus_folder: Path) -> None:
    with FakeManager(bus_folder, say=lambda ask: None) as manager, ThreadPoolExecutor(1) as pool:
        bus = Bus(bus_folder, Hub(), PATIENT)
        bus.open()
        asked = pool.submit(bus.ask, ASK, Done)
        manager.wait_until(lambda manager: bool(manager.commands))
        bus.close()
        with pytest.raises(ShuttingDown):
            asked.result(5)
        with pytest.raises(ShuttingDown):
            bus.ask(ASK, Done)


def test_who_asks_while_the_process_closes_is_answered_all_the_same(bus_folder: Path) -> None:
    outcomes: list[object] = []

    def ask_until_refused(bus: Bus) -> None:
        while True:
            try:
                bus.ask(ASK, Done)
                bus.tell(ASK)
            except ShuttingDown as error:
                outcomes.append(error)
                return

    with FakeManager(bus_folder) as manager, ThreadPoolExecutor(8) as pool:
        bus = Bus(bus_folder, Hub(), PATIENT)
        bus.open()
        asking = [pool.submit(ask_until_refused, bus) for _ in range(8)]
        manager.wait_until(lambda manager: len(manager.commands) > 50)
        bus.close()
        for one in asking:
            one.result(5)
    assert len(outcomes) == 8
    assert bus.figures().unanswered == 0


def test_a_farewell_that_fails_leaves_nobody_waiting(bus_folder: Path) -> None:
    class BrokenHub(Hub):
        def publish(self, news: object) -> None:
            if isinstance(news, Changed):
                raise RuntimeError("a surprise")

    change = Changed(seq=EventSeq(1), kind=ChangeKind.JOB, id="j1", state="processing", at_ms=1)
    with FakeManager(bus_folder, say=lambda ask: None) as manager, ThreadPoolExecutor(2) as pool:
        bus = Bus(bus_folder, BrokenHub(), PATIENT)
        bus.open()
        asked = pool.submit(bus.ask, ASK, Done)
        manager.wait_until(lambda manager: bool(manager.commands))
        closing = pool.submit(bus.close)
        manager.tell(change)
        with pytest.raises(ShuttingDown):
            asked.result(5)
        closing.result(5)


def test_news_reach_the_hub(bus_folder: Path) -> None:
    hub = Hub()
    change = Changed(seq=EventSeq(1), kind=ChangeKind.JOB, id="j1", state="processing", at_ms=1)
    with FakeManager(bus_folder) as manager, hub.subscribe(("j1",)) as ear, opened(bus_folder, hub):
        manager.wait_until(lambda manager: manager.watches > 0)
        manager.tell(change)
        manager.tell(JobProgress(job_id=JobId("j1"), step=1, steps=2))
        assert ear.next(5.0) == change
        assert ear.next(5.0) == JobProgress(job_id=JobId("j1"), step=1, steps=2)


def test_an_idle_bus_sleeps(bus_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It wakes for what arrives and for its own deadlines; a bus that spins wakes thousands of times."""
    naps: list[int] = []
    poll = zmq.Poller.poll

    def counted(poller: zmq.Poller, timeout_ms: int) -> list[tuple[object, int]]:
        if threading.current_thread().name == "bus":
            naps.append(timeout_ms)
        return poll(poller, timeout_ms)

    monkeypatch.setattr("api.bus_thread.zmq.Poller.poll", counted)
    with FakeManager(bus_folder) as manager, opened(bus_folder, patience=Patience(watch_every_s=2.0)) as bus:
        bus.status(5.0)
        assert naps, "what is counted is how the bus sleeps"
        naps.clear()
        manager.wait_until(lambda manager: manager.watches > 1, 15.0)
        assert len(naps) < 10


def test_without_keys_the_bus_cannot_be_opened(tmp_path: Path) -> None:
    bus = Bus(tmp_path, Hub())
    with pytest.raises(BadConfiguration, match="is the Manager running"):
        bus.open()


@pytest.mark.parametrize("damaged", ["", 'public-key = "short"\nsecret-key = "short"'])
def test_with_damaged_keys_the_bus_cannot_be_opened(bus_folder: Path, damaged: str) -> None:
    (bus_folder / "api.key_secret").write_text(damaged)
    bus = Bus(bus_folder, Hub())
    with pytest.raises(BadConfiguration):
        bus.open()


def test_answers_that_come_as_one_bundle_reach_each_who_asked(bus_folder: Path) -> None:
    with FakeManager(bus_folder, is_bundling=True) as manager, opened(bus_folder) as bus:
        with ThreadPoolExecutor(8) as askers:
            answers = list(askers.map(lambda _: bus.ask(ASK, Done), range(40)))
        assert answers == [Done()] * 40
        assert manager.bundles > 0
