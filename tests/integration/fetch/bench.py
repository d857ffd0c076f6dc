"""A fetcher on the bench: a site, names, folders, a disk and a clock of the test's own."""

import hashlib
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine_worker.fetch.fetcher import Fetched, Fetcher
from engine_worker.fetch.net.address_policy import AddressPolicy
from engine_worker.fetch.net.http_client import HttpClient, Patience
from engine_worker.fetch.sources.acquire import Means
from engine_worker.fetch.sources.size_quota import SizeQuota
from engine_worker.fetch.sources.transfer import Transfer
from kernel.protocol.enums import ModelType
from kernel.protocol.ids import ModelId
from kernel.protocol.model_refs import ModelSource
from tests.integration.fetch.internet import OTHER, PUBLIC, Internet, Names
from tests.integration.fetch.site import Site
from tests.unit.worker.model_files import SMALL_SD, write_safetensors

MODEL = ModelId("0190b3c4-0000-7000-8000-000000000001")


@dataclass
class Bench:
    """`example.org` and `other.org` are public hosts, `inside.lan` is private; all lead to the site."""

    site: Site
    folder: Path
    names: Names = field(default_factory=Names)
    tokens: dict[str, str] = field(default_factory=dict)
    allow_hosts: frozenset[str] = frozenset()
    patience: Patience = Patience(connect_s=2.0, stall_s=0.3)
    max_bytes: int = 1 << 30
    min_free_bytes: int = 0
    free_bytes: int = 1 << 40
    free_bytes_later: int | None = None
    """What is free once something has come."""
    allows_pickle: bool = False
    hub: str = "https://huggingface.co"
    civitai: str = "https://civitai.com"
    pauses: list[float] = field(default_factory=list)
    on_progress: list[tuple[int, int | None, int | None]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.names.known |= {
            "example.org": [(PUBLIC,)],
            "other.org": [(OTHER,)],
            "huggingface.co": [(PUBLIC,)],
            "civitai.com": [(PUBLIC,)],
            "inside.lan": [("192.168.1.5",)],
            "127.0.0.1": [("127.0.0.1",)],
        }
        self.internet = Internet(self.site.port)
        (self.folder / "models/files").mkdir(parents=True, exist_ok=True)
        (self.folder / "models/uploads").mkdir(exist_ok=True)
        (self.folder / "roots").mkdir(exist_ok=True)

    @property
    def models(self) -> Path:
        return self.folder / "models"

    @property
    def staging(self) -> Path:
        return self.models / f"incoming/{MODEL}"

    def fetcher(self) -> Fetcher:
        guard = AddressPolicy(self.allow_hosts, self.names.resolve)
        trust = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # loading the certificates takes longer than a test
        web = HttpClient(guard, self.tokens, self.patience, self.internet, trust)
        room = SizeQuota(self.max_bytes, self.min_free_bytes, self._free)
        transfer = Transfer(web, room, sleep=self.pauses.append)
        means = Means(self.models, transfer, self.hub, self.civitai, self.allows_pickle)
        return Fetcher((self.folder / "roots",), means)

    def fetch(self, uri: str, model_type: ModelType = ModelType.CHECKPOINT, **said: Any) -> Fetched:
        """`said`: what else the model was registered with."""
        source = ModelSource(model_id=MODEL, name="a model", uri=uri, model_type=model_type, **said)
        fetcher = self.fetcher()
        try:
            return fetcher.fetch(source, lambda *progress: self.on_progress.append(progress))
        finally:
            fetcher.means.transfer.web.close()

    def _free(self) -> int:
        is_later = bool(self.on_progress) and self.free_bytes_later is not None
        return self.free_bytes_later if is_later and self.free_bytes_later is not None else self.free_bytes

    def left_behind(self) -> list[str]:
        """Every file below the models folder."""
        return sorted(str(path.relative_to(self.models)) for path in self.models.rglob("*") if path.is_file())


def model_bytes(folder: Path, padding: int = 0) -> bytes:
    """A small checkpoint; with padding, one of about so many bytes."""
    shapes = dict(SMALL_SD)
    if padding:
        shapes["padding"] = (padding // 2,)
    return write_safetensors(folder / "sample.safetensors", shapes).read_bytes()


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
