"""The copy of the API keys in the API's process: nobody is answered by what it was before a change."""

import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import pytest

from api.hub import Reread
from api.key_ring import KeyRing
from kernel.protocol.api_keys import digest_of
from kernel.protocol.errors import DatabaseUnusable, KeyUnknown
from kernel.views.reader import Reader
from tests.unit.views.database import SampleDatabase

Row = TypeVar("Row")
PATIENCE_S = 30.0


class HeldReader(Reader):
    """Reads when it is let go on."""

    def __init__(self, file: Path) -> None:
        super().__init__(file)
        self.begun, self.may_go_on = threading.Event(), threading.Event()

    def all(self, query: str, kind: type[Row], values: Mapping[str, object]) -> list[Row]:
        self.begun.set()
        assert self.may_go_on.wait(PATIENCE_S)
        return super().all(query, kind, values)


class NoHub:
    """Never says anything by itself."""

    def join(self, listener: object) -> None:
        pass


@pytest.fixture
def database(tmp_path: Path) -> Iterator[SampleDatabase]:
    found = SampleDatabase(tmp_path / "spoon.sqlite3")
    yield found
    found.close()


def test_who_asks_while_the_keys_are_first_read_waits_for_them(
    database: SampleDatabase, tmp_path: Path
) -> None:
    database.add_key("00000000-0000-7000-8000-000000000001", "me")
    reader = HeldReader(tmp_path / "spoon.sqlite3")
    ring = KeyRing(reader, NoHub(), lambda: 0)  # type: ignore[arg-type]
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(ring.has_keys)
        assert reader.begun.wait(PATIENCE_S)
        second = pool.submit(ring.has_keys)
        with pytest.raises(TimeoutError):
            second.result(timeout=0.05)
        reader.may_go_on.set()
        assert first.result(PATIENCE_S)
        assert second.result(PATIENCE_S)


def test_a_change_is_read_before_the_next_answer_and_a_failed_read_is_tried_again(
    database: SampleDatabase, tmp_path: Path
) -> None:
    reader = HeldReader(tmp_path / "spoon.sqlite3")
    reader.may_go_on.set()
    ring = KeyRing(reader, NoHub(), lambda: 0)  # type: ignore[arg-type]
    assert not ring.has_keys()
    database.add_key("00000000-0000-7000-8000-000000000001", "me")
    assert not ring.has_keys(), "nothing was heard of it yet"
    database.connection.execute("ALTER TABLE api_key RENAME TO hidden")
    ring.put(Reread())
    for _ in range(2):
        with pytest.raises(DatabaseUnusable):
            ring.has_keys()
    database.connection.execute("ALTER TABLE hidden RENAME TO api_key")
    assert ring.has_keys()


KEY_ID = "00000000-0000-7000-8000-000000000001"
TEXT = f"spoon_{KEY_ID.replace('-', '')}_{'0123456789abcdef' * 4}"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "spoon",
        "spoon_",
        TEXT[:-1],
        TEXT + "0",
        TEXT.upper(),
        f" {TEXT}",
        f"{TEXT}\n",
        TEXT.replace("_", "-"),
        TEXT.replace("spoon", "forks"),
        f"spoon_{KEY_ID}_{'0123456789abcdef' * 4}",
        TEXT.replace("0", "\N{FULLWIDTH DIGIT ZERO}"),
        TEXT * 1000,
    ],
)
def test_what_differs_from_a_key_in_anything_is_unknown(
    database: SampleDatabase, tmp_path: Path, text: str
) -> None:
    database.add_key(KEY_ID, "me")
    database.connection.execute("UPDATE api_key SET digest = ?", (digest_of(TEXT),))
    reader = HeldReader(tmp_path / "spoon.sqlite3")
    reader.may_go_on.set()
    ring = KeyRing(reader, NoHub(), lambda: 0)  # type: ignore[arg-type]
    assert ring.recognized(TEXT).key_id == KEY_ID
    with pytest.raises(KeyUnknown):
        ring.recognized(text)
