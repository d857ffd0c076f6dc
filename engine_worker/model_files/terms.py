"""What the command line of a worker says about its host's folders and cache."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from engine_worker.model_files.cache import Cache
from engine_worker.model_files.courier import Courier
from engine_worker.model_files.folder_map import Mapping, parse_mapping
from engine_worker.model_files.local_models import LocalModels
from kernel.protocol.errors import BadConfiguration, unusable_folder

DEFAULT_BYTES: Final = 64 * 10**9


@dataclass(frozen=True, slots=True)
class FileTerms:
    """Where a worker finds models besides the folders of its ticket."""

    cache: Cache | None
    mappings: tuple[Mapping, ...]

    def folders(self, ticket: Sequence[Path]) -> tuple[Path, ...]:
        """The folders of this host that models may be opened in: those of the ticket, and our own."""
        cached = () if self.cache is None else (self.cache.folder,)
        return (*self._shared(ticket), *cached)

    def models(self, ticket: Sequence[Path], courier: Courier) -> LocalModels | None:
        """None, if there is nothing but the ticket's folders: an order's addresses are taken as they are."""
        if self.cache is None and not self.mappings:
            return None
        return LocalModels(self._shared(ticket), self.mappings, self.cache, courier)

    def _shared(self, ticket: Sequence[Path]) -> tuple[Path, ...]:
        """Without the cache, in which a model is only found together with its lock."""
        return (*ticket, *(mapping.here for mapping in self.mappings))


def terms_of(folder: Path | None, quota_bytes: int | None, mappings: Sequence[str]) -> FileTerms:
    """Read the options, and create the cache.

    Raises: BadConfiguration.
    """
    parsed = tuple(map(parse_mapping, mappings))
    if folder is None:
        return FileTerms(None, parsed)
    cache = Cache(folder.absolute(), quota_bytes or DEFAULT_BYTES)
    if cache.quota_bytes < 0:
        raise BadConfiguration("the cache must have room for something")
    try:
        cache.open()
    except OSError as error:
        raise unusable_folder(folder, error) from error
    return FileTerms(cache, parsed)
