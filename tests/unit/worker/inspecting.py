"""Looking into a model of a test's own, as a fetch worker does that may not download."""

import ssl
from collections.abc import Sequence
from pathlib import Path

import pytest

from engine_worker.fetch.digest import Moved
from engine_worker.fetch.fetcher import Fetcher
from engine_worker.fetch.net.address_policy import AddressPolicy
from engine_worker.fetch.net.http_client import HttpClient, Patience
from engine_worker.fetch.sources.acquire import Means
from engine_worker.fetch.sources.size_quota import SizeQuota
from engine_worker.fetch.sources.transfer import Transfer
from kernel.protocol.enums import ModelType
from kernel.protocol.errors import ModelUnreadable
from kernel.protocol.ids import ModelId
from kernel.protocol.model_refs import ModelSource
from kernel.protocol.specs import Fingerprint


def inspect(
    source: ModelSource, roots: Sequence[Path], moved: Moved, folder: Path = Path("/nonexistent")
) -> Fingerprint:
    """What a local model is, or one that is stored in that models folder. Raises: ModelUnreadable."""
    web = HttpClient(AddressPolicy(), {}, Patience(), trust=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
    transfer = Transfer(web, SizeQuota(0, 0, lambda: 0))
    means = Means(folder, transfer, "https://hub.invalid", "https://site.invalid", False)
    fetcher = Fetcher(roots, means)
    return fetcher.fetch(source, lambda done, total, _: moved(done, total or 0)).fingerprint


def source_of(path: Path, model_type: ModelType = ModelType.CHECKPOINT) -> ModelSource:
    return ModelSource(model_id=ModelId("m"), name="a model", uri=f"file://{path}", model_type=model_type)


def look_at(path: Path, model_type: ModelType = ModelType.CHECKPOINT) -> Fingerprint:
    return inspect(source_of(path, model_type), [path.parent], lambda done, total: None)


def refused(source: ModelSource, root: Path) -> str:
    with pytest.raises(ModelUnreadable) as caught:
        inspect(source, [root], lambda done, total: None)
    return caught.value.detail
