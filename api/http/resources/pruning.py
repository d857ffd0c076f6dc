"""/v1/images/prune"""

from typing import Final

import falcon
import msgspec

from api.http.contract.constraints import Id, check_line
from api.http.contract.request_parsing import BodyReader, refuse_key
from api.http.contract.responses import send
from api.http.contract.validation_errors import ValidationErrors
from api.port import BusPort
from kernel.protocol.client import ImagesPruned, PruneImages
from kernel.protocol.ids import Count, EngineId
from kernel.protocol.values import DurationS

AT_ONCE: Final = 500
"""Commands per request; each deletes a few hundred images."""
MOST_NAMED: Final = 200
"""This many missing files are named, the rest is counted."""


class PruneInput(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The images to delete: expired ones, ones older than an age, the oldest ones beyond `keep_bytes`, and
    ones whose files are missing."""

    engine_id: Id | None = None
    older_than_s: DurationS | None = None
    keep_bytes: Count | None = None
    missing: bool = False
    dry_run: bool = False


class Pruned(msgspec.Struct, frozen=True, kw_only=True):
    """The images that were deleted, or would be without `dry_run`. `missing` of them have no file;
    `missing_files` names the first of these files."""

    images: int
    size_bytes: int
    missing: int
    missing_files: tuple[str, ...]
    dry_run: bool


class Pruning:
    """Deletes images by age and size."""

    def __init__(self, bus: BusPort) -> None:
        self._bus = bus
        self._body = BodyReader(PruneInput, frozenset(), check_prune)

    def prune(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Send the command repeatedly: the Manager deletes a limited number each time, so that others are
        served in between."""
        refuse_key(req)
        wanted = self._body.read(req)
        ask = PruneImages(
            engine_id=None if wanted.engine_id is None else EngineId(wanted.engine_id),
            older_than_s=wanted.older_than_s,
            keep_bytes=wanted.keep_bytes,
            missing=wanted.missing,
            dry_run=wanted.dry_run,
        )
        images = size_bytes = missing = 0
        files: tuple[str, ...] = ()
        for _ in range(AT_ONCE):
            found = self._bus.ask(ask, ImagesPruned)
            images, size_bytes = images + found.images, size_bytes + found.size_bytes
            missing, files = missing + found.missing, (files + found.missing_files)[:MOST_NAMED]
            if not found.has_more:
                break
        pruned = Pruned(
            images=images, size_bytes=size_bytes, missing=missing, missing_files=files, dry_run=wanted.dry_run
        )
        send(resp, 200, pruned)


def check_prune(found: PruneInput, faults: ValidationErrors) -> None:
    """Check a request to prune."""
    check_line("engine_id", found.engine_id, faults)
