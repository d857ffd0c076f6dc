"""API keys: made, recognized by a digest, changed, rotated, revoked; and which of them submit jobs."""

import msgspec
import pytest
from msgspec.structs import replace

from kernel.core import actions
from kernel.core.events import WatchAsked
from kernel.protocol import client
from kernel.protocol.api_keys import (
    ChangeKey,
    CreateKey,
    KeyIssued,
    KeyLimits,
    RevokeKey,
    RotateKey,
    is_digest_of,
    key_state,
)
from kernel.protocol.enums import ChangeKind, KeyState, Role
from kernel.protocol.ids import KeyId
from tests.unit.core.samples import create_key, submit
from tests.unit.core.story import CORRELATION, PEER, Story, only

DAY_S = 86_400.0


def issued(reply: client.BrokerReply) -> KeyIssued:
    assert isinstance(reply, KeyIssued), reply
    return reply


def state(story: Story, key_id: KeyId) -> KeyState:
    row = story.database.keys[key_id]
    return key_state(row.expires_at_ms, row.revoked_at_ms, story.now.unix_ms)


def test_a_new_key_is_shown_and_only_its_digest_is_kept() -> None:
    story = Story()
    reply = issued(story.ask(create_key("alice", Role.USER)))
    row = story.database.keys[reply.key_id]
    assert reply.text is not None
    assert is_digest_of(row.digest, reply.text)
    assert (row.name, row.role, row.expires_at_ms) == ("alice", Role.USER, None)
    secret = reply.text.rpartition("_")[2]
    assert secret not in msgspec.json.encode(row).decode()
    assert [(c.kind, c.id, c.state) for c in story.database.changes] == [
        (ChangeKind.KEY, reply.key_id, "active")
    ]


@pytest.mark.parametrize("is_rotation", [False, True])
def test_the_same_command_again_gets_no_secret_and_makes_no_other_key(is_rotation: bool) -> None:
    story = Story()
    ask: CreateKey | RotateKey = create_key()
    if is_rotation:
        ask = RotateKey(key_id=issued(story.ask(ask)).key_id)
    first = issued(story.ask(ask, key="once"))
    before = dict(story.database.keys)
    assert story.ask(ask, key="once") == replace(first, text=None)
    assert story.database.keys == before
    assert first.text is not None
    secret = first.text.rpartition("_")[2]
    assert all(secret not in repr(stored) for stored in story.database.replies.values())


def test_two_keys_that_are_in_use_have_two_names_and_a_revoked_one_gives_its_name_back() -> None:
    story = Story()
    first = issued(story.ask(create_key("alice")))
    bob = issued(story.ask(create_key("bob")))
    assert story.refusal(create_key("alice")).code == "name_taken"
    assert story.refusal(ChangeKey(key_id=bob.key_id, name="alice")).code == "name_taken"
    assert story.ask(ChangeKey(key_id=bob.key_id, name="bob")) == client.Done()
    assert story.ask(RevokeKey(key_id=first.key_id)) == client.Done()
    assert issued(story.ask(create_key("alice"))).key_id != first.key_id


@pytest.mark.parametrize("name", ["", "a" * 201, "two\nlines", "\x7f"])
def test_a_name_is_one_line_of_at_most_200_characters(name: str) -> None:
    refused = Story().refusal(create_key(name))
    assert (refused.code, refused.fields[0].field) == ("invalid_field", "name")


def test_a_key_expires_when_its_time_is_over() -> None:
    story = Story()
    key_id = issued(story.ask(create_key(expires_in_s=DAY_S))).key_id
    assert state(story, key_id) is KeyState.ACTIVE
    story.wait(DAY_S)
    assert state(story, key_id) is KeyState.EXPIRED


def test_a_rotated_key_has_another_secret_and_lives_as_long_again() -> None:
    story = Story()
    old = issued(story.ask(create_key(expires_in_s=DAY_S)))
    story.wait(2 * DAY_S)
    new = issued(story.ask(RotateKey(key_id=old.key_id)))
    row = story.database.keys[old.key_id]
    assert (new.key_id, state(story, old.key_id)) == (old.key_id, KeyState.ACTIVE)
    assert new.text is not None
    assert old.text is not None
    assert is_digest_of(row.digest, new.text)
    assert not is_digest_of(row.digest, old.text)
    assert row.expires_at_ms == story.now.unix_ms + int(DAY_S * 1000)
    longer = issued(story.ask(RotateKey(key_id=old.key_id, expires_in_s=9 * DAY_S)))
    assert longer.expires_at_ms == story.now.unix_ms + int(9 * DAY_S * 1000)


def test_a_revoked_key_stays_revoked() -> None:
    story = Story()
    key_id = issued(story.ask(create_key())).key_id
    for _ in range(2):
        assert story.ask(RevokeKey(key_id=key_id)) == client.Done()
    assert len(story.database.changes) == 2, "the second time nothing changes"
    for ask in (RotateKey(key_id=key_id), ChangeKey(key_id=key_id, role=Role.ADMIN)):
        assert story.refusal(ask).code == "illegal_move"
    assert state(story, key_id) is KeyState.REVOKED


def test_only_what_is_said_of_a_key_changes() -> None:
    story = Story()
    limits = KeyLimits(max_pixels=9, max_images_a_day=7)
    key_id = issued(story.ask(create_key(limits=limits, weight=3))).key_id
    ask = ChangeKey(
        key_id=key_id, fields=("max_pixels", "max_waiting_jobs"), limits=KeyLimits(max_waiting_jobs=2)
    )
    story.ask(ask)
    row = story.database.keys[key_id]
    assert row.limits == KeyLimits(max_images_a_day=7, max_waiting_jobs=2)
    assert (row.weight, row.role, row.name) == (3, Role.USER, "alice")
    story.ask(ChangeKey(key_id=key_id, weight=5, role=Role.ADMIN, name="al"))
    changed = story.database.keys[key_id]
    assert (changed.weight, changed.role, changed.name, changed.limits) == (5, Role.ADMIN, "al", row.limits)
    unknown = ChangeKey(key_id=key_id, fields=("max_fun",))
    assert story.refusal(unknown).fields[0].field == "fields"


def test_what_is_not_there_is_not_found() -> None:
    story = Story()
    key_id = KeyId("none")
    for ask in (
        ChangeKey(key_id=key_id),
        RotateKey(key_id=key_id),
        RevokeKey(key_id=key_id),
    ):
        assert story.refusal(ask).code == "key_not_found"


def test_a_job_belongs_to_the_key_that_it_was_submitted_with_also_after_a_restart() -> None:
    story = Story()
    engine_id = story.engine(autostart=False)
    key_id = issued(story.ask(create_key())).key_id
    ask = replace(submit(engine_id), key_id=key_id)
    reply = story.ask(ask)
    assert isinstance(reply, client.JobAccepted)
    assert story.job(reply.job_id).key_id == key_id
    assert story.job(story.submit(engine_id)).key_id is None
    story.begin()
    assert story.broker.world.jobs[reply.job_id].row.key_id == key_id
    assert story.broker.world.keys == story.database.keys


@pytest.mark.parametrize(
    ("what", "code"),
    [
        ("revoked", "key_revoked"),
        ("expired", "key_expired"),
        ("unknown", "key_unknown"),
        ("viewer", "key_not_allowed"),
    ],
)
def test_a_key_that_is_not_valid_or_only_looks_on_submits_nothing(what: str, code: str) -> None:
    story = Story()
    engine_id = story.engine(autostart=False)
    role = Role.VIEWER if what == "viewer" else Role.USER
    key_id = issued(story.ask(create_key(role=role, expires_in_s=DAY_S))).key_id
    if what == "revoked":
        story.ask(RevokeKey(key_id=key_id))
    elif what == "expired":
        story.wait(DAY_S)
    elif what == "unknown":
        key_id = KeyId("other")
    assert story.refusal(replace(submit(engine_id), key_id=key_id)).code == code
    assert not [a for a in story.ask_actions(replace(submit(engine_id), key_id=key_id))
                if isinstance(a, actions.AddJob)]  # fmt: skip


def test_changes_of_a_job_say_whose_it_is_from_its_beginning_to_its_deletion() -> None:
    story = Story()
    engine_id, _ = story.running_engine()
    key_id = issued(story.ask(create_key())).key_id
    before = len(story.database.changes)
    reply = story.ask(replace(submit(engine_id), key_id=key_id))
    assert isinstance(reply, client.JobAccepted)
    assert (reply.key_id, reply.names[key_id]) == (key_id, "alice")
    story.make(reply.job_id)
    story.ask(client.DeleteJob(job_id=reply.job_id))
    changes = [row for row in story.database.changes[before:] if row.kind is ChangeKind.JOB]
    assert {row.key_id for row in changes} == {key_id}
    assert [row.state for row in changes] == ["waiting", "processing", "finished", "deleted"]


def test_progress_says_whose_the_job_is() -> None:
    story = Story()
    engine_id, _ = story.running_engine()
    key_id = issued(story.ask(create_key())).key_id
    reply = story.ask(replace(submit(engine_id), key_id=key_id))
    assert isinstance(reply, client.JobAccepted)
    story.tell(WatchAsked(PEER, CORRELATION))
    (push,) = only(story.progress(reply.job_id, 3), actions.Push)
    assert isinstance(push.message, client.JobProgress)
    assert push.message.key_id == key_id


@pytest.mark.parametrize(
    "name", ["a\x85b", "a\u2028b", "a\u202eb", "a\u200bb", "\ufeffa", "a\U000e0041b", " "]
)
def test_a_name_shows_all_that_it_has(name: str) -> None:
    story = Story()
    made = issued(story.ask(create_key("alice")))
    for ask in (create_key(name), ChangeKey(key_id=made.key_id, name=name)):
        refused = story.ask(ask)
        assert isinstance(refused, client.Refused)
        assert (refused.code, refused.fields[0].field) == ("invalid_field", "name")
    assert [row.name for row in story.database.keys.values()] == ["alice"]


@pytest.mark.parametrize(
    ("first", "second"), [("jos\u00e9", "jose\u0301"), ("alice", "\uff41lice"), ("1", "\u00b9")]
)
def test_no_two_keys_have_names_that_look_the_same(first: str, second: str) -> None:
    story = Story()
    made = issued(story.ask(create_key(first)))
    refused = story.ask(create_key(second))
    assert isinstance(refused, client.Refused)
    assert refused.code == "name_taken"
    assert story.ask(ChangeKey(key_id=made.key_id, name=second)) == client.Done(), (
        "its own may be spelled anew"
    )
    story.ask(RevokeKey(key_id=made.key_id))
    issued(story.ask(create_key(first)))
