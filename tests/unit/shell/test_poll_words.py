"""What the commands of schedulers print about a worker, and how it is read."""

import pytest

from kernel.shell.launchers.poll_words import Answer, read_poll


@pytest.mark.parametrize(
    ("output", "answer", "reason"),
    [
        ("Pending\n", Answer.WAITING, ""),
        ("pending: no GPU is free", Answer.WAITING, "no GPU is free"),
        ("PENDING: Resources", Answer.WAITING, "Resources"),
        ("Pending Insufficient nvidia.com/gpu", Answer.WAITING, "Insufficient nvidia.com/gpu"),
        ("'created'\n", Answer.WAITING, ""),
        ("\n  RUNNING\n", Answer.RUNNING, ""),
        ('"Running"', Answer.RUNNING, ""),
        ("CANCELLED+", Answer.ENDED, ""),
        ("NODE_FAIL", Answer.ENDED, ""),
        ("exited (137)", Answer.ENDED, "(137)"),
        ("", Answer.UNKNOWN, ""),
        ("Unknown", Answer.UNKNOWN, ""),
        ("No resources found in default namespace.", Answer.UNKNOWN, "resources found in default namespace."),
        ("42", Answer.UNKNOWN, ""),
    ],
)
def test_the_first_word_is_the_state_and_the_rest_of_its_line_the_reason(output, answer, reason):
    said = read_poll(0, output)
    assert (said.answer, said.reason) == (answer, reason)


def test_a_poll_that_fails_says_nothing_whatever_it_prints():
    assert read_poll(1, "running").answer is Answer.UNKNOWN
