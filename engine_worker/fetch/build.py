"""Wires a fetch worker's inside from its ticket."""

from pathlib import Path

from engine_worker.fetch.fetcher import Fetcher
from engine_worker.fetch.net.address_policy import AddressPolicy
from engine_worker.fetch.net.http_client import HttpClient, Patience
from engine_worker.fetch.sources.acquire import Means
from engine_worker.fetch.sources.size_quota import SizeQuota, free_below
from engine_worker.fetch.sources.transfer import Transfer
from kernel.protocol.join import FetchTerms, Join
from kernel.protocol.sources import PUBLIC_HUB


def build_fetcher(join: Join) -> Fetcher:
    """A fetcher that keeps to the terms of the ticket. Without terms it may look at local files, no more."""
    roots = tuple(Path(root) for root in join.file_roots)
    terms = join.fetch or FetchTerms(folder="/nonexistent", max_bytes=0, min_free_bytes=0)
    folder = Path(terms.folder)
    guard = AddressPolicy(frozenset(host.lower() for host in terms.allow_hosts) | _own_hub(terms.hub))
    room = SizeQuota(terms.max_bytes, terms.min_free_bytes, free_below(folder))
    transfer = Transfer(HttpClient(guard, terms.tokens, Patience()), room)
    return Fetcher(roots, Means(folder, transfer, terms.hub), terms.allow_pickle)


def _own_hub(hub: str) -> frozenset[str]:
    """A mirror that the owner configured may have a private address: `name` or `name:port`."""
    if hub == PUBLIC_HUB:
        return frozenset()
    return frozenset({hub.partition("://")[2].partition("/")[0].lower()})
