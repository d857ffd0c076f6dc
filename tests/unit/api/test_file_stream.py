"""What counts as handed out, closing by closing: as waitress reads, and as any other server reads."""

from pathlib import Path

import pytest
from waitress.buffers import ReadOnlyFileBasedBuffer

from api.http.framework.ranges import FileStream, Part


@pytest.fixture
def file(tmp_path: Path) -> Path:
    made = tmp_path / "image.png"
    made.write_bytes(bytes(100))
    return made


def test_a_file_that_was_read_to_its_end_is_whole(file: Path) -> None:
    told: list[bool] = []
    with FileStream(file, Part(0, 100, 100), told.append) as handout:
        while handout.read(30):
            pass
    assert told == [True]


def test_a_file_that_was_closed_early_is_not_whole(file: Path) -> None:
    told: list[bool] = []
    handout = FileStream(file, Part(0, 100, 100), told.append)
    handout.read(99)
    handout.close()
    handout.close()
    assert told == [False]


def test_a_part_ends_where_it_ends(file: Path) -> None:
    told: list[bool] = []
    with FileStream(file, Part(90, 5, 100), told.append) as handout:
        assert len(handout.read()) == 5
        assert handout.read(10) == b""
    assert told == [True]


@pytest.mark.parametrize(("sent", "whole"), [((60, 40), True), ((60, 39), False), ((), False)])
def test_what_waitress_peeked_at_but_did_not_send_does_not_count(
    file: Path, sent: tuple[int, ...], whole: bool
) -> None:
    told: list[bool] = []
    buffer = ReadOnlyFileBasedBuffer(FileStream(file, Part(0, 100, 100), told.append))
    buffer.prepare(100)
    for count in sent:
        buffer.get(100)
        buffer.skip(count, True)
    buffer.get(100)
    buffer.close()
    assert told == [whole]
