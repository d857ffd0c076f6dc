"""Clients that want to hear of every change."""

from kernel.core.actions import Push, RecordChange, Reply
from kernel.core.events import Peer, PeerLost, Reported, WatchAsked
from kernel.protocol import client, worker
from kernel.protocol.enums import ChangeKind
from kernel.protocol.ids import EngineId
from tests.unit.core.samples import submit
from tests.unit.core.story import CORRELATION, PEER, Story, only

OTHER = Peer(b"other")


def test_watcher_is_told_the_last_change_and_then_every_new_one():
    story = Story()
    engine_id = story.engine(autostart=False)
    (reply,) = story.tell(WatchAsked(PEER, CORRELATION))
    assert reply == Reply(PEER, CORRELATION, client.Watching(seq=story.database.changes[-1].seq))
    found = story.ask_actions(submit(engine_id))
    (push,) = only(found, Push)
    (record,) = only(found, RecordChange)
    assert push.peers == (PEER,)
    assert push.message == client.Changed(
        seq=reply.message.seq + 1,
        kind=ChangeKind.JOB,
        id=record.row.id,
        state="waiting",
        at_ms=1_000_000,
    )
    assert found.index(record) < found.index(push)


def test_one_push_reaches_all_watchers_and_watching_twice_is_watching_once():
    story = Story()
    for peer in (PEER, OTHER, PEER):
        story.tell(WatchAsked(peer, CORRELATION))
    (push,) = only(story.ask_actions(submit(story.engine(autostart=False))), Push)
    assert push.peers == (PEER, OTHER)


def test_watchers_hear_of_the_jobs_that_go_with_their_engine():
    story = Story()
    engine_id = story.engine(autostart=False)
    jobs = [story.submit(engine_id) for _ in range(2)]
    story.tell(WatchAsked(PEER, CORRELATION))
    pushes = only(story.ask_actions(client.DeleteEngine(engine_id=engine_id)), Push)
    told = [(push.message.kind, push.message.id, push.message.state) for push in pushes]
    assert told == [(ChangeKind.JOB, job_id, "deleted") for job_id in jobs] + [
        (ChangeKind.ENGINE, engine_id, "deleted")
    ]


def test_watcher_that_is_lost_or_has_enough_hears_nothing_more():
    story = Story()
    engine_id = story.engine(autostart=False)
    for peer in (PEER, OTHER):
        story.tell(WatchAsked(peer, CORRELATION))
    story.tell(PeerLost(PEER))
    story.tell(PeerLost(PEER))
    assert only(story.ask_actions(submit(engine_id)), Push)[0].peers == (OTHER,)
    (reply,) = story.tell(WatchAsked(OTHER, CORRELATION, is_on=False))
    assert isinstance(reply, Reply)
    assert not only(story.ask_actions(submit(engine_id)), Push)


def test_changes_are_recorded_though_nobody_watches():
    story = Story()
    found = story.ask_actions(submit(story.engine(autostart=False)))
    assert only(found, RecordChange)
    assert not only(found, Push)


def test_watchers_hear_how_far_a_job_is_and_how_long_it_will_take():
    story = Story()
    engine_id, _ = story.running_engine()
    job_id = story.submit(engine_id)
    assert not story.progress(job_id, 1)
    story.tell(WatchAsked(PEER, CORRELATION))
    story.wait(2.0)
    (push,) = story.progress(job_id, 5)
    assert push.message == client.JobProgress(job_id=job_id, step=5, steps=20, eta_s=7.5)


def test_cancelled_job_makes_no_progress_that_anybody_hears_of():
    story = Story()
    engine_id, _ = story.running_engine()
    job_id = story.submit(engine_id)
    story.tell(WatchAsked(PEER, CORRELATION))
    story.ask(client.CancelJob(job_id=job_id))
    assert not story.progress(job_id, 1)


def test_whole_life_of_a_picture_is_told_in_order():
    story = Story()
    engine_id, _ = story.running_engine()
    job_id = story.submit(engine_id)
    story.make(job_id)
    subjects = {engine_id, job_id, story.image_id(job_id)}
    told = [(c.kind, c.state) for c in story.database.changes if c.id in subjects]
    assert told == [
        ("engine", "closed"),
        ("engine", "starting"),
        ("engine", "ready"),
        ("job", "waiting"),
        ("job", "processing"),
        ("engine", "working"),
        ("image", "stored"),
        ("job", "finished"),
        ("engine", "ready"),
    ]


def test_loading_of_an_engine_is_told_until_it_is_ready_and_saved_nowhere():
    story = Story()
    story.tell(WatchAsked(PEER, CORRELATION))
    engine_id = story.engine(start=True)
    worker_id = story.newcomers[0]
    story.hello(worker_id)
    report = worker.EngineProgress(engine_id=engine_id, bytes=1, total_bytes=4, bytes_per_s=2)
    told = client.EngineProgress(engine_id=engine_id, bytes=1, total_bytes=4, bytes_per_s=2)
    assert story.tell(Reported(worker_id, report)) == [Push((PEER,), told)]
    other = worker.EngineProgress(engine_id=EngineId("other"), bytes=1, total_bytes=4)
    assert story.tell(Reported(worker_id, other)) == []
    story.ready(worker_id, 1)
    assert story.tell(Reported(worker_id, report)) == []
