"""A line of the log is one line, whatever its values hold, and looks alike in every process."""

import logging
import sys

import pytest

from kernel.process.log import Logfmt, line

CREATED_S = 1893553445.006
"""2030-01-02T03:04:05.006Z"""


def written(message: str, level: int = logging.INFO, **context: object) -> str:
    record = logging.LogRecord("a.library", level, "", 0, message, None, None)
    record.created = CREATED_S
    return Logfmt(**context).format(record)


def test_a_line_bears_time_level_context_and_what_happened() -> None:
    message = line("action_name", job_id="job-1", count=3, path="/a/b")
    assert written(message, worker_id="w1-1") == (
        "at=2030-01-02T03:04:05.006Z level=info worker_id=w1-1 "
        "action=action_name job_id=job-1 count=3 path=/a/b"
    )


def test_what_a_message_says_itself_is_not_said_again() -> None:
    assert written(line("x", job_id="j"), job_id=None).endswith(" level=info action=x job_id=j")
    assert written(line("x"), job_id=None).endswith(" level=info job_id=- action=x")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        ("", '""'),
        ("a b", '"a b"'),
        ("a\nb=c", '"a\\nb=c"'),
        ('say "hi"', '"say \\"hi\\""'),
        (0, "0"),
        ((1, 2), '"(1, 2)"'),
    ],
)
def test_a_value_never_breaks_its_line(value: object, text: str) -> None:
    assert line("x", text=value) == f"action=x text={text}"


def test_what_a_library_says_becomes_a_line_of_the_same_form() -> None:
    assert written("it is\nlate: 100 %", logging.WARNING, process="api") == (
        "at=2030-01-02T03:04:05.006Z level=warning process=api action=log logger=a.library "
        'text="it is\\nlate: 100 %"'
    )


def test_an_exception_is_a_value_of_its_line() -> None:
    try:
        raise OSError("the disk\nfailed")
    except OSError:
        record = logging.LogRecord("x", logging.ERROR, "", 0, line("broke"), None, sys.exc_info())
    (text,) = Logfmt().format(record).splitlines()
    assert 'action=broke traceback="Traceback (most recent call last):\\n' in text
    assert text.endswith('OSError: the disk\\nfailed"')
