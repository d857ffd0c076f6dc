"""What processes have used so far: seconds of the processor, and page faults."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

PROC: Final = Path("/proc")


@dataclass(frozen=True, slots=True)
class Usage:
    """Of all threads of some processes. `faults`: pages that the kernel handed out without reading a disk."""

    cpu_s: float
    faults: int

    def __sub__(self, before: "Usage") -> "Usage":
        return Usage(self.cpu_s - before.cpu_s, self.faults - before.faults)


@dataclass(frozen=True, slots=True)
class Stat:
    """The numbers of /proc/PID/stat that are needed here. Source: proc_pid_stat(5)."""

    pid: int
    parent: int
    faults: int
    cpu_ticks: int

    @classmethod
    def parsed(cls, line: str) -> "Stat":
        """The name of the program, which comes second and in brackets, may hold anything."""
        pid, _, _ = line.partition(" ")
        fields = line.rpartition(")")[2].split()
        return cls(int(pid), int(fields[1]), int(fields[7]), int(fields[11]) + int(fields[12]))


def usage_below(root: int, word: str = "") -> Usage:
    """Of a process and all below it; with `word` of those only that have it in their command."""
    found = [stat for stat in below(root, stats()) if word in command_of(stat.pid)]
    ticks_per_s = os.sysconf("SC_CLK_TCK")
    return Usage(sum(stat.cpu_ticks for stat in found) / ticks_per_s, sum(stat.faults for stat in found))


def own_memory_bytes(root: int) -> int:
    """What a process and all below it hold and no file has. Source: proc_pid_status(5), RssAnon."""
    return sum(own_bytes(_text(PROC / str(pid) / "status")) for pid in pids_below(root))


def own_bytes(status: str) -> int:
    """Of the lines of /proc/PID/status."""
    found = [line.split()[1] for line in status.splitlines() if line.startswith("RssAnon:")]
    return 1024 * int(found[0]) if found else 0


def pids_below(root: int) -> list[int]:
    """A process and all below it, the parents first."""
    return [stat.pid for stat in below(root, stats())]


def below(root: int, everybody: Iterable[Stat]) -> list[Stat]:
    """Those of a family, the parents first."""
    everybody = list(everybody)
    family = [stat for stat in everybody if stat.pid == root]
    for member in family:
        family += [stat for stat in everybody if stat.parent == member.pid]
    return family


def stats() -> list[Stat]:
    """Of every process that is there."""
    texts = (_text(folder / "stat") for folder in PROC.glob("[0-9]*"))
    return [Stat.parsed(text) for text in texts if text]


def command_of(pid: int) -> str:
    """Its words; nothing, when it has ended."""
    return _text(PROC / str(pid) / "cmdline").replace("\0", " ")


def _text(file: Path) -> str:
    try:
        return file.read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return ""  # it has ended meanwhile
