"""Every setting of automatic-spoon with its type, default and bounds; conf/spoon.toml says the same in prose.

The name of a key in the file is the field's, less its unit: `images.expire_after_s` is written
`images.expire_after = "7d"`. The bounds hold for what is loaded (conf/load.py), not for what code builds.
"""

from pathlib import Path
from typing import Annotated, Final

from msgspec import Meta, Struct, field

from kernel.protocol.vocabulary import Compilation

_TCP_ADDRESS: Final = r"^tcp://.+:0*(\d{1,4}|[1-5]\d{4}|6[0-4]\d{3}|65[0-4]\d{2}|655[0-2]\d|6553[0-5])$"
"""With a port up to 65535: libzmq would take what is left of a larger one in 16 bits."""
Some = Annotated[int, Meta(ge=1)]
SomeTime = Annotated[float, Meta(gt=0, le=3_155_760_000)]
AnyTime = Annotated[float, Meta(ge=0, le=3_155_760_000)]
"""At most a hundred years: what a clock in milliseconds is sure to hold."""


class Database(Struct, frozen=True, kw_only=True):
    folder: Path = Path("data/database")


class Images(Struct, frozen=True, kw_only=True):
    folder: Path = Path("data/images")
    group_readable: bool = False
    """Whether the group of the folder may read the pictures; else they are the owner's alone."""
    expire_after_s: SomeTime | None = 604_800.0
    delete_after_downloads: Some | None = None
    disk_quota_bytes: Some | None = None
    min_free_bytes: Annotated[int, Meta(ge=0)] = 1 << 30
    """Below this much free disk new jobs are refused."""


class Blobs(Struct, frozen=True, kw_only=True):
    folder: Path = Path("data/blobs")
    expire_after_s: SomeTime = 86_400.0


class Server(Struct, frozen=True, kw_only=True):
    host: Annotated[str, Meta(min_length=1)] = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65_535)] = 7870
    """0: any free one; the API writes its address to the file `api.url` in the bus folder."""
    allowed_hosts: tuple[str, ...] = ()
    """Names to answer under, beside localhost, `host` and plain IP addresses."""
    threads: Some = 64
    """Requests that ask the Manager at once; those that read have a quarter as many threads beside them."""
    max_streams: Annotated[int, Meta(ge=0)] = 8
    """Open event streams at once: each has a thread of its own."""
    max_connections: Annotated[int, Meta(ge=16)] = 4096
    """At once; fewer, where the system's limit of open files leaves less."""
    max_connections_per_address: Some = 3072
    """Of these. Behind a proxy, and on this machine, everybody has the same address."""
    request_timeout_s: Annotated[float, Meta(ge=1, le=3600)] = 20.0
    """How long the head of a request may take to come."""
    max_body_bytes: Annotated[int, Meta(ge=1024, le=256 << 20)] = 32 << 20
    max_pixels: Annotated[int, Meta(ge=64)] = 2048 * 2048
    max_steps: Some = 200
    max_count: Some = 16
    max_queue: Some = 200_000


class Models(Struct, frozen=True, kw_only=True):
    folder: Path = Path("data/models")
    file_roots: tuple[Path, ...] = ()
    allow_pickle: bool = False
    max_downloads: Some = 2
    max_size_bytes: Some = 64 * 10**9
    """The largest model that is downloaded or uploaded."""
    allow_hosts: tuple[str, ...] = ()
    """Hosts that models may come from though their addresses are private."""
    tokens: tuple[str, ...] = ()
    """`host=env:NAME` or `host=file:PATH`: conf/tokens.py reads them."""
    hub: Annotated[str, Meta(pattern=r"^https?://[^/?#@\s]+$")] | None = None
    """Another hub than huggingface.co; None: HF_ENDPOINT, or that."""
    detectors_folder: Path | None = None
    """Where the detectors of control maps lie; None: the folder `detectors` below models.folder."""


class Engines(Struct, frozen=True, kw_only=True):
    keep_alive_s: AnyTime = 600.0
    max_running: Some = 2
    turn_s: SomeTime = 60.0
    """How long an engine that works may keep others waiting for its room."""
    longest_pause_s: SomeTime = 300.0
    """How long an engine in error rests at most before it is tried again, while jobs wait for it."""
    keep_free_bytes: Annotated[int, Meta(ge=0)] = 256 << 20
    """Memory of each device that engines leave to other programs."""
    load_timeout_s: SomeTime = 600.0
    """How long an engine may load before its worker is taken for hung."""
    step_timeout_s: SomeTime = 60.0
    """How long one denoising step may take at least; more, where the engine's own steps are slower."""
    compile: Compilation = Compilation.OFF
    standby: Annotated[int, Meta(ge=0, le=8)] = 1
    """Processes that have imported what an engine needs, and wait for the next one."""
    standby_min_free_bytes: Annotated[int, Meta(ge=0)] = 4 << 30
    """With less memory available there are none."""


class Bus(Struct, frozen=True, kw_only=True):
    folder: Path | None = None
    """Where the ipc sockets and keys lie; None: the folder `bus` below database.folder."""
    workers_endpoint: Annotated[str, Meta(pattern=_TCP_ADDRESS)] | None = field(default=None, name="endpoint")
    """A tcp:// address for workers of other hosts, beside ipc; None: local workers only."""


class Shutdown(Struct, frozen=True, kw_only=True):
    grace_s: AnyTime = 600.0
    """How long a stop waits for the running jobs before they are put back into the queue."""


class Settings(Struct, frozen=True, kw_only=True):
    """The whole configuration of one installation."""

    database: Database = Database()
    images: Images = Images()
    blobs: Blobs = Blobs()
    server: Server = Server()
    models: Models = Models()
    engines: Engines = Engines()
    bus: Bus = Bus()
    shutdown: Shutdown = Shutdown()

    @property
    def bus_folder(self) -> Path:
        """The private folder of sockets and keys."""
        return self.bus.folder or self.database.folder / "bus"

    @property
    def detectors_folder(self) -> Path:
        """Where the detectors of control maps lie, each in a folder of its own name."""
        return self.models.detectors_folder or self.models.folder / "detectors"

    @property
    def database_file(self) -> Path:
        return self.database.folder / "spoon.sqlite3"
