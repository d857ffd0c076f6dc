"""`spoon keys` over the bus, and the lists that are read from the database."""

import json
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from kernel.process.lock import FolderLock
from kernel.protocol.api_keys import (
    ChangeKey,
    CreateKey,
    KeyIssued,
    KeyLimits,
    RevokeKey,
    RotateKey,
    public_part,
    public_part_of,
)
from kernel.protocol.client import Done, Refused
from kernel.protocol.enums import Role
from kernel.protocol.ids import KeyId
from tests.integration.cli import fake_manager
from tests.integration.cli.command import Spoon
from tests.integration.cli.fake_manager import FakeManager
from tests.unit.views.database import SampleDatabase

BUS = Path("data/database/bus")
ALICE, BOB = KeyId("00000000-0000-7000-8000-000000000001"), KeyId("00000000-0000-7000-8000-000000000002")
TEXT = "spoon_1_" + "5" * 64
ISSUED = KeyIssued(key_id=ALICE, text=TEXT)


@pytest.fixture
def manager(here: Spoon) -> Iterator[FakeManager]:
    lock = FolderLock(BUS.parent)
    with fake_manager.running(BUS, FakeManager(reply=ISSUED)) as fake:
        yield fake
    lock.release()


@pytest.fixture
def database(here: Spoon, manager: FakeManager) -> Iterator[SampleDatabase]:
    made = SampleDatabase(Path("data/database/spoon.sqlite3"))
    yield made
    made.close()


def test_a_key_is_printed_once_and_alone_on_stdout(
    here: Spoon, manager: FakeManager, database: SampleDatabase
) -> None:
    ended = here("keys", "create", "alice", "--role", "user", "--expires", "30d", "--max-pixels", "9")
    assert ended.out == f"{TEXT}\n"
    assert ended.err.splitlines() == [
        "keep it well: it cannot be shown again",
        "this is the first key: from now on the REST API is used with a key only",
    ]
    assert [command.ask for command in manager.commands] == [
        CreateKey(name="alice", role=Role.USER, expires_in_s=30 * 86_400.0, limits=KeyLimits(max_pixels=9))
    ]
    database.add_key(ALICE, "alice")
    assert "first" not in here("keys", "create", "bob", "--role", "admin").err


def test_a_key_is_saved_to_a_private_file(here: Spoon, database: SampleDatabase) -> None:
    ended = here("keys", "create", "alice", "--role", "user", "--out", "alice.key")
    again = here("keys", "create", "alice", "--role", "user", "--out", "alice.key")
    file = Path("alice.key")
    assert (ended.code, ended.out) == (0, "saved alice.key\n")
    assert (file.read_text(), stat.S_IMODE(file.stat().st_mode)) == (f"{TEXT}\n", 0o600)
    assert TEXT not in ended.err
    assert (again.code, again.err.split(";")[0]) == (4, "spoon: alice.key already exists")


def test_a_key_is_printed_in_json(here: Spoon, database: SampleDatabase) -> None:
    ended = here("keys", "create", "alice", "--role", "user", "--json")
    assert json.loads(ended.out) == {"key_id": ALICE, "name": "alice", "key": TEXT}


def test_a_key_that_was_lost_on_its_way_is_to_be_rotated(
    here: Spoon, manager: FakeManager, database: SampleDatabase
) -> None:
    manager.reply = KeyIssued(key_id=ALICE)
    ended = here("keys", "create", "alice", "--role", "user")
    assert ended.code == 1
    assert "spoon keys rotate alice" in ended.err


def test_keys_are_listed_and_shown_without_secrets(here: Spoon, database: SampleDatabase) -> None:
    database.add_key(ALICE, "alice", limits='{"max_images_a_day": 7}', expires_at_ms=2_000)
    database.add_key(BOB, "bob", role="admin", revoked_at_ms=5_000, weight=3)
    assert here("keys", "list").out.splitlines() == [
        "NAME   ROLE   STATUS   CREATED               EXPIRES               ID",
        f"bob    admin  revoked  1970-01-01 00:00:01Z  -                     {BOB}",
        f"alice  user   expired  1970-01-01 00:00:01Z  1970-01-01 00:00:02Z  {ALICE}",
    ]
    assert [key["name"] for key in json.loads(here("keys", "list", "--json").out)["items"]] == [
        "bob",
        "alice",
    ]
    shown = here("keys", "show", "alice").out
    assert "max_images_a_day       7" in shown
    assert "0" * 64 not in shown + here("keys", "show", BOB, "--json").out


def test_only_what_is_said_is_changed(here: Spoon, manager: FakeManager, database: SampleDatabase) -> None:
    database.add_key(ALICE, "alice")
    manager.reply = Done()
    ended = here(
        "keys", "change", "alice", "--role", "admin", "--max-pixels", "none", "--max-waiting-jobs", "2"
    )
    assert ended.code == 0
    (command,) = manager.commands
    ask = command.ask
    assert isinstance(ask, ChangeKey)
    assert (ask.key_id, ask.role, ask.name, ask.weight) == (ALICE, Role.ADMIN, None, None)
    assert set(ask.fields) == {"max_pixels", "max_waiting_jobs"}
    assert ask.limits == KeyLimits(max_waiting_jobs=2)


@pytest.mark.parametrize("value", ["0", "-1", "many", "1.5", ""])
def test_a_limit_is_a_positive_number_or_none(here: Spoon, database: SampleDatabase, value: str) -> None:
    database.add_key(ALICE, "alice")
    ended = here("keys", "change", "alice", "--max-pixels", value)
    assert ended.code == 2
    assert "neither a positive number nor none" in ended.err


def test_a_key_is_rotated_and_revoked_by_its_name(
    here: Spoon, manager: FakeManager, database: SampleDatabase
) -> None:
    database.add_key(ALICE, "alice")
    assert here("keys", "rotate", "alice", "--expires", "1h").out == f"{TEXT}\n"
    manager.reply = Done()
    assert here("keys", "revoke", "alice", "--yes").out == "revoked alice\n"
    assert [command.ask for command in manager.commands] == [
        RotateKey(key_id=ALICE, expires_in_s=3_600.0),
        RevokeKey(key_id=ALICE),
    ]


@pytest.mark.parametrize("verb", ["show", "change", "rotate", "revoke"])
def test_a_key_that_is_not_there_is_named(here: Spoon, database: SampleDatabase, verb: str) -> None:
    ended = here("keys", verb, "nobody")
    assert ended.code == 3
    assert "no API key with id or name nobody: see `spoon keys list`" in ended.err


def test_a_refusal_says_why(here: Spoon, manager: FakeManager, database: SampleDatabase) -> None:
    manager.reply = Refused(code="name_taken", detail="an API key named alice exists")
    ended = here("keys", "create", "alice", "--role", "user")
    assert ended.code == 4
    assert "an API key named alice exists" in ended.err


def test_keys_are_made_and_changed_while_no_server_runs(here: Spoon) -> None:
    first = here("keys", "create", "alice", "--role", "user", "--expires", "1h")
    assert first.code == 0, first.err
    assert "this is the first key" in first.err
    text = first.out.strip()
    assert here("keys", "create", "alice", "--role", "user").code == 4, "the name is taken"
    assert here("keys", "change", "alice", "--max-pixels", "9").code == 0
    shown = json.loads(here("keys", "show", "alice", "--json").out)
    assert (shown["max_pixels"], shown["role"], shown["status"]) == (9, "user", "active")
    assert public_part(text) == public_part_of(shown["key_id"])
    rotated = here("keys", "rotate", "alice")
    assert rotated.out.strip() not in ("", text)
    assert here("keys", "revoke", "alice", "--yes").code == 0
    assert "revoked" in here("keys", "list").out
    assert text not in Path("data/database/spoon.sqlite3").read_bytes().decode("latin-1")


def test_a_manager_that_runs_and_does_not_answer_is_told(here: Spoon) -> None:
    lock = FolderLock(BUS.parent)
    ended = here("keys", "create", "alice", "--role", "user")
    lock.release()
    assert (ended.code, "spoon serve" in ended.err) == (5, True)
