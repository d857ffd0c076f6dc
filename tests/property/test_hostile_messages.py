"""Whatever a peer with a good key says, in whatever order: the loop goes on, and a no changes nothing."""

from math import inf, nan

import msgspec
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from kernel.protocol import client, codec
from kernel.protocol import worker as wire
from kernel.protocol.enums import ModelState, WorkerRole
from kernel.protocol.errors import InternalError
from kernel.protocol.ids import ModelId
from kernel.protocol.webhooks import CreateWebhook, TestWebhook
from kernel.protocol.worker_tokens import CreateWorkerToken
from tests.property.small_manager import CORRELATION, SmallManager
from tests.unit.core.samples import create_key, fingerprint, register, spec, submit
from tests.unit.protocol.examples import MESSAGES

PLAIN: dict[str, client.Ask] = {
    "CreateEngine": client.CreateEngine(
        spec=spec(
            name="an engine",
            checkpoint="m-1",
            steps=9,
            guidance_scale=1.0,
            width_px=64,
            height_px=64,
            keep_alive_s=1.0,
            max_batch=2,
            clip_skip=1,
            scheduler_config={"a": 1.0},
        )
    ),
    "SubmitJob": submit("e-1", prompt="a cat", seed=1, steps=2, width_px=64, height_px=64, quality=9),
    "SubmitJob with a picture": submit("e-1", inputs=("reference",), expire_after_s=9.0),
}
"""What the examples ask for cannot be done, for they name models that are not there. These can."""
SAID = {name: one for name, one in MESSAGES.items() if name.startswith(("ClientMessage", "WorkerReport"))} | {
    f"ClientMessage.{name}, plain": client.Command(key="key-1", digest=b"d", ask=ask)
    for name, ask in PLAIN.items()
}
NAMES = sorted(SAID)
BIG = "x" * 100_000
SCALARS = {
    "nan": nan,
    "inf": inf,
    "-inf": -inf,
    "1e300": 1e300,
    "-1e-300": -1e-300,
    "0.5": 0.5,
    "-1": -1,
    "0": 0,
    "1": 1,
    "2**31": 2**31,
    "2**63-1": 2**63 - 1,
    "2**63": 2**63,
    "2**64-1": 2**64 - 1,
    "-2**63": -(2**63),
    "empty": "",
    "NUL": "\0",
    "two lines": "a\nb",
    "a path": "../../etc",
    "a word": "checkpoint",
    "a device": "cuda:999",
    "not ASCII": "é" * 300,
    "long": BIG,
    "nil": None,
    "true": True,
    "bytes": b"\xff" * 1_000,
    "a surrogate": msgspec.Raw(b"\xa3\xed\xa0\x80"),
    "no UTF-8": msgspec.Raw(b"\xa2\xff\xfe"),
    "an array without an end": msgspec.Raw(b"\xdd\xff\xff\xff\xff"),
    "too deep": msgspec.Raw(b"\x91" * 3_000 + b"\xc0"),
    **{f"the id of {name}": name for name in ("model", "engine", "job", "image", "other", "key")},
}
VALUES = (
    SCALARS
    | {f"three of {name}": [value] * 3 for name, value in SCALARS.items()}
    | {f"thousands of {name}": [value] * 2_000 for name, value in SCALARS.items() if value != BIG}
    | {
        "no items": [],
        "no keys": {},
        "a key": {"a": nan},
        "a long key": {BIG: 1},
        "thousands of keys": {str(n): n for n in range(2_000)},
    }
)
twists = st.lists(st.tuples(st.integers(0, 99), st.sampled_from(sorted(VALUES))), max_size=2)
sizes = st.sampled_from([(), (0,), (3,), (3, 4), (12_345,), (2 << 20,)])
steps = st.tuples(
    st.sampled_from(NAMES), twists, sizes, st.sampled_from(["api", "admin"]), st.integers(0, 12)
)


def with_work():
    """A Manager with models, an engine that runs, a job that is processed, and others that wait."""
    manager = SmallManager()
    ids = {}
    ids["model"] = manager.tell(register()).model_id
    fetcher = manager.newest(WorkerRole.FETCH)
    manager.say(fetcher, wire.ModelInspected(model_id=ids["model"], fingerprint=fingerprint()))
    assert manager.broker.world.models[ids["model"]].status is ModelState.READY
    manager.tell(client.ScanModels())
    scanner = manager.newest(WorkerRole.FETCH)
    ids["other"] = manager.tell(register("other")).model_id
    ids["engine"] = manager.tell(client.CreateEngine(spec=spec(checkpoint=ids["model"]))).engine_id
    worker = manager.newest(WorkerRole.ENGINE)
    manager.say(worker, wire.EngineReady(engine_id=ids["engine"], device="cpu", memory_bytes=1, capacity=1))
    accepted = [manager.tell(submit(ids["engine"], width_px=64, height_px=64, count=2)) for _ in range(3)]
    ids["key"] = manager.tell(create_key("bob")).key_id
    webhook_id = manager.tell(CreateWebhook(url="https://receiver.example/")).webhook_id
    manager.tell(TestWebhook(webhook_id=webhook_id))
    sender = manager.newest(WorkerRole.FETCH)
    token = manager.tell(CreateWorkerToken(pool="gpu-lab"))
    ids["token"] = token.token_id
    member = manager.enroll(token.text)
    ids["job"], ids["image"] = accepted[0].job_id, accepted[0].image_ids[1]
    return (
        manager,
        ids,
        {"fetch": fetcher, "scan": scanner, "send": sender, "engine": worker, "member": member},
    )


def role_of(name):
    """The worker that reports this."""
    roles = {"GetModel": "engine", "Enroll": "member", "Scan": "scan", "Callback": "send", "Model": "fetch"}
    return next((role for part, role in roles.items() if part in name), "engine")


def places(value, found):
    """Every place of a message where something stands, as the thing that holds it and the key."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inside in list(pairs):
        if key != "type":
            found.append((value, key))
            places(inside, found)
    return found


def twisted(name, twists, ids, lease, command_key="key-1"):
    """The body of an example, with ids of things that there are, and with other values in some places."""
    raw = msgspec.to_builtins(SAID[name], builtin_types=(bytes,), enc_hook=str)
    raw = msgspec.msgpack.decode(msgspec.msgpack.encode(raw))
    known = {"m-1": "model", "e-1": "engine", "j-1": "job", "i-1": "image", "t-1": "token"}
    for holder, key in places(raw, []):
        if isinstance(holder[key], str) and holder[key] in known:
            holder[key] = ids[known[holder[key]]]
        if key == "lease":
            holder[key] = lease
    found = places(raw, [])
    raw |= {"key": command_key} if "key" in raw else {}
    for number, value_name in twists:
        value = VALUES[value_name]
        if found:
            holder, key = found[number % len(found)]
            holder[key] = ids.get(value, value) if isinstance(value, str) else value
    return msgspec.msgpack.encode(raw)


@settings(deadline=None, phases=(Phase.generate,), print_blob=False)
@given(st.lists(steps, min_size=1, max_size=12))
def test_nothing_that_a_peer_says_gets_the_loop_out_of_step(story):
    manager, ids, workers = with_work()
    for number, (name, twists, sizes, role, seconds) in enumerate(story):
        body, blobs = (
            twisted(name, twists, ids, manager.hands.leases[0], f"key-{number % 9}"),
            [bytes(size) for size in sizes],
        )
        frames = [codec.encode(client.GetStatus(), CORRELATION, blobs=blobs)[0], body, *blobs]
        if name.startswith("ClientMessage"):
            ask(manager, role, frames)
        else:
            who = workers["fetch" if seconds == 7 else role_of(name)]
            manager.hear_worker(who, frames)
            manager.settle()
        if seconds == 12:
            manager.wait(11.0)
        assert manager.unexpected.count == 0, name
        if manager.effects.exit_code is not None:
            return
    manager.check()


@pytest.mark.parametrize("name", NAMES)
def test_each_value_in_each_place_of_a_message_is_taken_or_refused(name):
    manager, ids, workers = with_work()
    count = len(places(msgspec.msgpack.decode(msgspec.msgpack.encode(SAID[name])), []))
    for place in range(count):
        for value in [
            *SCALARS,
            "thousands of 0",
            "thousands of the id of model",
            "no items",
            "no keys",
            "a key",
            "thousands of keys",
        ]:
            body = twisted(name, [(place, value)], ids, manager.hands.leases[0], f"key-{place}-{value}")
            say(manager, workers, name, body)
            assert manager.unexpected.count == 0, (place, value)
            if manager.effects.exit_code is not None or len(manager.hands.gone) > 1:
                manager, ids, workers = with_work()
    manager.wait(11.0)
    assert manager.unexpected.count == 0
    manager.check()


def say(manager, workers, name, body):
    """Somebody says this; a no writes nothing."""
    frames = [codec.encode(client.GetStatus(), CORRELATION)[0], body]
    if name.startswith("WorkerReport"):
        manager.hear_worker(workers[role_of(name)], frames)
    else:
        changes = manager.changes()
        replies = manager.hear_client("admin", frames)
        if replies and all(isinstance(reply, client.Refused) for reply in replies):
            assert manager.changes() == changes
    manager.settle()


def ask(manager, role, frames):
    """A client says this; if all that it hears is no, nothing may have changed."""
    manager.settle()
    before, changes = manager.memory(), manager.changes()
    replies = manager.hear_client(role, frames)
    refused = [reply for reply in replies if isinstance(reply, client.Refused)]
    assert all(len(reply.detail) < 5_000 and reply.code != InternalError.code for reply in refused)
    if refused and len(refused) == len(replies):
        assert manager.changes() == changes
        assert manager.memory() == before
    manager.settle()


def test_each_value_in_each_place_of_what_a_stranger_says_is_refused():
    manager, ids, _workers = with_work()
    name = "WorkerReport.Enroll"
    count = len(places(msgspec.msgpack.decode(msgspec.msgpack.encode(SAID[name])), []))
    changes = manager.changes()
    for place in range(count):
        for value in SCALARS:
            body = twisted(name, [(place, value)], ids, manager.hands.leases[0])
            manager.hear_stranger([codec.encode(client.GetStatus(), CORRELATION)[0], body])
            manager.settle()
            assert (manager.unexpected.count, manager.changes()) == (0, changes), (place, value)
    manager.check()


@pytest.mark.parametrize("value", [nan, inf, 1e300, -1.0])
def test_an_age_that_is_no_number_is_refused_and_the_manager_goes_on(value):
    manager, _ids, _workers = with_work()
    reply = manager.tell(client.PruneImages(older_than_s=value))
    assert (reply.code, reply.fields[0].field) == ("invalid_field", "older_than_s")
    assert isinstance(manager.tell(client.PruneImages(older_than_s=0.0)), client.ImagesPruned)


@pytest.mark.parametrize("name", NAMES)
def test_every_message_is_taken_as_it_is(name):
    manager, ids, workers = with_work()
    body = twisted(name, [], ids, manager.hands.leases[0])
    frames = [codec.encode(client.GetStatus(), CORRELATION)[0], body]
    if name.startswith("ClientMessage"):
        assert not any(
            getattr(reply, "code", "") == "bad_message" for reply in manager.hear_client("admin", frames)
        )
    else:
        who = workers[role_of(name)]
        assert manager.hear_worker(who, frames)
    manager.settle()
    assert manager.unexpected.count == 0
    manager.check()


def test_ids_stand_for_things_that_there_are():
    manager, ids, _workers = with_work()
    assert ModelId(ids["other"]) in manager.broker.world.models
    assert {ids["job"]} < set(manager.broker.world.jobs)
    assert ids["engine"] in manager.broker.world.engines
