"""Whose a worker's log is, and what it ends with."""

import os
from pathlib import Path

from kernel.process.log import dated, line
from kernel.process.worker_logs import HEAD_BYTES, LAUNCHED, LONGEST_LINE, TAIL_BYTES, log_file, logs_of
from kernel.protocol.ids import EngineId

E1 = EngineId("e-1")


def write(folder: Path, name: str, text: str, *, engine_id: str = E1, at_s: int = 1) -> Path:
    """A log that says whose it is."""
    file = log_file(folder, name)
    note = dated("info", line(LAUNCHED, worker_id=name, engine_id=engine_id), process="manager")
    file.write_bytes(f"{note}\n{text}".encode())
    os.utime(file, (at_s, at_s))
    return file


def test_the_last_lines_of_an_engines_last_workers_are_found_newest_first(tmp_path: Path) -> None:
    write(tmp_path, "w1-1", "old\n", at_s=1)
    write(tmp_path, "w1-2", "one\ntwo\nthree\n", at_s=3)
    write(tmp_path, "w2-1", "of another\n", engine_id="e-12", at_s=4)
    write(tmp_path, "standby-1", "never its\n", at_s=5)
    found = logs_of(tmp_path, E1, 2, 9)
    assert [(one.worker_id, one.lines, one.is_cut) for one in found] == [
        ("w1-2", ("two", "three"), True),
        ("w1-1", found[1].lines, False),
    ]
    assert found[1].lines[1] == "old"
    assert found[0].changed_at_ms == 3_000
    assert [one.worker_id for one in logs_of(tmp_path, E1, 2, 1)] == ["w1-2"]


def test_a_folder_that_is_not_there_has_no_logs(tmp_path: Path) -> None:
    assert logs_of(tmp_path / "none", E1, 2, 9) == []


def test_what_a_standby_wrote_before_it_became_the_engines_worker_is_in_its_log(tmp_path: Path) -> None:
    file = write(tmp_path, "w1-1", "late\n")
    file.write_bytes(b"a warning of an import\n" + file.read_bytes())
    (found,) = logs_of(tmp_path, E1, 9, 9)
    assert (found.lines[0], found.lines[-1]) == ("a warning of an import", "late")
    file.write_bytes(b"x" * HEAD_BYTES + file.read_bytes())
    assert logs_of(tmp_path, E1, 9, 9) == []


def test_a_large_log_is_read_from_its_end_only_and_begins_with_a_whole_line(tmp_path: Path) -> None:
    write(tmp_path, "w1-1", "long ago\n" + "0123456789\n" * (TAIL_BYTES // 11 + 100))
    (found,) = logs_of(tmp_path, E1, 1_000_000, 9)
    assert set(found.lines) == {"0123456789"}
    assert found.is_cut
    assert len(found.lines) <= TAIL_BYTES // 11


def test_lines_are_shown_as_a_terminal_would_leave_them_and_steer_none(tmp_path: Path) -> None:
    text = "10%\r100%\r\n\x1b[31mred\x1b[0m \x07 bell\tand tab\n" + "x" * 9_999 + "\n\xff"
    file = write(tmp_path, "w1-1", "")
    file.write_bytes(file.read_bytes() + text.encode("latin-1"))
    (found,) = logs_of(tmp_path, E1, 4, 9)
    assert found.lines == (
        "100%",
        "red \N{REPLACEMENT CHARACTER} bell\tand tab",
        "x" * LONGEST_LINE,
        "\N{REPLACEMENT CHARACTER}",
    )


def test_a_link_to_another_file_is_not_followed(tmp_path: Path) -> None:
    aside = write(tmp_path / "..", "w9-9-aside", "secret\n")
    (tmp_path / "w1-1.log").symlink_to(aside)
    assert logs_of(tmp_path, E1, 9, 9) == []
