"""Log lines: `action=name key=value ...`, one for each event and each action, secrets never."""

import logging
import sys
from typing import Final

_FORMAT: Final = "%(asctime)s %(levelname)s %(name)s %(message)s"


def start(*, is_verbose: bool) -> None:
    """Log to stderr: lives and deaths, or with `is_verbose` everything."""
    logging.basicConfig(
        stream=sys.stderr, level=logging.DEBUG if is_verbose else logging.INFO, format=_FORMAT
    )


def line(action: str, **values: object) -> str:
    """One line; values with spaces are quoted."""
    parts = [f"action={action}", *(f"{key}={_text(value)}" for key, value in values.items())]
    return " ".join(parts)


def _text(value: object) -> str:
    text = str(value)
    return repr(text) if not text or any(c.isspace() or c in "\"'=" for c in text) else text
