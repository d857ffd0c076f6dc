"""How far a job or a download is, as a line."""

import io

from api.cli.client.client_models import Progress
from api.cli.client.progress_bar import ProgressBar


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_one_line_that_is_redrawn_now_and_then() -> None:
    terminal, times = Terminal(), iter([0.0, 0.01, 0.2, 0.21])
    bar = ProgressBar(terminal, lambda: next(times))
    for done in (0, 10, 50, 100):
        bar.show_bytes("downloading", done * 1_000_000, 100_000_000, 2_000_000)
    bar.close()
    assert terminal.getvalue() == (
        "\r[..............................] downloading 0 B of 100.0 MB, 2.0 MB/s, 50 s left\x1b[K"
        "\r[###############...............] downloading 50.0 MB of 100.0 MB, 2.0 MB/s, 25 s left\x1b[K"
        "\r[##############################] downloading 100.0 MB of 100.0 MB, 2.0 MB/s\x1b[K"
        "\n"
    )


def test_a_file_gets_a_line_for_each_quarter() -> None:
    file = io.StringIO()
    bar = ProgressBar(file)
    for done in range(101):
        bar.show_bytes("downloading", done, 100, None)
    bar.close()
    assert file.getvalue().count("\n") == 5


def test_what_is_not_known_is_not_shown() -> None:
    file = io.StringIO()
    ProgressBar(file).show_bytes("downloading", 5_000_000_000, None, None)
    assert file.getvalue() == "downloading 5.0 GB\n"


def test_hours_are_hours() -> None:
    file = io.StringIO()
    ProgressBar(file).show_bytes("downloading", 0, 36_000_000, 5_000)
    assert file.getvalue().endswith("5.0 kB/s, 2 h 0 min left\n")


def test_a_terminal_sees_a_bar_that_is_redrawn() -> None:
    stream = Terminal()
    bar = ProgressBar(stream)
    bar.show_steps(Progress(step=1, steps=2, eta_s=4.0))
    bar.show_steps(Progress(step=1, steps=2, eta_s=4.0))
    bar.close()
    assert stream.getvalue() == f"\r[{'#' * 15}{'.' * 15}] 1/2 steps, 4 s left\x1b[K\n"


def test_a_file_sees_a_line_for_each_quarter() -> None:
    stream = io.StringIO()
    bar = ProgressBar(stream)
    for step in range(101):
        bar.show_steps(Progress(step=step, steps=100))
    bar.close()
    assert stream.getvalue().split(" steps\n") == ["0/100", "25/100", "50/100", "75/100", "100/100", ""]


def test_a_job_without_steps_has_no_count_of_them() -> None:
    stream = io.StringIO()
    ProgressBar(stream).show_steps(Progress(stage="finishing", step=0, steps=0))
    assert stream.getvalue() == "no steps, finishing\n"


def test_a_new_stage_is_drawn_at_once() -> None:
    terminal, times = Terminal(), iter([0.0, 0.01, 0.02])
    bar = ProgressBar(terminal, lambda: next(times))
    bar.show_steps(Progress(step=1, steps=4))
    bar.show_steps(Progress(step=2, steps=4))
    bar.show_steps(Progress(stage="finishing", step=2, steps=4))
    assert [text.rpartition("] ")[2] for text in terminal.getvalue().split("\x1b[K")] == [
        "1/4 steps",
        "2/4 steps, finishing",
        "",
    ]
