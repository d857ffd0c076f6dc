"""The core's ports: where ids come from, and the limits to keep."""

from dataclasses import dataclass
from typing import Protocol

from kernel.protocol.enums import Compilation


class IdSource(Protocol):
    """Makes what has never been before. The shell's one is random, a test's one counts."""

    def id(self) -> str:
        """A new opaque id; later ones sort behind earlier ones (UUIDv7, RFC 9562)."""

    def secret(self) -> str:
        """A token that nobody can guess."""

    def seed(self) -> int:
        """A seed for a job that brings none, 0 .. 2**32 - 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The settings that the core decides by. Units: seconds, bytes."""

    max_queue: int = 200_000
    max_running: int = 2
    max_pixels: int = 2048 * 2048
    max_steps: int = 200
    max_count: int = 16
    keep_alive_s: float = 600.0
    turn_s: float = 60.0
    """How long an engine that works may keep others waiting for its room."""
    longest_pause_s: float = 300.0
    """Between two tries of an engine in error, at most."""
    keep_free_bytes: int = 0
    """Memory of each device that is left to other programs."""
    grace_s: float = 600.0
    load_timeout_s: float = 600.0
    """How long an engine may load, and how long its very first step may take."""
    step_timeout_s: float = 60.0
    compilation: Compilation = Compilation.OFF
    """What engines on a GPU prepare while they load."""
    expire_after_s: float | None = 604_800.0
    delete_after_downloads: int | None = None
    blobs_expire_after_s: float = 86_400.0
    """How long the files that came with a job, and its control maps, stay after its end."""
    max_input_bytes: int = 32 << 20
    """The longest file that may come with a job."""
    min_free_bytes: int = 1 << 30
    max_downloads: int = 2
    with_api: bool = False
    """Run the API as a child process, and start it again when it dies."""
