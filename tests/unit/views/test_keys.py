"""API keys as lists and single rows: by id, by name, in pages."""

from kernel.protocol.enums import Role
from kernel.protocol.ids import KeyId
from kernel.views.keys import has_keys, key_called, list_keys
from kernel.views.reader import Reader
from tests.unit.views.database import SampleDatabase


def uuid(number: int) -> KeyId:
    return KeyId(f"00000000-0000-7000-8000-{number:012}")


def test_keys_are_found_by_id_and_listed_newest_first(database: SampleDatabase, reader: Reader) -> None:
    assert not has_keys(reader)
    for number in range(3):
        database.add_key(uuid(number), f"key-{number}")
    assert has_keys(reader)
    found = key_called(reader, uuid(1))
    assert found is not None
    assert (found.name, found.role, found.limits.max_pixels) == ("key-1", Role.USER, 9)
    first = list_keys(reader, 2)
    assert [row.key_id for row in first.items] == [uuid(2), uuid(1)]
    assert [row.key_id for row in list_keys(reader, 2, first.next_after).items] == [uuid(0)]


def test_a_name_is_that_of_the_key_in_use_or_else_of_the_newest(
    database: SampleDatabase, reader: Reader
) -> None:
    database.add_key(uuid(1), "alice", revoked_at_ms=5)
    database.add_key(uuid(2), "alice")
    database.add_key(uuid(3), "alice", revoked_at_ms=6)
    database.add_key(uuid(4), "bob", revoked_at_ms=6)
    database.add_key(uuid(5), "bob", revoked_at_ms=7)
    called = {name: key_called(reader, name) for name in ("alice", "bob", uuid(1), "nobody")}
    ids = {name: None if row is None else row.key_id for name, row in called.items()}
    assert ids == {"alice": uuid(2), "bob": uuid(5), uuid(1): uuid(1), "nobody": None}
