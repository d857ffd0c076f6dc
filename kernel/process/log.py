"""The log of every process: one line of `key=value` (logfmt) on stderr for each event and action.

    at=2026-11-29T22:55:06.508Z level=info process=manager action=standby_started name=standby-1 pid=10620
    at=2026-11-29T22:55:14.031Z level=info worker_id=w1-1 action=accepted job_id=019b lease=3

Secrets, prompts and images are never logged.
"""

import json
import logging
import re
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

LogValue = object
"""Logged as its `str`; None as `-`."""

_PLAIN: Final = re.compile(r"[\w./:@+,-]+")


def start(own: str, level: int = logging.INFO, **context: LogValue) -> None:
    """Log to stderr: loggers below `own` from `level` on, those of libraries from warnings on.

    `context` is added to each line that does not have these keys itself. A second call replaces the first.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Logfmt(**context))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger(own).setLevel(level)


def line(action: str, **values: LogValue) -> str:
    """The message of a line: the action and its values."""
    return _pairs({"action": action, **values})


def dated(level: str, message: str, **context: LogValue) -> str:
    """A message made by `line` as a whole line of the log, for a file that others write to, too."""
    return _headed(datetime.now(UTC), level, message, context)


class Logfmt(logging.Formatter):
    """Puts time, level and context before a message made by `line`, and turns any other message into one."""

    def __init__(self, **context: LogValue) -> None:
        super().__init__()
        self._context = context

    def format(self, record: logging.LogRecord) -> str:
        """One line, whatever the values contain; an exception becomes the value of `traceback`."""
        message = record.getMessage()
        if not message.startswith("action="):
            message = line("log", logger=record.name, text=message)
        at = datetime.fromtimestamp(record.created, UTC)
        context = {name: value for name, value in self._context.items() if f" {name}=" not in message}
        told = _headed(at, record.levelname.lower(), message, context)
        if not record.exc_info:
            return told
        return f"{told} {_pairs({'traceback': self.formatException(record.exc_info)})}"


def _headed(at: datetime, level: str, message: str, context: Mapping[str, LogValue]) -> str:
    when = at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return f"{_pairs({'at': when, 'level': level, **context})} {message}"


def _pairs(values: dict[str, LogValue]) -> str:
    return " ".join(f"{name}={_written(value)}" for name, value in values.items())


def _written(value: LogValue) -> str:
    if value is None:
        return "-"
    text = str(value)
    return text if _PLAIN.fullmatch(text) else json.dumps(text, ensure_ascii=False)
