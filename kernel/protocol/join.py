"""The data a worker needs to join, passed through an inherited pipe: its ticket."""

from collections.abc import Mapping
from typing import Final

import msgspec

from kernel.protocol.enums import WorkerRole
from kernel.protocol.errors import BadConfiguration
from kernel.protocol.ids import WorkerId
from kernel.protocol.sources import PUBLIC_CIVITAI, PUBLIC_HUB
from kernel.protocol.type_info import analyzed

JOIN_FD_OPTION: Final = "--join-fd"
PRELOAD_OPTION: Final = "--preload"
CACHE_FOLDER_OPTION: Final = "--cache-folder"
CACHE_BYTES_OPTION: Final = "--cache-bytes"
MAP_OPTION: Final = "--map"
MAX_JOIN_BYTES: Final = 64 << 10
# By default an OpenMP thread spins while it waits for work, and so takes the CPU from the thread that it
# waits for: beside a busy process, two of them are 5 to 15 times slower. Source: the OpenMP specification,
# OMP_WAIT_POLICY. kernel/process/memory.py says why glibc's per-thread caches of small blocks are off; that
# must be set before the process starts.
WORKER_ENVIRON: Final[Mapping[str, str]] = {
    "OMP_WAIT_POLICY": "PASSIVE",
    "GLIBC_TUNABLES": "glibc.malloc.tcache_count=0",
}
"""Variables added to a worker's environment, unless its owner has set them."""


def worker_environ(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment of a worker process, made from that of its owner."""
    return {**WORKER_ENVIRON, **environ}


class FetchTerms(msgspec.Struct, frozen=True, kw_only=True):
    """The limits of a worker of role `fetch`. Secret: it contains tokens for download sites."""

    folder: str
    """The models folder of this host."""
    max_bytes: int
    """The largest model."""
    min_free_bytes: int
    """Disk space that must stay free."""
    allow_hosts: tuple[str, ...] = ()
    """Hosts with private addresses that may be contacted: `name`, `name:port`."""
    callback_hosts: tuple[str, ...] = ()
    """Hosts with private addresses that callbacks may go to, in the same form."""
    tokens: dict[str, str] = {}
    """Tokens by host, `name` or `name:port`, each sent to that host only."""
    allow_pickle: bool = False
    hub: str = PUBLIC_HUB
    civitai: str = PUBLIC_CIVITAI

    def __repr__(self) -> str:
        return f"FetchTerms(folder={self.folder!r}, hub={self.hub!r}, <tokens for {sorted(self.tokens)}>)"


class Join(msgspec.Struct, frozen=True, kw_only=True):
    """The data with which one worker joins. Secret: it contains the worker's CURVE key and its token."""

    role: WorkerRole
    worker_id: WorkerId
    """Only for its log, if it enrolls: the Manager names it then."""
    endpoint: str
    server_public_key: str
    public_key: str
    secret_key: str
    token: str
    """Of its launch, or the enrollment token of a pool."""
    enrolls: bool = False
    """It joins a pool with its token, and comes back whenever it has lost the Manager."""
    file_roots: tuple[str, ...] = ()
    """Folders of this host that may contain `file://` models."""
    detectors_folder: str | None = None
    """The folder of this host with the control map detectors, each in a folder with its name."""
    is_fake: bool = False
    """Run the deterministic fake engine instead of diffusers."""
    manager_pid: int | None = None
    """The local process whose death ends this worker: the Manager, or the supervisor of a pool's worker."""
    launch: str | None = None
    """Which of a launcher's workers it is."""
    fetch: FetchTerms | None = None
    """Only for the role `fetch`."""

    def __repr__(self) -> str:
        return f"Join(worker_id={self.worker_id!r}, role={self.role!r}, endpoint={self.endpoint!r}, <keys>)"


def write_join(join: Join) -> bytes:
    """Encode as JSON, for the pipe."""
    return msgspec.json.encode(join)


def read_join(data: bytes) -> Join:
    """Decode the output of `write_join`.

    Raises: BadConfiguration, if it is malformed; the message quotes none of the input.
    """
    try:
        return msgspec.json.decode(data, type=analyzed(Join))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise BadConfiguration("not a worker ticket") from None
