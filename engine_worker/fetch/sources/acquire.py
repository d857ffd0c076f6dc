"""Brings a model to this host: in place, from the web, from the hub, from CivitAI, or from the uploads."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import assert_never

from engine_worker.fetch.sources.civitai import Civitai
from engine_worker.fetch.sources.hub_files import choose_files
from engine_worker.fetch.sources.partial_file import PartialFile
from engine_worker.fetch.sources.staging import ListedFile, Listing, StagingFolder
from engine_worker.fetch.sources.transfer import Expected, Transfer
from engine_worker.formats.allowed_paths import resolve
from engine_worker.port import ProgressCallback
from kernel.protocol.errors import DownloadFailed
from kernel.protocol.model_refs import ModelSource
from kernel.protocol.sources import (
    STORED_SCHEME,
    BadSource,
    CivitaiSource,
    HubSource,
    LocalSource,
    Source,
    UploadedSource,
    WebSource,
    parse_source,
    uploaded_name,
)


@dataclass(frozen=True, slots=True)
class Acquired:
    """A model on this host, not inspected yet."""

    path: Path
    """A file or a folder."""
    is_ours: bool
    """True for a download, False for a model that is used where it is."""
    hashes: Mapping[str, str] = field(default_factory=dict)
    """sha256 digests computed while downloading, by the name in a folder; of a single file by `""`."""
    listing: Listing | None = None
    """What its site says about it."""


@dataclass(frozen=True, slots=True)
class Means:
    """The tools and limits of downloads."""

    folder: Path
    """The models folder."""
    transfer: Transfer
    hub: str
    civitai: str
    allows_pickle: bool


def acquire(
    source: ModelSource,
    roots: Sequence[Path],
    means: Means,
    staging: StagingFolder,
    on_progress: ProgressCallback,
) -> Acquired:
    """Bring the model to this host.

    Raises: ModelUnreadable, if a local one does not exist; DownloadFailed; DiskFull; OSError.
    """
    if staging.ready.exists():
        # It was complete when an earlier worker died.
        return Acquired(staging.ready, is_ours=True, listing=staging.plan())
    if source.uri.startswith(STORED_SCHEME):
        return Acquired(resolve(source.uri, (means.folder,)), is_ours=False)
    parsed = _parsed(source.uri)
    if isinstance(parsed, LocalSource):
        return Acquired(resolve(parsed.uri, roots), is_ours=False)
    if isinstance(parsed, CivitaiSource):
        staging.open()
        return _from_civitai(parsed, source, means, staging, on_progress)
    if (kept := _kept(means.folder, source.sha256)) is not None:
        return kept
    match parsed:
        case WebSource(url):
            staging.open()
            return _one_file(url, Expected(sha256=source.sha256), means, staging, on_progress)
        case UploadedSource(upload):
            staging.open()
            return _take_over(means.folder / uploaded_name(upload), staging)
        case HubSource() as hub:
            staging.open()
            return _from_hub(hub, source, means, staging, on_progress)
        case other:
            assert_never(other)


def _parsed(uri: str) -> Source:
    try:
        return parse_source(uri)
    except BadSource as error:
        raise DownloadFailed(f"the address {error}") from error


def _kept(folder: Path, sha256: str | None) -> Acquired | None:
    """A stored model that has the declared digest."""
    if sha256 is None:
        return None
    places = (folder / "files" / f"{sha256.lower()}{ending}" for ending in (".safetensors", ".onnx"))
    found = next((place for place in places if place.is_file()), None)
    return None if found is None else Acquired(found, is_ours=True, hashes={"": sha256.lower()})


def _take_over(upload: Path, staging: StagingFolder) -> Acquired:
    if not staging.uploaded.exists():
        try:
            upload.rename(staging.uploaded)
        except FileNotFoundError:
            raise DownloadFailed("the uploaded file no longer exists: upload it again") from None
    return Acquired(staging.uploaded, is_ours=True)


def _from_hub(
    hub_source: HubSource,
    source: ModelSource,
    means: Means,
    staging: StagingFolder,
    on_progress: ProgressCallback,
) -> Acquired:
    # The hub's client takes a second to import, which other downloads need not wait for.
    from engine_worker.fetch.sources.hub import Hub

    hub = Hub(means.transfer.web, means.hub)
    hub_source = replace(hub_source, revision=source.revision or hub_source.revision)
    plan = staging.plan() or hub.look(hub_source)
    staging.keep_plan(plan)
    names = [file.name for file in plan.files]
    chosen = choose_files(names, source.model_type, source.variant, hub_source.file)
    files = [file for name in chosen for file in plan.files if file.name == name]
    urls = [hub.url(hub_source, plan.revision, file.name) for file in files]
    if len(files) == 1 and not chosen[0].endswith(".json"):
        expected = Expected(size_bytes=files[0].size_bytes, sha256=source.sha256 or files[0].sha256)
        found = _one_file(urls[0], expected, means, staging, on_progress)
    else:
        found = _tree(files, urls, means.transfer, staging, on_progress)
    return replace(found, listing=plan)


def _from_civitai(
    asked: CivitaiSource,
    source: ModelSource,
    means: Means,
    staging: StagingFolder,
    on_progress: ProgressCallback,
) -> Acquired:
    """Its answer is asked for even if the file is here: it has the title and the trigger words."""
    site = Civitai(means.transfer.web, means.civitai, means.allows_pickle)
    plan = staging.plan() or site.look(asked, source)
    staging.keep_plan(plan)
    (file,) = plan.files
    expected = Expected(sha256=source.sha256 or file.sha256, notice=plan.notice)
    found = _one_file(f"{site.endpoint}{file.name}", expected, means, staging, on_progress)
    return replace(found, listing=plan)


def _one_file(
    url: str, expected: Expected, means: Means, staging: StagingFolder, on_progress: ProgressCallback
) -> Acquired:
    """A file with a digest that is known beforehand is downloaded only if it is not here yet."""
    if (kept := _kept(means.folder, expected.sha256)) is not None:
        return kept
    with PartialFile(staging.part) as part:
        found = means.transfer.run(url, part, expected, on_progress)
    return Acquired(staging.part, is_ours=True, hashes={"": found})


def _tree(
    files: Sequence[ListedFile],
    urls: Sequence[str],
    transfer: Transfer,
    staging: StagingFolder,
    on_progress: ProgressCallback,
) -> Acquired:
    """Download several files, one after the other, each to its name in `tree` once it is complete."""
    sizes = [file.size_bytes or 0 for file in files]
    total = sum(sizes)
    transfer.quota.check_size(total)
    hashes: dict[str, str] = {}
    for index, (file, url) in enumerate(zip(files, urls, strict=True)):
        place = staging.tree / file.name
        if place.exists():
            continue
        with PartialFile(staging.part_of(index)) as part:
            expected = Expected(size_bytes=file.size_bytes, sha256=file.sha256)
            hashes[file.name] = transfer.run(
                url, part, expected, _behind(sum(sizes[:index]), total, on_progress)
            )
        place.parent.mkdir(parents=True, exist_ok=True)
        staging.part_of(index).rename(place)
    return Acquired(staging.tree, is_ours=True, hashes=hashes)


def _behind(done_bytes: int, total_bytes: int, on_progress: ProgressCallback) -> ProgressCallback:
    """Reports the progress of one file as part of all files, after `done_bytes` of earlier ones."""
    return lambda here, _, speed: on_progress(done_bytes + here, total_bytes, speed)
