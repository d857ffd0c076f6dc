"""News reach those who listen, and nobody is left believing in what he missed."""

from api.hub import MAX_UNREAD, Closing, Hub, Reread
from api.session import Preview
from kernel.protocol.client import Changed, EngineProgress, JobProgress, ModelProgress, Watching
from kernel.protocol.enums import ChangeKind
from kernel.protocol.ids import EngineId, EventSeq, JobId, ModelId
from tests.unit.api.stage import Stage

PROGRESS = JobProgress(job_id=JobId("j1"), step=1, steps=2)


def changed(seq: int, thing_id: str = "j1", state: str = "processing") -> Changed:
    return Changed(seq=EventSeq(seq), kind=ChangeKind.JOB, id=thing_id, state=state, at_ms=1)


def test_a_change_reaches_those_who_listen_to_its_id() -> None:
    hub = Hub()
    with (
        hub.subscribe(("j1", "i1")) as ear,
        hub.subscribe(("j2",)) as other,
        hub.subscribe(None) as everything,
    ):
        hub.publish(changed(1))
        assert ear.next(0) == changed(1)
        assert everything.next(0) == changed(1)
        assert other.next(0) is None


def test_who_has_left_hears_nothing_more() -> None:
    hub = Hub()
    ear = hub.subscribe(("j1",))
    ear.close()
    ear.close()
    hub.publish(changed(1))
    assert ear.next(0) is None


def test_a_gap_tells_everyone_to_read_again() -> None:
    hub = Hub()
    with hub.subscribe(("j9",)) as ear:
        hub.publish(Watching(seq=EventSeq(4)))
        hub.publish(changed(5))
        assert ear.next(0) is None
        hub.publish(changed(7))
        assert ear.next(0) == Reread()


def test_a_renewed_watch_finds_what_was_missed() -> None:
    hub = Hub()
    hub.publish(Watching(seq=EventSeq(4)))
    with hub.subscribe(("j9",)) as ear:
        hub.publish(Watching(seq=EventSeq(4)))
        assert ear.next(0) is None
        hub.publish(Watching(seq=EventSeq(6)))
        assert ear.next(0) == Reread()


def test_another_manager_makes_everyone_read_again() -> None:
    hub = Hub()
    hub.publish(PROGRESS)
    with hub.subscribe(("j1",)) as ear:
        hub.restart()
        assert ear.next(0) == Reread()
    assert hub.job_progress(JobId("j1")) is None


def test_who_reads_too_slowly_is_told_to_read_again() -> None:
    hub = Hub()
    with hub.subscribe(("j1",)) as ear:
        for seq in range(1, MAX_UNREAD + 50):
            hub.publish(changed(seq))
        notices = [ear.next(0) for _ in range(MAX_UNREAD)]
        assert notices[-1] == Reread()
        assert ear.next(0) is None
        hub.publish(changed(MAX_UNREAD + 50))
        assert ear.next(0) == changed(MAX_UNREAD + 50)


def test_who_reads_too_slowly_is_sent_home_all_the_same() -> None:
    hub = Hub()
    with hub.subscribe(("j1",)) as ear:
        for seq in range(1, MAX_UNREAD + 50):
            hub.publish(changed(seq))
        hub.close()
        notices = [ear.next(0) for _ in range(MAX_UNREAD + 1)]
    assert notices[-1] == Closing()


def test_the_latest_progress_is_kept_while_the_job_runs() -> None:
    hub = Hub()
    hub.publish(PROGRESS)
    assert hub.job_progress(JobId("j1")) == PROGRESS
    for state in ("finished", "failed", "cancelled", "waiting"):
        hub.publish(PROGRESS)
        hub.publish(changed(1, state=state))
        assert hub.job_progress(JobId("j1")) is None


def test_the_progress_of_a_model_is_kept_while_it_is_read() -> None:
    hub = Hub()
    progress = ModelProgress(model_id=ModelId("m1"), bytes=1)
    hub.publish(progress)
    assert hub.model_progress(ModelId("m1")) == progress
    hub.publish(Changed(seq=EventSeq(1), kind=ChangeKind.MODEL, id="m1", state="ready", at_ms=1))
    assert hub.model_progress(ModelId("m1")) is None


def test_the_progress_of_an_engine_is_kept_while_it_is_loaded(stage: Stage) -> None:
    progress = EngineProgress(engine_id=EngineId("e1"), bytes=2, total_bytes=8, bytes_per_s=1)
    stage.database.add_engine("e1", status="starting")
    assert stage.get("/v1/engines/e1").json["progress"] is None
    stage.hub.publish(progress)
    shown = {"bytes": 2, "total_bytes": 8, "bytes_per_s": 1}
    assert stage.get("/v1/engines/e1").json["progress"] == shown
    stage.hub.publish(Changed(seq=EventSeq(1), kind=ChangeKind.ENGINE, id="e1", state="ready", at_ms=1))
    assert stage.hub.engine_progress(EngineId("e1")) is None


def test_a_closed_hub_sends_everyone_home_now_and_later() -> None:
    hub = Hub()
    with hub.subscribe(("j1",)) as ear:
        hub.close()
        assert ear.next(0) == Closing()
    with hub.subscribe(None) as late:
        assert late.next(0) == Closing()


def preview(index: int, step: int) -> Preview:
    return Preview(JobId("j1"), index=index, step=step, data=b"a jpeg")


def test_only_who_asked_for_previews_gets_them() -> None:
    hub = Hub()
    with (
        hub.subscribe(("j1",), sees_previews=True) as ear,
        hub.subscribe(("j1",)) as other,
        hub.subscribe(None) as everything,
    ):
        hub.publish(preview(0, 1))
        assert ear.next(0) == preview(0, 1)
        assert (other.next(0), everything.next(0)) == (None, None)


def test_progress_does_not_wake_who_waits_for_an_end_and_does_not_push_changes_aside() -> None:
    hub = Hub()
    with hub.subscribe(("j1", "m1"), sees_progress=False) as ear:
        for step in range(MAX_UNREAD * 2):
            hub.publish(JobProgress(job_id=JobId("j1"), step=step, steps=MAX_UNREAD * 2, eta_s=None))
            hub.publish(ModelProgress(model_id=ModelId("m1"), bytes=step))
        assert ear.next(0) is None
        hub.publish(changed(1))
        assert ear.next(0) == changed(1)


def test_of_previews_that_were_not_read_only_the_newest_of_each_picture_is_kept() -> None:
    hub = Hub()
    with hub.subscribe(("j1",), sees_previews=True) as ear:
        for step in range(MAX_UNREAD * 3):
            hub.publish(preview(step % 3, step))
        last = MAX_UNREAD * 3 - 1
        assert [ear.next(0) for _ in range(3)] == [preview(n, last - 2 + n) for n in range(3)]
        assert ear.next(0) is None
        hub.publish(preview(1, last + 1))
        assert ear.next(0) == preview(1, last + 1)


def test_previews_do_not_push_changes_aside() -> None:
    hub = Hub()
    with hub.subscribe(("j1",), sees_previews=True) as ear:
        for step in range(MAX_UNREAD * 2):
            hub.publish(preview(0, step))
        hub.publish(changed(1))
        assert ear.next(0) == preview(0, MAX_UNREAD * 2 - 1)
        assert ear.next(0) == changed(1)
