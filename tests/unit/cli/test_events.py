"""Reading a stream of server-sent events, line by line."""

import io

from api.cli.client_models import Progress
from api.cli.events import ServerEvent, read_events
from api.cli.progress import Bar


def test_an_event_ends_with_an_empty_line() -> None:
    lines = ["event: state", "id: 3", "data: {", "data: }", "", "data:x", "", "data: unfinished"]
    assert list(read_events(lines)) == [ServerEvent("state", "{\n}", "3"), ServerEvent("message", "x", "3")]


def test_comments_and_unknown_fields_are_skipped() -> None:
    assert list(read_events([": alive", "", "retry: 5", "event: empty", "", "data: 1", ""])) == [
        ServerEvent("message", "1", None)
    ]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_sees_a_bar_that_is_redrawn() -> None:
    stream = Terminal()
    bar = Bar(stream)
    bar.show(Progress(step=1, steps=2, eta_s=4.0))
    bar.show(Progress(step=1, steps=2, eta_s=4.0))
    bar.close()
    assert stream.getvalue() == f"\r[{'#' * 15}{'.' * 15}] 1/2 steps, 4 s left\x1b[K\n"


def test_a_file_sees_a_line_for_each_quarter() -> None:
    stream = io.StringIO()
    bar = Bar(stream)
    for step in range(101):
        bar.show(Progress(step=step, steps=100))
    bar.close()
    assert stream.getvalue().split(" steps\n") == ["0/100", "25/100", "50/100", "75/100", "100/100", ""]


def test_a_job_without_steps_has_no_count_of_them() -> None:
    stream = io.StringIO()
    Bar(stream).show(Progress(stage="finishing", step=0, steps=0))
    assert stream.getvalue() == "no steps, finishing\n"
