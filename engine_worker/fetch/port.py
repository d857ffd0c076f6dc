"""The port behind which a fetcher stands: what fetches one model, what it has found, how far it is."""

from collections.abc import Callable
from typing import Protocol

from kernel.protocol.model_refs import ModelSource
from kernel.protocol.specs import Fingerprint

ProgressCallback = Callable[[int, int | None, int | None], None]
"""Takes the bytes that are there, all that there will be, and bytes per second; None: it is not known."""


class Found(Protocol):
    """What a fetcher has found."""

    @property
    def fingerprint(self) -> Fingerprint: ...
    @property
    def stored(self) -> str | None: ...
    @property
    def revision(self) -> str | None: ...


class Fetching(Protocol):
    """Fetches one model. Raises: SpoonError, if it cannot be used."""

    def fetch(self, source: ModelSource, on_progress: ProgressCallback) -> Found: ...
