"""Options of callers are durable, and few."""

from pathlib import Path

import pytest

from api.http.compat.a1111.answers import Options
from api.http.compat.a1111.option_store import MOST_CALLERS, OptionFile
from kernel.protocol.errors import DiskFull

DEEP = Options(clip_stop_at_last_layers=2)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "options.json"


def test_each_caller_has_its_own_also_after_a_restart(file: Path) -> None:
    first = OptionFile(file)
    first.save("anna", DEEP)
    assert first.load("ben") == Options()
    again = OptionFile(file)
    assert (again.load("anna"), again.load("ben"), again.load("")) == (DEEP, Options(), Options())
    assert file.stat().st_mode & 0o777 == 0o600
    assert [one.name for one in file.parent.iterdir()] == [file.name]


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b'{"anna": 5}', b"[1]"])
def test_a_damaged_file_counts_as_empty_and_is_replaced(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    store = OptionFile(file)
    assert store.load("anna") == Options()
    store.save("anna", DEEP)
    assert OptionFile(file).load("anna") == DEEP


def test_options_of_a_later_version_are_left_out(file: Path) -> None:
    file.write_text('{"anna": {"CLIP_stop_at_last_layers": 2, "what_comes_later": 1}}')
    assert OptionFile(file).load("anna") == DEEP


def test_what_cannot_be_stored_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    store = OptionFile(tmp_path / "no folder" / "options.json")
    with pytest.raises(DiskFull):
        store.save("anna", DEEP)
    assert store.load("anna") == Options()


def test_of_too_many_callers_those_go_that_changed_theirs_first(file: Path) -> None:
    store = OptionFile(file)
    store._options = {str(number): DEEP for number in range(MOST_CALLERS)}
    store.save("0", DEEP)
    store.save("new", DEEP)
    assert (store.load("0"), store.load("1"), store.load("new")) == (DEEP, Options(), DEEP)
