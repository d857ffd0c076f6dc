"""How far a download is, as a line."""

import io

from api.cli.transfer_bar import TransferBar


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_one_line_that_is_redrawn_now_and_then() -> None:
    terminal, times = Terminal(), iter([0.0, 0.01, 0.2, 0.21])
    bar = TransferBar(terminal, "downloading", lambda: next(times))
    for done in (0, 10, 50, 100):
        bar.show(done * 1_000_000, 100_000_000, 2_000_000)
    bar.close()
    assert terminal.getvalue() == (
        "\r[..............................] downloading 0 B of 100.0 MB, 2.0 MB/s, 50 s left\x1b[K"
        "\r[###############...............] downloading 50.0 MB of 100.0 MB, 2.0 MB/s, 25 s left\x1b[K"
        "\r[##############################] downloading 100.0 MB of 100.0 MB, 2.0 MB/s\x1b[K"
        "\n"
    )


def test_a_file_gets_a_line_for_each_quarter() -> None:
    file = io.StringIO()
    bar = TransferBar(file, "downloading")
    for done in range(101):
        bar.show(done, 100, None)
    bar.close()
    assert file.getvalue().count("\n") == 5


def test_what_is_not_known_is_not_shown() -> None:
    file = io.StringIO()
    TransferBar(file, "downloading").show(5_000_000_000, None, None)
    assert file.getvalue() == "downloading 5.0 GB\n"


def test_hours_are_hours() -> None:
    file = io.StringIO()
    TransferBar(file, "downloading").show(0, 36_000_000, 5_000)
    assert file.getvalue().endswith("5.0 kB/s, 2 h 0 min left\n")
