"""What becomes of the end of a worker's stderr in the reason that a person reads."""

import pytest

from kernel.core.handlers.worker_exit import stderr_summary
from tests.unit.core.story import Story

STARTED = "at=2026-01-01T00:00:00.000Z level=info worker_id=w1-1 action=started role=fetch\n"
BROKE = (
    "at=2026-01-01T00:00:00.000Z level=error worker_id=w1-1 action=socket_thread_broke "
    'error="Traceback (most recent call last):\\n  File \\"a.py\\", line 1\\nOverflowError: too big\\n"\n'
)
EXIT = 'at=2026-01-01T00:00:00.000Z level=info worker_id=w1-1 action=exit code=70 reason="it broke"\n'
JOB_FAILED = (
    "at=2026-01-01T00:00:00.000Z level=error worker_id=w1-1 action=job_failed job_id=j "
    'traceback="Traceback (most recent call last):\\nValueError: of this job\\n"\n'
)
FORCE = "at=2026-01-01T00:00:00.000Z level=warning worker_id=w1-1 action=ended_by_force code=70\n"


@pytest.mark.parametrize(
    ("last_words", "part"),
    [
        ("", None),
        (STARTED, None),
        ("a\nfree(): invalid pointer\n", "free(): invalid pointer"),
        (STARTED + BROKE, "OverflowError: too big"),
        (BROKE + EXIT + FORCE, "OverflowError: too big"),
        (BROKE[-40:] + FORCE, "OverflowError: too big"),
        (EXIT + FORCE, "it broke"),
        (JOB_FAILED + EXIT + FORCE, "it broke"),
        (STARTED + EXIT.replace('"it broke"', "drained"), "drained"),
        (STARTED + "ImportError: no torch\n", "ImportError: no torch"),
        (BROKE + STARTED * 3, None),
        (STARTED.rstrip() + ' error="\\x is no escape"\n', "\\x is no escape"),
        (STARTED.rstrip() + ' error="\\ud800"\n', "\\ud800"),
    ],
)
def test_a_log_line_gives_only_what_it_says_of_the_error(last_words: str, part: str | None) -> None:
    assert stderr_summary(last_words) == part


def test_the_reason_of_a_job_that_waits_again_names_the_error_and_no_log_line() -> None:
    story = Story()
    engine_id, worker_id = story.running_engine()
    job_id = story.submit(engine_id)
    story.exits(worker_id, "exit code 70", last_words=BROKE + FORCE)
    assert story.job(job_id).error == "the worker process crashed; exit code 70; OverflowError: too big"
