"""Looking into a model of a test's own, as a fetch worker does that may not download."""

import ssl
from collections.abc import Sequence
from pathlib import Path

from engine_worker.fetch.digest import Moved
from engine_worker.fetch.fetcher import Fetcher
from engine_worker.fetch.net.guard import Guard
from engine_worker.fetch.net.web import Patience, Web
from engine_worker.fetch.sources.gather import Means
from engine_worker.fetch.sources.room import Room
from engine_worker.fetch.sources.transfer import Transfer
from kernel.protocol.ingredients import ModelSource
from kernel.protocol.specs import Fingerprint


def inspect(source: ModelSource, roots: Sequence[Path], moved: Moved) -> Fingerprint:
    """What a local model is. Raises: ModelUnreadable."""
    web = Web(Guard(), {}, Patience(), trust=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
    means = Means(Path("/nonexistent"), Transfer(web, Room(0, 0, lambda: 0)), "https://hub.invalid")
    fetcher = Fetcher(roots, means, allows_pickle=False)
    return fetcher.fetch(source, lambda done, total, _: moved(done, total or 0)).fingerprint
