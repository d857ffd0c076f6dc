"""What nobody foresaw: refused where nothing had changed, else the end of a life, and never twice."""

import logging
from pathlib import Path

import apsw
import pytest

from kernel.core import actions
from kernel.core.broker import Broker
from kernel.core.events import Asked, Event, Peer, Reported, StopAsked, WorkerExited
from kernel.core.ports import Folder
from kernel.protocol import client
from kernel.protocol import worker as wire
from kernel.protocol.enums import GoneReason, JobState, ModelState, WorkerRole
from kernel.protocol.ids import ImageId
from kernel.shell.decode import Arrival
from kernel.shell.unexpected_errors import LifeOver
from tests.property.small_manager import CORRELATION, SmallManager
from tests.unit.core.samples import checkpoint, fingerprint, register, spec, submit

POISON = client.DeleteImage(image_id=ImageId("poison"))
LATE_POISON = client.DeleteImage(image_id=ImageId("late poison"))
UNSAVABLE = client.DeleteImage(image_id=ImageId("unsavable"))


class Surprise(Exception):
    """What nobody foresaw."""


class FaultyBroker(Broker):
    """Raises at some events: before anything is changed, or after."""

    def _decide(self, event: Event) -> None:
        match event:
            case Asked(ask=client.DeleteImage() as ask) if ask == POISON:
                raise Surprise
            case Asked(ask=client.DeleteImage() as ask) if ask == LATE_POISON:
                self.world.act(actions.EndImage(ask.image_id, GoneReason.DELETED, 0))
                raise Surprise
            case Asked(ask=client.DeleteImage() as ask) if ask == UNSAVABLE:
                self.world.act(actions.TrashFile(Folder.IMAGES, "\ud800", 0))
            case Reported(report=wire.EngineReady() | wire.ModelInspected() | wire.Accepted()):
                raise Surprise
            case Reported(report=wire.JobDone()):
                super()._decide(event)
                raise Surprise
            case WorkerExited():
                raise Surprise
            case _:
                super()._decide(event)


def asked(ask: client.Ask, key: str = "key") -> Arrival:
    return Arrival(Asked(Peer(b"peer"), CORRELATION, key, b"digest", ask))


def refused(manager: SmallManager) -> list[client.Refused]:
    return [r for r in manager.front.replies if isinstance(r, client.Refused) and r.code == "internal_error"]


def test_an_ask_that_raises_before_anything_changed_is_refused_under_an_id_and_the_manager_goes_on():
    manager = SmallManager(FaultyBroker)
    changes = manager.changes()
    reply = manager.tell(POISON)
    assert (reply.code, "error_id=error-1" in reply.detail) == ("internal_error", True)
    assert manager.changes() == changes
    assert isinstance(manager.tell(register()), client.ModelAccepted)


def test_a_surprise_is_in_the_log_with_its_traceback_once_and_its_id_each_time(caplog):
    manager = SmallManager(FaultyBroker)
    with caplog.at_level(logging.ERROR, logger="manager"):
        for _ in range(3):
            manager.tell(POISON)
    lines = [record.getMessage() for record in caplog.records]
    assert lines[0].startswith("action=surprise error_id=error-1 subject=Asked.DeleteImage place=Surprise@")
    assert [line.rpartition(" as=")[2] for line in lines[1:]] == ["error-1", "error-1"]
    assert [record.exc_info is not None for record in caplog.records] == [True, False, False]


def test_status_tells_of_surprises():
    manager = SmallManager(FaultyBroker)
    manager.tell(POISON)
    status = manager.hear_status()
    assert (status.internal_errors, status.last_internal_error) == (1, "error-1")


def test_a_model_of_which_something_surprising_is_said_fails_with_the_id():
    manager = SmallManager(FaultyBroker)
    model_id = manager.tell(register()).model_id
    worker_id = manager.newest(WorkerRole.FETCH)
    report = wire.ModelInspected(model_id=model_id, fingerprint=fingerprint())
    manager.loop._batch([Arrival(Reported(worker_id, report))])
    row = manager.broker.world.models[model_id]
    assert row.status is ModelState.ERROR
    assert "error_id=error-1" in (row.error or "")


def test_an_ask_that_raises_after_something_changed_ends_the_life_undone_and_is_refused(tmp_path: Path):
    manager = SmallManager(FaultyBroker, tmp_path / "db")
    with pytest.raises(LifeOver):
        manager.run(asked(register(), "before"), asked(LATE_POISON), asked(register("other"), "after"))
    assert [reply.code for reply in manager.front.replies] == ["internal_error"]
    manager.store.close()
    assert SmallManager(file=tmp_path / "db").broker.world.models == {}


def test_the_next_life_refuses_what_ended_the_former_one_at_once_and_does_everything_else(tmp_path: Path):
    manager = SmallManager(FaultyBroker, tmp_path / "db")
    with pytest.raises(LifeOver):
        manager.run(asked(LATE_POISON))
    manager.store.close()
    again = SmallManager(FaultyBroker, tmp_path / "db", manager.unexpected)
    for key in ("key", "another key"):
        reply = again.tell(LATE_POISON, key=key)
        assert (reply.code, "error_id=error-1" in reply.detail) == ("internal_error", True)
    assert isinstance(again.tell(register()), client.ModelAccepted)
    assert again.unexpected.count == 1


def test_a_stop_that_was_asked_for_is_done_by_the_next_life_if_the_one_that_was_asked_ended(tmp_path: Path):
    manager = SmallManager(FaultyBroker, tmp_path / "db")
    with pytest.raises(LifeOver):
        manager.run(Arrival(StopAsked()), asked(LATE_POISON))
    manager.store.close()
    assert manager.effects.exit_code is None
    assert SmallManager(FaultyBroker, tmp_path / "db", manager.unexpected).effects.exit_code == 0


def test_what_the_database_refuses_ends_the_life_and_no_other_is_told_of_what_was_not_saved(tmp_path: Path):
    manager = SmallManager(FaultyBroker, tmp_path / "db")
    with pytest.raises(LifeOver) as caught:
        manager.run(asked(register(), "before"), asked(UNSAVABLE))
    assert isinstance(caught.value.__cause__, UnicodeEncodeError)
    assert [reply.code for reply in manager.front.replies] == ["internal_error"]


def test_a_disk_that_fails_is_no_surprise(tmp_path: Path):
    class BrokenStore:
        connection = SmallManager().store.connection

        def commit(self) -> None:
            raise apsw.FullError

    manager = SmallManager(FaultyBroker, tmp_path / "db")
    manager.loop.store = BrokenStore()
    with pytest.raises(apsw.FullError):
        manager.run(asked(register()))
    assert manager.unexpected.count == 0


def test_what_happened_here_is_never_passed_over():
    manager = SmallManager(FaultyBroker)
    manager.tell(register())
    worker_id = manager.newest(WorkerRole.FETCH)
    with pytest.raises(LifeOver):
        manager.run(Arrival(WorkerExited(worker_id, "signal SIGKILL")))


def with_job(file: Path) -> SmallManager:
    manager = SmallManager(Broker, file)
    manager.store.save(actions.SaveModel(checkpoint()))
    manager.store.commit()
    manager.store.close()
    manager = SmallManager(Broker, file)
    engine_id = manager.tell(client.CreateEngine(spec=spec())).engine_id
    worker_id = manager.newest(WorkerRole.ENGINE)
    ready = wire.EngineReady(engine_id=engine_id, device="cpu", memory_bytes=1, capacity=1)
    manager.say(worker_id, ready)
    manager.tell(submit(engine_id, width_px=64, height_px=64))
    return manager


def test_a_job_over_which_lives_end_fails_as_one_over_which_workers_do(tmp_path: Path):
    manager = with_job(tmp_path / "db")
    (job,) = manager.broker.world.jobs.values()
    job_id = job.row.job_id
    for number in range(1, 4):
        manager.unexpected.end_life(
            Reported(job.worker_id, wire.JobDone(job_id=job_id, lease=job.lease)), "error", 1.0
        )
        manager.store.close()
        manager = SmallManager(Broker, tmp_path / "db", manager.unexpected)
        (row,) = [row for row in manager.rows() if row[0] == job_id]
        assert row[2] == number
        if number < 3:
            worker_id = manager.newest(WorkerRole.ENGINE)
            engine_id = next(iter(manager.broker.world.engines))
            ready = wire.EngineReady(engine_id=engine_id, device="cpu", memory_bytes=1, capacity=1)
            manager.say(worker_id, ready)
            job = manager.broker.world.jobs[job_id]
            assert job.row.status is JobState.PROCESSING
    assert row[1] == JobState.FAILED


def test_pauses_between_lives_grow_and_a_long_one_begins_anew():
    unexpected = SmallManager().unexpected
    pauses = [unexpected.end_life(StopAsked(), "e", 1.0) for _ in range(20)]
    assert pauses[:3] == [0.1, 0.2, 0.4]
    assert max(pauses) == 10.0
    assert unexpected.end_life(StopAsked(), "e", 61.0) == 0.1
