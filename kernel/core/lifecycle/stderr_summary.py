"""Summarizes the end of a worker's stderr as one line for a person."""

import re
from typing import Final

import msgspec

_LINES: Final = 3
"""An error, and then `exit` and `ended_by_force`, which only say that the process ends."""
_LOG_LINE: Final = re.compile(r"at=\S+ level=")
_SAID: Final = re.compile(r'\b(error|text|detail|reason)=("(?:[^"\\]|\\.)*"|[^\s"]+)')
_CUT_LINE: Final = re.compile(r'((?:[^"\\]|\\.)*)"( \w+=\S+)*')
"""The end of a log line whose beginning is cut off."""


def summary(last_words: str) -> str | None:
    """The last error, or else the last line that says anything; None, if only the machine has spoken."""
    lines = last_words.strip().splitlines()
    cut = lines[0] if lines else None
    said = [found for line in lines[-_LINES:] if (found := _said(line, is_cut=line is cut)) is not None]
    errors = [text for is_error, text in said if is_error]
    texts = errors or [text for _, text in said]
    return texts[-1] if texts else None


def _said(line: str, *, is_cut: bool) -> tuple[bool, str] | None:
    """What a line says, and whether it is the log's word for an error."""
    if _LOG_LINE.match(line) is None:
        if is_cut and "\\n" in line and (cut := _CUT_LINE.fullmatch(line)) is not None:
            return True, _last_line(cut[1].replace("\\n", "\n"))
        return (False, line) if line.strip() else None
    found = _SAID.search(line)
    if found is None:
        return None
    value = found[2]
    text = _unquoted(value)
    return found[1] == "error", _last_line(text)


def _unquoted(value: str) -> str:
    """A worker's process may write what it likes, also what only looks like a quoted text."""
    if not value.startswith('"'):
        return value
    try:
        return msgspec.json.decode(value, type=str)
    except msgspec.DecodeError:
        return value.strip('"')


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1] if lines else text
