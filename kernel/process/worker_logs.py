"""The log files of workers: whose they are, and what they end with.

The Manager creates one file for each worker and writes a line into it that names the engine, before the
worker gets its ticket; so even the log of one that died while it was importing can be found. A file is named
after its worker, and after a restart of the server it is still that engine's.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from kernel.process.log import dated, line
from kernel.protocol.ids import EngineId, WorkerId

LAUNCHED: Final = "worker_launched"
"""The action of the line that names a worker's engine."""
HEAD_BYTES: Final = 64 << 10
"""Where that line is looked for: a standby may have written before it."""
TAIL_BYTES: Final = 256 << 10
"""The most of one file that is read for its last lines."""
LONGEST_LINE: Final = 4_000
"""Characters; of a longer line only the beginning is shown."""
_PATTERN: Final = "w*.log"
_ESCAPES: Final = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")
_CONTROLS: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


@dataclass(frozen=True, slots=True)
class WorkerLog:
    """The end of a worker's log."""

    worker_id: WorkerId
    changed_at_ms: int
    size_bytes: int
    lines: tuple[str, ...]
    is_cut: bool
    """There are earlier lines."""


def log_file(folder: Path, name: str) -> Path:
    """The file of a worker, or of a standby that waits to become one."""
    return folder / f"{name}.log"


def name_engine(file: Path, worker_id: WorkerId, engine_id: EngineId) -> None:
    """Say in a log whose it is from now on. Raises: OSError."""
    told = dated("info", line(LAUNCHED, worker_id=worker_id, engine_id=engine_id), process="manager")
    with file.open("ab") as output:
        output.write(f"{told}\n".encode())


def logs_of(folder: Path, engine_id: EngineId, lines: int, most: int) -> list[WorkerLog]:
    """The ends of the logs of an engine's last workers on this host, newest first; `lines` of each at most.

    A file that cannot be read is passed over: the oldest ones are removed as new workers start.
    """
    mark = re.compile(rf"action={LAUNCHED} [^\n]*\bengine_id={re.escape(engine_id)}\b".encode())
    found: list[WorkerLog] = []
    for file in _newest_first(folder):
        if len(found) == most:
            break
        try:
            if mark.search(_read(file, 0, HEAD_BYTES)) is not None:
                found.append(_end_of(file, lines))
        except OSError:
            continue
    return found


def _newest_first(folder: Path) -> Iterator[Path]:
    changed: list[tuple[int, Path]] = []
    for file in folder.glob(_PATTERN):
        try:
            changed.append((file.stat().st_mtime_ns, file))
        except OSError:
            continue
    return (file for _, file in sorted(changed, reverse=True))


def _end_of(file: Path, lines: int) -> WorkerLog:
    status = file.stat()
    begin = max(0, status.st_size - TAIL_BYTES)
    texts = _read(file, begin, TAIL_BYTES).decode(errors="replace").split("\n")
    if begin:
        del texts[0]  # its beginning is missing
    if texts and not texts[-1]:
        del texts[-1]
    return WorkerLog(
        worker_id=WorkerId(file.stem),
        changed_at_ms=status.st_mtime_ns // 1_000_000,
        size_bytes=status.st_size,
        lines=tuple(map(_shown, texts[-lines:])),
        is_cut=begin > 0 or len(texts) > lines,
    )


def _shown(text: str) -> str:
    """A line as a terminal would show it in the end, without what steers one."""
    text = _ESCAPES.sub("", text.rstrip("\r").rpartition("\r")[2])
    return _CONTROLS.sub("\N{REPLACEMENT CHARACTER}", text)[:LONGEST_LINE]


def _read(file: Path, begin: int, most: int) -> bytes:
    descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        return os.pread(descriptor, most, begin)
    finally:
        os.close(descriptor)
