"""Every setting of automatic-spoon with its type and default; conf/spoon.toml says the same in prose."""

from pathlib import Path

import msgspec


class Database(msgspec.Struct, frozen=True, kw_only=True):
    folder: Path = Path("data/database")


class Images(msgspec.Struct, frozen=True, kw_only=True):
    folder: Path = Path("data/images")
    expire_after_s: float | None = 604_800.0
    delete_after_downloads: int | None = None
    disk_quota_bytes: int | None = None
    min_free_bytes: int = 1 << 30
    """Below this much free disk new jobs are refused."""


class Blobs(msgspec.Struct, frozen=True, kw_only=True):
    folder: Path = Path("data/blobs")
    expire_after_s: float = 86_400.0


class Server(msgspec.Struct, frozen=True, kw_only=True):
    host: str = "127.0.0.1"
    port: int = 7870
    allowed_hosts: tuple[str, ...] = ()
    """Host names to answer under, beside localhost, `host` and plain IP addresses."""
    threads: int = 32
    max_streams: int = 8
    """Open event streams at once: each holds one of the threads."""
    max_body_bytes: int = 32 << 20
    max_pixels: int = 2048 * 2048
    max_steps: int = 200
    max_count: int = 16
    max_queue: int = 200_000


class Models(msgspec.Struct, frozen=True, kw_only=True):
    folder: Path = Path("data/models")
    file_roots: tuple[Path, ...] = ()
    allow_pickle: bool = False


class Engines(msgspec.Struct, frozen=True, kw_only=True):
    keep_alive_s: float = 600.0
    max_running: int = 2


class Bus(msgspec.Struct, frozen=True, kw_only=True):
    folder: Path | None = None
    """Where the ipc sockets and keys lie; None: the folder `bus` below database.folder."""
    workers_endpoint: str | None = None
    """A tcp:// address for workers of other hosts, beside ipc; None: local workers only."""


class ShutdownSection(msgspec.Struct, frozen=True, kw_only=True):
    grace_s: float = 600.0


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The whole configuration of one installation."""

    database: Database = Database()
    images: Images = Images()
    blobs: Blobs = Blobs()
    server: Server = Server()
    models: Models = Models()
    engines: Engines = Engines()
    bus: Bus = Bus()
    shutdown: ShutdownSection = ShutdownSection()

    @property
    def bus_folder(self) -> Path:
        """The private folder of sockets and keys."""
        return self.bus.folder or self.database.folder / "bus"

    @property
    def database_file(self) -> Path:
        return self.database.folder / "spoon.sqlite3"
