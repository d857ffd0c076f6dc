"""The core's ports: the source of ids, the storage folders, and the configured limits."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from kernel.protocol.enums import Compilation
from kernel.protocol.webhooks import Signer


class Folder(StrEnum):
    """The storage folders, by the names under which the trash knows them."""

    IMAGES = "images"
    BLOBS = "blobs"
    MODELS = "models"


class IdSource(Protocol):
    """Makes unique ids, secrets and seeds. The shell's is random, a test's counts."""

    def id(self) -> str:
        """A new opaque id that sorts after earlier ones (UUIDv7, RFC 9562)."""

    def secret(self) -> str:
        """A token that cannot be guessed."""

    def signing_secret(self, signer: Signer) -> str:
        """The secret of a receiver, `whsec_...`: always the same for the same signer."""

    def seed(self) -> int:
        """A seed for a job that has none, 0 .. 2**32 - 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolLimits:
    """A pool whose workers a launcher starts."""

    max_workers: int
    launch_timeout_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The settings that the core decides by. Units: seconds, bytes."""

    max_queue: int = 200_000
    max_running: int = 2
    default_engine: str | None = None
    """Of jobs that name none: an engine or a checkpoint, by id or name."""
    lora_tags: bool = True
    """Whether tags in prompts are LoRAs, if the job does not say."""
    max_pixels: int = 2048 * 2048
    max_steps: int = 200
    max_count: int = 16
    keep_alive_s: float = 600.0
    turn_s: float = 60.0
    """The time slice: how long a working engine may keep others waiting for its memory."""
    longest_pause_s: float = 300.0
    """The longest pause between two tries of an engine in error."""
    keep_free_bytes: int = 0
    """Memory of each device that is left to other programs."""
    grace_s: float = 600.0
    load_timeout_s: float = 600.0
    """How long an engine may load, and how long its very first step may take."""
    step_timeout_s: float = 60.0
    compilation: Compilation = Compilation.OFF
    """What engines on a GPU compile while they load."""
    expire_after_s: float | None = 604_800.0
    delete_after_downloads: int | None = None
    blobs_expire_after_s: float = 86_400.0
    """How long a job's input files and control maps stay after its end."""
    max_input_bytes: int = 32 << 20
    """The largest input file of a job."""
    min_free_bytes: int = 1 << 30
    max_downloads: int = 2
    push_rate_bytes: int | None = 64_000_000
    """Bytes of models that workers of other hosts get in a second, all together; None: they get none."""
    come_back_s: float = 10.0
    """After a start: how long workers of pools may take to come back before others get their work."""
    server_key: str = "0" * 64
    """The public key of the workers' socket, in hexadecimal digits: part of every enrollment token."""
    pools: Mapping[str, PoolLimits] = field(default_factory=dict)
    """The pools that have a launcher."""
    model_folders: tuple[str, ...] = ()
    """Folders of the owner that are looked through for models."""
    scan_every_s: float | None = None
    """None: only when a person asks."""
    callback_base_url: str | None = None
    """Where this server is reached by receivers of callbacks; None: their images' URLs are paths."""
    with_api: bool = False
    """Run the API as a child process, and restart it when it dies."""
