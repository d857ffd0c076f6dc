"""Reads what a pool's `poll` command prints about a worker.

The first word of its first line counts, and what follows a colon is the reason: `pending: no GPU is free`.
The words are those of Slurm (squeue's long states), Kubernetes (phases of a pod) and Docker (states of a
container), so that their own commands can be the template. Case does not matter.
"""

import re
from dataclasses import dataclass
from enum import Enum
from typing import Final


class Answer(Enum):
    """The state of a worker, as its host's scheduler says it."""

    WAITING = "waiting"
    RUNNING = "running"
    ENDED = "ended"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Said:
    """An answer, with what was said beside it."""

    answer: Answer
    word: str
    reason: str


_WORDS: Final = {
    Answer.WAITING: "pending waiting queued configuring suspended created resv_del_hold requeue_hold",
    Answer.RUNNING: "running completing stopping signaling staging resizing paused restarting removing",
    Answer.ENDED: (
        "ended succeeded failed completed cancelled timeout deadline node_fail boot_fail launch_failed "
        "out_of_memory preempted revoked requeued special_exit stopped exited dead"
    ),
}
_ANSWERS: Final = {word: answer for answer, words in _WORDS.items() for word in words.split()}
_LINE: Final = re.compile(r"[\s'\"]*([A-Za-z_]+)\+?['\"]?\s*(?::\s*)?(.*)")


def read_poll(exit_code: int, output: str) -> Said:
    """What a poll has said. It is unknown after an exit code that is not 0, and for any other word."""
    first = next((line for line in output.splitlines() if line.strip()), "")
    match = _LINE.match(first) if exit_code == 0 else None
    word = match[1] if match is not None else ""
    answer = _ANSWERS.get(word.lower(), Answer.UNKNOWN)
    return Said(answer, word, match[2].strip() if match is not None else "")
