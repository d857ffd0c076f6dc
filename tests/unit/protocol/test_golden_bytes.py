"""The bytes of every message, written down: what one version says, every later one must understand.

A new message or a new field with a default: add it to examples.py, then run
`python -m tests.unit.protocol.test_golden_bytes`. It adds what is missing to golden.json and never changes
what is there. A test that fails on an old entry has found a change that older peers do not understand: undo
it, or raise the protocol's major version and remove the entry by hand.
"""

import json
from pathlib import Path

import msgspec
import pytest

from kernel.protocol import codec
from tests.unit.protocol.examples import MESSAGES, UNIONS, names_of_unions

GOLDEN_FILE = Path(__file__).with_name("golden.json")


def golden() -> dict[str, str]:
    """The written-down bytes by name, as hex."""
    if not GOLDEN_FILE.exists():
        return {}
    return msgspec.json.decode(GOLDEN_FILE.read_bytes(), type=dict[str, str])


def body_of(message: msgspec.Struct) -> bytes:
    """A message's body frame."""
    return bytes(codec.encode(message)[1])


def test_every_message_has_an_example_and_golden_bytes():
    assert names_of_unions() == set(MESSAGES) == set(golden())


@pytest.mark.parametrize("name", sorted(MESSAGES))
def test_message_still_has_its_golden_bytes(name):
    assert body_of(MESSAGES[name]).hex() == golden()[name]


@pytest.mark.parametrize("name", sorted(MESSAGES))
def test_golden_bytes_still_mean_the_message(name):
    union = UNIONS[name.partition(".")[0]]
    frames = [codec.encode(MESSAGES[name])[0], bytes.fromhex(golden()[name])]
    assert codec.Decoder(union).decode(frames).body == MESSAGES[name]


@pytest.mark.parametrize("name", sorted(MESSAGES))
def test_example_sets_every_field_to_something_else_than_its_default(name):
    for struct in structs_in(MESSAGES[name]):
        for field in msgspec.structs.fields(struct):
            assert field.default is msgspec.NODEFAULT or getattr(struct, field.name) != field.default


def structs_in(value: object) -> list[msgspec.Struct]:
    """A struct and all structs inside it."""
    if isinstance(value, tuple):
        return [struct for item in value for struct in structs_in(item)]
    if not isinstance(value, msgspec.Struct):
        return []
    inner = [getattr(value, field.name) for field in msgspec.structs.fields(value)]
    return [value, *structs_in(tuple(inner))]


def test_field_that_a_newer_peer_adds_is_passed_over():
    for name, message in MESSAGES.items():
        fields = msgspec.msgpack.decode(body_of(message))
        body = msgspec.msgpack.encode({**fields, "added_in_minor_9": [1, {"a": None}]})
        union = UNIONS[name.partition(".")[0]]
        assert codec.Decoder(union).decode([codec.encode(message)[0], body]).body == message


def write_missing() -> None:
    """Add the bytes of new messages to the golden file."""
    known = golden()
    for name, message in MESSAGES.items():
        known.setdefault(name, body_of(message).hex())
    GOLDEN_FILE.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    write_missing()
