"""The worker's log: one line of `key=value` per event and action, on stderr."""

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final, TextIO

LogValue = str | int | float | None

_PLAIN: Final = re.compile(r"[\w./:@+,-]+")


def _utc_now() -> datetime:
    return datetime.now(UTC)


class KeyValueLog:
    """Writes lines that always bear `action`, `worker_id` and `job_id`. Never given a secret."""

    def __init__(
        self, stream: TextIO, worker_id: str | None = None, clock: Callable[[], datetime] = _utc_now
    ) -> None:
        self._stream = stream
        self._worker_id = worker_id
        self._clock = clock

    def write(self, action: str, job_id: str | None = None, **fields: LogValue) -> None:
        """Write one line, in one piece: threads share the stream."""
        at = self._clock().isoformat(timespec="milliseconds").replace("+00:00", "Z")
        words = {"at": at, "action": action, "worker_id": self._worker_id, "job_id": job_id, **fields}
        line = " ".join(f"{name}={_written(value)}" for name, value in words.items())
        self._stream.write(line + "\n")
        self._stream.flush()


def _written(value: LogValue) -> str:
    if value is None:
        return "-"
    text = str(value)
    return text if _PLAIN.fullmatch(text) else json.dumps(text, ensure_ascii=False)
