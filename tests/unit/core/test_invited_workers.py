"""Workers that a person starts by hand, perhaps on another host: no process of ours, so only words."""

from kernel.core import actions
from kernel.core.actions import ForgetWorker, KillWorker, LaunchWorker, MintTicket, TerminateWorker
from kernel.protocol import client
from kernel.protocol import worker as wire
from kernel.protocol.enums import EngineState, JobState, WorkerRole
from tests.unit.core.story import Story, only, orders_to


def invite(story, engine_id):
    """The id of a worker that may come."""
    found = story.ask_actions(client.InviteWorker(engine_id=engine_id))
    return only(found, MintTicket)[0].worker_id


def guest(story, engine_id, capacity=1):
    """A worker of another host that is ready."""
    worker_id = invite(story, engine_id)
    story.hello(worker_id)
    story.ready(worker_id, capacity, device="cuda:0")
    return worker_id


def no_process_is_touched(story, found):
    return not any(only(found, kind) for kind in (TerminateWorker, KillWorker))


def test_invitation_is_answered_by_a_ticket_and_saves_nothing():
    story = Story()
    engine_id = story.engine(autostart=False)
    found = story.ask_actions(client.InviteWorker(engine_id=engine_id))
    (ticket,) = found
    assert isinstance(ticket, MintTicket)
    assert ticket.expires_in_s == 600.0
    assert story.engine_state(engine_id) is EngineState.CLOSED


def test_guest_opens_a_closed_engine_and_works():
    story = Story()
    engine_id = story.engine(autostart=False)
    job_id = story.submit(engine_id)
    worker_id = guest(story, engine_id)
    assert not story.newcomers
    assert story.gives[job_id].worker_id == worker_id
    story.make(job_id)
    assert story.job_state(job_id) is JobState.FINISHED
    assert story.engine_row(engine_id).device == "cuda:0"


def test_closed_engine_is_deleted_with_its_open_invitations():
    story = Story()
    engine_id = story.engine(autostart=False)
    worker_id = invite(story, engine_id)
    found = story.ask_actions(client.DeleteEngine(engine_id=engine_id))
    assert ForgetWorker(worker_id) in found
    assert engine_id not in story.database.engines
    assert not story.hello(worker_id)
    story.wait(601.0)


def test_invitation_that_nobody_uses_expires_and_the_engine_never_seems_to_start():
    story = Story()
    engine_id = story.engine(autostart=False)
    worker_id = invite(story, engine_id)
    found = story.wait(601.0)
    assert ForgetWorker(worker_id) in found
    assert no_process_is_touched(story, found)
    assert [c.state for c in story.database.changes if c.id == engine_id] == ["closed"]
    assert story.ask(client.DeleteEngine(engine_id=engine_id)) == client.Done()


def test_stopping_a_closed_engine_takes_its_invitations_back():
    story = Story()
    engine_id = story.engine(autostart=False)
    worker_id = invite(story, engine_id)
    found = story.ask_actions(client.StopEngine(engine_id=engine_id))
    assert ForgetWorker(worker_id) in found
    assert only(found, actions.Reply)[0].message == client.EngineAccepted(
        engine_id=engine_id, status=EngineState.CLOSED
    )
    assert not story.hello(worker_id)
    assert story.ask(client.DeleteEngine(engine_id=engine_id)) == client.Done()


def test_worker_cannot_be_invited_while_the_engine_is_stopping():
    story = Story()
    engine_id, worker_id = story.running_engine()
    story.ask(client.StopEngine(engine_id=engine_id))
    assert story.refusal(client.InviteWorker(engine_id=engine_id)).code == "illegal_move"
    story.exits(worker_id)
    assert invite(story, engine_id)


def test_failed_engine_takes_its_invitations_back():
    story = Story()
    engine_id = story.engine(start=True)
    worker_id = invite(story, engine_id)
    story.hello(local := story.newcomers[0])
    found = story.say(local, wire.EngineFailed(engine_id=engine_id, code="bad", text="bad"))
    assert ForgetWorker(worker_id) in found
    assert story.engine_state(engine_id) is EngineState.ERROR


def test_silent_guest_is_given_up_at_once_and_its_job_waits_again():
    story = Story()
    engine_id = story.engine(autostart=False)
    worker_id = guest(story, engine_id)
    job_id = story.submit(engine_id)
    story.pinging.clear()
    found = story.wait(5.1)
    assert ForgetWorker(worker_id) in found
    assert no_process_is_touched(story, found)
    row = story.job(job_id)
    assert (row.status, row.crashes) == (JobState.WAITING, 1)
    assert "abandoned" in (row.error or "")
    assert story.engine_state(engine_id) is EngineState.CLOSED


def test_guest_of_a_stopped_engine_is_told_to_drain_and_then_to_leave():
    story = Story()
    engine_id = story.engine(autostart=False)
    worker_id = guest(story, engine_id)
    assert wire.Drain() in orders_to(story.ask_actions(client.StopEngine(engine_id=engine_id)), worker_id)
    found = story.wait(10.1)
    assert wire.Leave() in orders_to(found, worker_id)
    assert ForgetWorker(worker_id) in found
    assert no_process_is_touched(story, found)
    assert story.engine_state(engine_id) is EngineState.CLOSED


def test_guest_that_says_goodbye_is_forgotten_and_nothing_is_launched_for_it():
    story = Story()
    engine_id = story.engine(autostart=False)
    worker_id = guest(story, engine_id)
    job_id = story.submit(engine_id)
    story.say(worker_id, wire.Goodbye(reason="its person went home"))
    found = story.wait(0.0)
    assert ForgetWorker(worker_id) in found
    assert not only(found, LaunchWorker)
    assert story.engine_state(engine_id) is EngineState.CLOSED
    assert story.job(job_id).crashes == 0


def test_guest_with_the_wrong_role_is_refused():
    story = Story()
    engine_id = story.engine(autostart=False)
    worker_id = invite(story, engine_id)
    _, token = story.tokens[worker_id]
    story.tokens[worker_id] = (WorkerRole.FETCH, token)
    (order,) = orders_to(story.hello(worker_id), worker_id)
    assert isinstance(order, wire.Refuse)


def test_shutdown_does_not_wait_for_guests_that_never_came():
    story = Story()
    invite(story, story.engine(autostart=False))
    assert only(story.stop(), actions.Exit)


def test_nobody_is_invited_during_a_shutdown():
    story = Story()
    engine_id, _ = story.running_engine()
    story.submit(engine_id)
    story.stop()
    assert story.refusal(client.InviteWorker(engine_id=engine_id)).code == "shutting_down"
