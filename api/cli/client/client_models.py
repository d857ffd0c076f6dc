"""The fields of REST resources that the command line uses, and lookup by id or name."""

from difflib import get_close_matches
from typing import TYPE_CHECKING, Final, TypeVar

import msgspec

from api.cli.exit_codes import Refusal
from kernel.protocol.enums import ENDED_JOB_STATES, ImageFileType
from kernel.protocol.errors import EngineNotFound, ModelNotFound, SpoonError

if TYPE_CHECKING:
    from api.cli.client.rest import Query, Rest

_PAGE: Final = 200


class StoredError(msgspec.Struct, frozen=True, kw_only=True):
    """Why a model, an engine or a job failed."""

    code: str
    detail: str


class DownloadProgress(msgspec.Struct, frozen=True, kw_only=True):
    bytes: int
    total_bytes: int | None = None
    bytes_per_s: int | None = None


class Model(msgspec.Struct, frozen=True, kw_only=True):
    model_id: str
    name: str
    status: str
    path: str | None = None
    model_type: str | None = None
    model_base: str | None = None
    size_bytes: int | None = None
    error: StoredError | None = None
    progress: DownloadProgress | None = None
    warnings: tuple[str, ...] = ()
    trigger_words: tuple[str, ...] = ()


class Scan(msgspec.Struct, frozen=True, kw_only=True):
    running: bool
    files: int = 0
    to_read: int = 0
    read: int = 0
    added: int = 0
    changed: int = 0
    moved: int = 0
    gone: int = 0
    unusable: int = 0
    absent: tuple[str, ...] = ()
    error: str | None = None


class UnusableFile(msgspec.Struct, frozen=True, kw_only=True):
    path: str
    reason: str


class Queue(msgspec.Struct, frozen=True, kw_only=True):
    waiting: int = 0
    processing: int = 0
    paused: bool = False


class LogOfWorker(msgspec.Struct, frozen=True, kw_only=True):
    lines: tuple[str, ...] = ()


class EngineLog(msgspec.Struct, frozen=True, kw_only=True):
    items: tuple[LogOfWorker, ...] = ()


class DeviceFit(msgspec.Struct, frozen=True, kw_only=True):
    device: str
    total_bytes: int
    free_bytes: int
    needed_bytes: int
    images: int | None = None
    taken_bytes: int | None = None


class EngineChecked(msgspec.Struct, frozen=True, kw_only=True):
    fits: bool
    closes: tuple[str, ...] = ()
    devices: tuple[DeviceFit, ...] = ()
    detail: str | None = None


class Engine(msgspec.Struct, frozen=True, kw_only=True):
    engine_id: str
    status: str
    name: str | None = None
    checkpoint: str | None = None
    device: str | None = None
    error: StoredError | None = None
    waiting_for_room: bool = False
    waiting_for_capacity: str | None = None
    progress: DownloadProgress | None = None
    queue: Queue | None = None
    steps: int | None = None
    width: int | None = None
    height: int | None = None
    reloads: bool = False
    names: dict[str, str] = {}


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    stage: str = "denoising"
    step: int
    steps: int
    eta_s: float | None = None


class Unmapped(msgspec.Struct, frozen=True, kw_only=True):
    """Something that an infotext says and that no job has."""

    name: str
    value: str
    reason: str


class Infotext(msgspec.Struct, frozen=True, kw_only=True):
    """How an image was made, as it says itself: fields of a job, and the rest."""

    job: dict[str, object]
    unmapped: tuple[Unmapped, ...] = ()
    more: int = 0


class Job(msgspec.Struct, frozen=True, kw_only=True):
    job_id: str
    status: str
    engine_id: str | None = None
    queue_position: int | None = None
    queue_eta_s: float | None = None
    waits_for: str | None = None
    image_ids: tuple[str, ...] = ()
    prompt: str | None = None
    seed: int = 0
    image_file_type: ImageFileType = ImageFileType.PNG
    progress: Progress | None = None
    error: StoredError | None = None
    warnings: tuple[str, ...] = ()
    names: dict[str, str] = {}
    created_at: str | None = None

    @property
    def is_ended(self) -> bool:
        return self.status in ENDED_JOB_STATES


class Gone(msgspec.Struct, frozen=True, kw_only=True):
    reason: str


class Image(msgspec.Struct, frozen=True, kw_only=True):
    image_id: str
    job_id: str | None = None
    engine_id: str | None = None
    prompt: str | None = None
    image_file_type: str | None = None
    mime: str = ""
    width: int | None = None
    height: int | None = None
    size_bytes: int | None = None
    seed: int | None = None
    download_limit: int | None = None
    index: int | None = None
    created_at: str | None = None
    tags: tuple[str, ...] = ()
    names: dict[str, str] = {}
    downloads: int | None = None
    expires_at: str | None = None
    gone: Gone | None = None


class Named(msgspec.Struct, frozen=True, kw_only=True):
    name: str | None = None


class Page(msgspec.Struct, frozen=True, kw_only=True):
    items: tuple[msgspec.Raw, ...]
    next: str | None = None


Kind = TypeVar("Kind", Model, Engine)


def list_names(rest: "Rest", path: str, query: "Query") -> list[str]:
    """The names of all items of a list that have one."""
    from api.cli.client.rest import read

    return [name for item in list_items(rest, path, query, None) if (name := read(item, Named).name)]


def _nearest(rest: "Rest", path: str, name: str) -> str:
    """A guess at the name that was meant; an empty text, if none is like it."""
    try:
        near = get_close_matches(name, list_names(rest, path, {}), n=2)
    except SpoonError:  # what was asked for is not there, whatever hinders the guess
        near = []
    return f"did you mean {' or '.join(near)}? " if near else ""


def list_items(rest: "Rest", path: str, query: "Query", limit: int | None) -> list[msgspec.Raw]:
    """Up to `limit` items of a list, or all of them, page by page."""
    from api.cli.client.rest import read

    found: list[msgspec.Raw] = []
    after: str | None = None
    while limit is None or len(found) < limit:
        wanted = _PAGE if limit is None else min(_PAGE, limit - len(found))
        page = read(rest.get(path, {**query, "limit": wanted, "after": after}), Page)
        found.extend(page.items)
        after = page.next
        if after is None:
            break
    return found


def find_model(rest: "Rest", name_or_id: str) -> Model:
    """Raises: ModelNotFound; Refusal, if several models have that name."""
    found = _find(rest, "/v1/models", name_or_id, Model)
    if found is None:
        guess = _nearest(rest, "/v1/models", name_or_id)
        raise ModelNotFound(f"no model with id or name {name_or_id}; {guess}see `spoon models list`")
    return found


def find_engine(rest: "Rest", name_or_id: str) -> Engine:
    """Raises: EngineNotFound."""
    found = _find(rest, "/v1/engines", name_or_id, Engine)
    if found is None:
        guess = _nearest(rest, "/v1/engines", name_or_id)
        raise EngineNotFound(f"no engine with id or name {name_or_id}; {guess}see `spoon engines list`")
    return found


def _find(rest: "Rest", path: str, name_or_id: str, kind: type[Kind]) -> Kind | None:
    """The item with that id or name; None, if there is none."""
    from api.cli.client.rest import quoted, read

    try:
        return read(rest.get(f"{path}/{quoted(name_or_id)}"), kind)
    except Refusal as refusal:
        if refusal.problem.status == 404:
            return None
        raise
