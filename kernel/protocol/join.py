"""What a worker must hold to join: handed over by an inherited pipe, or in a private file by hand."""

from collections.abc import Mapping
from typing import Final

import msgspec

from kernel.protocol.enums import WorkerRole
from kernel.protocol.errors import BadConfiguration
from kernel.protocol.ids import WorkerId
from kernel.protocol.sources import PUBLIC_HUB

JOIN_FD_OPTION: Final = "--join-fd"
JOIN_FILE_OPTION: Final = "--join-file"
PRELOAD_OPTION: Final = "--preload"
MAX_JOIN_BYTES: Final = 64 << 10
# A thread of OpenMP that waits for its next piece of work spins by default, and so takes the processor from
# the one that it waits for: two of them beside a busy neighbour are 5 to 15 times slower. Source: the OpenMP
# specification, OMP_WAIT_POLICY. Why glibc keeps no cache of small blocks for each thread is said in
# kernel/process/memory.py; it can only be told before a process begins.
WORKER_ENVIRON: Final[Mapping[str, str]] = {
    "OMP_WAIT_POLICY": "PASSIVE",
    "GLIBC_TUNABLES": "glibc.malloc.tcache_count=0",
}
"""What a worker's process finds in its environment, unless its owner has set it."""


def worker_environ(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment of a worker's process whose owner's is this one."""
    return {**WORKER_ENVIRON, **environ}


class FetchTerms(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker of role `fetch` may do. Secret: it bears the tokens for the sites that it asks."""

    folder: str
    """The models folder of this host."""
    max_bytes: int
    """The largest model."""
    min_free_bytes: int
    """So much of the disk stays free."""
    allow_hosts: tuple[str, ...] = ()
    """Hosts that may be asked though their addresses are private: `name`, `name:port`."""
    tokens: dict[str, str] = {}
    """By host, `name` or `name:port`: what to say there and nowhere else."""
    allow_pickle: bool = False
    hub: str = PUBLIC_HUB

    def __repr__(self) -> str:
        return f"FetchTerms(folder={self.folder!r}, hub={self.hub!r}, <tokens for {sorted(self.tokens)}>)"


class Join(msgspec.Struct, frozen=True, kw_only=True):
    """One worker's way in. Secret: it bears the worker's CURVE key and its launch token."""

    role: WorkerRole
    worker_id: WorkerId
    endpoint: str
    server_public_key: str
    public_key: str
    secret_key: str
    token: str
    file_roots: tuple[str, ...] = ()
    """The folders of this host below which `file://` models may lie."""
    detectors_folder: str | None = None
    """The folder of this host that holds the detectors of control maps, each in a folder of its own name."""
    is_fake: bool = False
    """Run the deterministic fake engine instead of diffusers."""
    manager_pid: int | None = None
    """The local process whose death ends this worker; None on another host."""
    fetch: FetchTerms | None = None
    """For the role `fetch` alone."""

    def __repr__(self) -> str:
        return f"Join(worker_id={self.worker_id!r}, role={self.role!r}, endpoint={self.endpoint!r}, <keys>)"


def write_join(join: Join) -> bytes:
    """The JSON that goes through the pipe or into the file."""
    return msgspec.json.encode(join)


def read_join(data: bytes) -> Join:
    """Read what `write_join` made.

    Raises: BadConfiguration, if it is not that; the message quotes nothing of the input.
    """
    try:
        return msgspec.json.decode(data, type=Join)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise BadConfiguration("not a worker ticket: get one with `spoon engines invite`") from None
