"""Fetches a model: download, conversion if needed, inspection, and layout for the models folder."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import msgspec

from engine_worker.fetch import pickles
from engine_worker.fetch.digest import digest_file
from engine_worker.fetch.inspection import ONE_FILE, Subject, inspect
from engine_worker.fetch.net.address_policy import AddressPolicy
from engine_worker.fetch.net.http_client import HttpClient, Patience
from engine_worker.fetch.sources.acquire import Acquired, Means, acquire
from engine_worker.fetch.sources.size_quota import SizeQuota, TooLarge, free_below
from engine_worker.fetch.sources.staging import Listing, StagingFolder, staging_folder_of
from engine_worker.fetch.sources.transfer import Transfer, Unwanted
from engine_worker.formats.allowed_paths import ModelFile, open_file, opened
from engine_worker.formats.file_kinds import FileKind, kind_by_content, kind_by_name
from engine_worker.formats.model_folder import ModelFolder
from engine_worker.port import ProgressCallback
from kernel.protocol.errors import DownloadFailed, ModelUnreadable
from kernel.protocol.join import FetchTerms, Join
from kernel.protocol.model_refs import ModelSource
from kernel.protocol.sources import PUBLIC_CIVITAI, PUBLIC_HUB, is_local
from kernel.protocol.specs import Fingerprint

_ENDINGS: Final = {FileKind.SAFETENSORS: ".safetensors", FileKind.ONNX: ".onnx"}


@dataclass(frozen=True, slots=True)
class Fetched:
    """A model that can be used, once the Manager has moved it to the name `stored`."""

    fingerprint: Fingerprint
    stored: str | None
    revision: str | None = None
    title: str | None = None


@dataclass(frozen=True, slots=True)
class Fetcher:
    """Fetches one model after the other."""

    roots: Sequence[Path]
    means: Means

    def fetch(self, source: ModelSource, on_progress: ProgressCallback) -> Fetched:
        """Fetch and inspect a model. Unusable files are removed; those that a retry needs are kept.

        Raises: ModelUnreadable, if it cannot be used; DownloadFailed; DiskFull.
        """
        staging = staging_folder_of(self.means.folder, source.model_id)
        try:
            return self._fetch(source, staging, on_progress)
        except (ModelUnreadable, Unwanted, TooLarge):
            staging.clean()
            raise
        except OSError as error:
            raise DownloadFailed(f"cannot use models.folder: {error.strerror or error}") from error
        finally:
            staging.clean_if_empty()

    def _fetch(self, source: ModelSource, staging: StagingFolder, on_progress: ProgressCallback) -> Fetched:
        found = acquire(source, self.roots, self.means, staging, on_progress)
        model = self._open(source, found)
        kind = _kind_of(found, model)
        if isinstance(model, ModelFile) and kind is FileKind.PICKLE:
            found = self._convert(source, found, model, staging, on_progress)
            model = opened(found.path)
            source, kind = msgspec.structs.replace(source, sha256=None), FileKind.SAFETENSORS
        subject = Subject(model=model, kind=kind, hashes=found.hashes)
        try:
            fingerprint = inspect(source, subject, lambda done, total: on_progress(done, total, None))
        except ModelUnreadable as error:
            raise ModelUnreadable(_without_our_name(source, found, error.detail)) from error
        if not found.is_ours:
            return Fetched(fingerprint, stored=None)
        self._lay_out(found.path, staging)
        stored = _name_of(kind, fingerprint)
        if (said := found.listing) is None:
            return Fetched(fingerprint, stored)
        return Fetched(_completed(fingerprint, said), stored, said.revision, said.title)

    def _open(self, source: ModelSource, found: Acquired) -> ModelFile | ModelFolder:
        """Open the model. Its name does not matter any more: downloaded files are in a folder of our own."""
        roots = self.roots if is_local(source.uri) else (self.means.folder,)
        if found.path.is_dir():
            return ModelFolder(found.path, (found.path,) if found.is_ours else roots)
        return opened(found.path) if found.is_ours else open_file(found.path, roots)

    def _convert(
        self,
        source: ModelSource,
        found: Acquired,
        held: ModelFile,
        staging: StagingFolder,
        on_progress: ProgressCallback,
    ) -> Acquired:
        if not self.means.allows_pickle:
            raise ModelUnreadable(_without_our_name(source, found, f"{found.path.name} {pickles.REFUSAL}"))
        self.means.transfer.quota.check_size(held.size_bytes)
        if source.sha256 is not None and ONE_FILE not in found.hashes:
            digest = digest_file(held, lambda done, total: on_progress(done, total, None))
            if digest.sha256 != source.sha256.lower():
                raise ModelUnreadable(
                    f"the model's sha256 is {digest.sha256}, but {source.sha256} was declared"
                )
        self.means.transfer.quota.check_disk(held.size_bytes)
        staging.open()
        pickles.convert(held, staging.converted)
        return replace(found, path=staging.converted, is_ours=True, hashes={})

    def _lay_out(self, path: Path, staging: StagingFolder) -> None:
        """Keep a model that is stored already; give a new one the name by which the Manager finds it."""
        if path.is_relative_to(staging.path) and path != staging.ready:
            path.rename(staging.ready)


def build_fetcher(join: Join) -> Fetcher:
    """A fetcher that keeps to the terms of the ticket. Without terms it may only read local files."""
    roots = tuple(Path(root) for root in join.file_roots)
    terms = join.fetch or FetchTerms(folder="/nonexistent", max_bytes=0, min_free_bytes=0)
    folder = Path(terms.folder)
    allowed = frozenset(host.lower() for host in terms.allow_hosts)
    own = _own_site(terms.hub, PUBLIC_HUB) | _own_site(terms.civitai, PUBLIC_CIVITAI)
    guard = AddressPolicy(allowed | own)
    quota = SizeQuota(terms.max_bytes, terms.min_free_bytes, free_below(folder))
    transfer = Transfer(HttpClient(guard, terms.tokens, Patience()), quota)
    return Fetcher(roots, Means(folder, transfer, terms.hub, terms.civitai, terms.allow_pickle))


def _own_site(address: str, public: str) -> frozenset[str]:
    """A mirror that the owner configured may have a private address: `name` or `name:port`."""
    return frozenset() if address == public else frozenset({address.partition("://")[2].lower()})


def _completed(fingerprint: Fingerprint, said: Listing) -> Fingerprint:
    """With what the model's site says and its file does not; its words replace those of training captions."""
    return msgspec.structs.replace(
        fingerprint,
        model_base=fingerprint.model_base or said.model_base,
        trigger_words=said.trigger_words or fingerprint.trigger_words,
    )


def _without_our_name(source: ModelSource, found: Acquired, detail: str) -> str:
    """The problem with a model without the name that we gave its files, which means nothing to a person."""
    ours = f"{found.path.name} "
    if is_local(source.uri) or not detail.startswith(ours):
        return detail
    return f"the {'folder' if found.path.is_dir() else 'file'} {detail.removeprefix(ours)}"


def _kind_of(found: Acquired, model: ModelFile | ModelFolder) -> FileKind | None:
    """The kind of a file; None for a folder."""
    if isinstance(model, ModelFolder):
        return None
    return kind_by_content(model) if found.is_ours else kind_by_name(model.path)


def _name_of(kind: FileKind | None, fingerprint: Fingerprint) -> str:
    """The stored name, derived from the content, so that copies from different sources are stored once."""
    return f"trees/{fingerprint.sha256}" if kind is None else f"files/{fingerprint.sha256}{_ENDINGS[kind]}"
