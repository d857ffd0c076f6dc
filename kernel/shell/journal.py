"""Log lines: `action=name key=value ...`, one for each event and each action, secrets never."""

import logging
import sys
from typing import Final

FORMAT: Final = "%(asctime)s %(levelname)s %(name)s %(message)s"


def start(*, is_verbose: bool) -> None:
    """Log to stderr: lives and deaths, or with `is_verbose` everything."""
    logging.basicConfig(stream=sys.stderr, level=logging.DEBUG if is_verbose else logging.INFO, format=FORMAT)


def line(action: str, **values: object) -> str:
    """One line; values with spaces are quoted."""
    parts = [f"action={action}", *(f"{key}={_text(value)}" for key, value in values.items())]
    return " ".join(parts)


_IDS: Final = ("worker_id", "job_id", "engine_id", "model_id", "image_id", "lease", "code")
_INSIDE: Final = ("report", "ask", "message", "row", "reply")


def debug(log: logging.Logger, thing: object) -> None:
    """One line for an event or an action, if they are wanted: its name and its ids, nothing else of it.

    Tokens, keys and prompts travel in events and actions too, and have no place in a log.
    """
    if log.isEnabledFor(logging.DEBUG):
        parts = [thing, *(part for name in _INSIDE if (part := getattr(thing, name, None)) is not None)]
        names = ".".join(type(part).__name__ for part in parts)
        ids = {name: getattr(part, name) for part in parts for name in _IDS if hasattr(part, name)}
        log.debug(line(names, **ids))


def _text(value: object) -> str:
    text = str(value)
    return repr(text) if not text or any(c.isspace() or c in "\"'=" for c in text) else text
