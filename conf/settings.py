"""Every setting of automatic-spoon with its type, default and bounds; conf/spoon.toml describes them.

The folders are those beside a configuration file; conf/installation.py has those of the platform.

The name of a key in the file is the field's, less its unit: `images.expire_after_s` is written
`images.expire_after = "7d"`. The bounds hold for what is loaded (conf/load.py), not for what code builds.
"""

from pathlib import Path
from typing import Annotated, Final

from msgspec import Meta, Struct, field

from conf.pools import TCP_ADDRESS, Pool
from kernel.protocol.enums import Compilation

Network = Annotated[str, Meta(extra={"kind": "network"})]
"""An IP address or a network of them: conf/values.py reads it."""
DATABASE_FILE: Final = "spoon.sqlite3"
Some = Annotated[int, Meta(ge=1)]
SomeTime = Annotated[float, Meta(gt=0, le=3_155_760_000)]
AnyTime = Annotated[float, Meta(ge=0, le=3_155_760_000)]
"""At most a hundred years, which fits a clock in milliseconds."""


class Database(Struct, frozen=True, kw_only=True):
    folder: Path = Path("data/database")


class Images(Struct, frozen=True, kw_only=True):
    folder: Path = Path("data/images")
    group_readable: bool = False
    """Whether the group of the folder can read the images; otherwise only the owner can."""
    expire_after_s: SomeTime | None = 604_800.0
    delete_after_downloads: Some | None = None
    disk_quota_bytes: Some | None = None
    min_free_bytes: Annotated[int, Meta(ge=0)] = 1 << 30
    """New jobs are refused when less disk space is free."""


class Blobs(Struct, frozen=True, kw_only=True):
    folder: Path = Path("data/blobs")
    expire_after_s: SomeTime = 86_400.0


class Thumbnails(Struct, frozen=True, kw_only=True):
    folder: Path = Path("data/thumbnails")
    """A cache: what is missing there is made again."""
    disk_quota_bytes: Some = 256 << 20


class Server(Struct, frozen=True, kw_only=True):
    host: Annotated[str, Meta(min_length=1)] = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65_535)] = 7870
    """0: any free port; the API writes its URL to the file `api.url` in the bus folder."""
    open_without_keys: bool = False
    """Whether everybody who reaches the port may use the server while it has no API keys, also from other
    machines."""
    allowed_hosts: tuple[str, ...] = ()
    """Accepted host names, besides localhost, `host` and plain IP addresses."""
    trusted_proxies: tuple[Network, ...] = ()
    """Addresses and networks of proxies that are believed who their client is."""
    threads: Some = 64
    """Threads for requests that need the Manager; read-only ones have a quarter as many in addition."""
    max_streams: Annotated[int, Meta(ge=0)] = 512
    """Maximum number of open event streams, three quarters of them from one address; at most a quarter of
    `max_connections`."""
    max_waits: Annotated[int, Meta(ge=0)] = 512
    """Maximum number of requests that wait for something (`?wait=`), at most half of `max_connections`."""
    max_connections: Annotated[int, Meta(ge=16)] = 4096
    """Maximum number of open connections; a low limit of open files reduces it."""
    max_connections_per_address: Some = 3072
    """Per address. Behind a proxy, and on this machine, all clients have the same address."""
    request_timeout_s: Annotated[float, Meta(ge=1, le=3600)] = 20.0
    """Time limit for the header of a request."""
    max_body_bytes: Annotated[int, Meta(ge=1024, le=256 << 20)] = 32 << 20
    max_pixels: Annotated[int, Meta(ge=64)] = 2048 * 2048
    max_steps: Some = 200
    max_count: Some = 16
    max_queue: Some = 200_000


class Models(Struct, frozen=True, kw_only=True):
    folder: Path = Path("data/models")
    file_roots: tuple[Path, ...] = ()
    folders: tuple[Path, ...] = ()
    """Folders of the owner's own models, which are found by scans and used in place."""
    scan: bool = True
    """Whether the folders are scanned at the start and every so often, or only when a person asks."""
    scan_every_s: Annotated[float, Meta(ge=10, le=3_155_760_000)] = 300.0
    allow_pickle: bool = False
    max_downloads: Some = 2
    push_rate_bytes: Some | None = 64 * 10**6
    """Bytes of models that workers of other hosts get in a second, all together; None: they get none."""
    max_size_bytes: Some = 64 * 10**9
    """Maximum size of a downloaded or uploaded model."""
    allow_hosts: tuple[str, ...] = ()
    """Hosts with private addresses from which models may be downloaded."""
    tokens: tuple[str, ...] = ()
    """`host=env:NAME` or `host=file:PATH`: conf/tokens.py reads them."""
    hub: Annotated[str, Meta(pattern=r"^https?://[^/?#@\s]+$")] | None = None
    """A mirror of huggingface.co; None: HF_ENDPOINT, or else huggingface.co."""
    civitai: Annotated[str, Meta(pattern=r"^https?://[^/?#@\s]+$")] | None = None
    """Where civitai.com's API is asked instead; None: civitai.com."""
    detectors_folder: Path | None = None
    """Folder of the control-map detectors; None: the folder `detectors` in models.folder."""

    @property
    def roots(self) -> tuple[Path, ...]:
        """The folders that local models may be in."""
        return (*self.file_roots, *self.folders)


class Callbacks(Struct, frozen=True, kw_only=True):
    allow_hosts: tuple[str, ...] = ()
    """Hosts with private addresses that callbacks may go to."""
    base_url: Annotated[str, Meta(pattern=r"^https?://[^?#@\s]+$")] | None = None
    """Where receivers reach this server; None: the URLs of images in callbacks are paths."""


class Prompts(Struct, frozen=True, kw_only=True):
    lora_tags: bool = True
    """Whether `<lora:name:0.8>` in a prompt is a LoRA of the job, if the job does not say."""


class Wildcards(Struct, frozen=True, kw_only=True):
    folders: tuple[Path, ...] = ()
    """Folders of lists, files NAME.txt, of which `__NAME__` in a prompt is a line."""


class Engines(Struct, frozen=True, kw_only=True):
    default: Annotated[str, Meta(min_length=1, max_length=200)] | None = None
    """The engine of jobs that name none: an engine or a checkpoint, by id or name."""
    keep_alive_s: AnyTime = 600.0
    max_running: Some = 2
    turn_s: SomeTime = 60.0
    """Time slice of a busy engine while another one waits for its memory."""
    longest_pause_s: SomeTime = 300.0
    """Maximum pause between retries of an engine in error, while jobs wait for it."""
    come_back_s: AnyTime = 10.0
    """After a start: how long workers of pools may take to come back before others get their jobs."""
    keep_free_bytes: Annotated[int, Meta(ge=0)] = 256 << 20
    """Memory of each device to leave free for other programs."""
    load_timeout_s: SomeTime = 600.0
    """Time limit for loading an engine; its worker is then considered hung."""
    step_timeout_s: SomeTime = 60.0
    """Minimum time limit for one denoising step; longer if the engine's steps are slow."""
    compile: Compilation = Compilation.OFF
    threads: Annotated[int, Meta(ge=0, le=1024)] = 0
    """Number of CPU threads of each worker; 0: as many as torch chooses, which is one for each core."""
    standby: Annotated[int, Meta(ge=0, le=8)] = 1
    """Number of processes with all imports done that wait for the next engine."""
    standby_min_free_bytes: Annotated[int, Meta(ge=0)] = 4 << 30
    """With less available memory, there are no standby workers."""


class Bus(Struct, frozen=True, kw_only=True):
    folder: Path | None = None
    """Folder of the ipc sockets and keys; None: the folder `bus` in database.folder."""
    workers_endpoint: Annotated[str, Meta(pattern=TCP_ADDRESS)] | None = field(default=None, name="endpoint")
    """A tcp:// address for workers on other hosts, in addition to ipc; None: local workers only."""


class Logs(Struct, frozen=True, kw_only=True):
    folder: Path | None = None
    """Folder of the logs of workers; None: the folder `logs` in database.folder."""


class Shutdown(Struct, frozen=True, kw_only=True):
    grace_s: AnyTime = 600.0
    """How long a stop waits for running jobs before it puts them back in the queue."""


class Settings(Struct, frozen=True, kw_only=True):
    """The whole configuration of one installation."""

    database: Database = Database()
    images: Images = Images()
    blobs: Blobs = Blobs()
    thumbnails: Thumbnails = Thumbnails()
    server: Server = Server()
    models: Models = Models()
    callbacks: Callbacks = Callbacks()
    prompts: Prompts = Prompts()
    wildcards: Wildcards = Wildcards()
    engines: Engines = Engines()
    bus: Bus = Bus()
    logs: Logs = Logs()
    shutdown: Shutdown = Shutdown()
    pools: dict[str, Pool] = {}
    """By name. A file may have any number of sections `[pools.NAME]`."""

    @property
    def bus_folder(self) -> Path:
        """The private folder of sockets and keys."""
        return self.bus.folder or self.database.folder / "bus"

    @property
    def logs_folder(self) -> Path:
        """The folder of the logs of workers."""
        return self.logs.folder or self.database.folder / "logs"

    @property
    def detectors_folder(self) -> Path:
        """The folder of the control-map detectors, each in a subfolder of its name."""
        return self.models.detectors_folder or self.models.folder / "detectors"

    @property
    def database_file(self) -> Path:
        return self.database.folder / DATABASE_FILE
