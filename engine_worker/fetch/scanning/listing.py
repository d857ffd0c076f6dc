"""Lists the files and folders that may be models, in the folders that people already have.

Nothing is known here about what tools use which folder for: whatever may hold weights is a candidate, and
what it is, its content tells. Every folder is opened within the roots and listed through its descriptor,
once, however many links lead to it; the linked ones come last, so that a model keeps the path of its real
place.
"""

import logging
import os
import stat
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from engine_worker.fetch.scanning.sidecars import names_beside
from engine_worker.fetch.scanning.stamps import stamp_of
from engine_worker.formats.component_folder import CONFIG_FILE, is_known_component
from engine_worker.formats.diffusers_index import INDEX_FILE
from engine_worker.formats.embedding_keys import PAIR
from engine_worker.formats.file_kinds import ONNX, PICKLES, SAFETENSORS
from engine_worker.formats.lora_keys import LORA_FILES
from engine_worker.formats.lora_scales import CONFIG_FILE as PEFT_CONFIG_FILE
from kernel.process.allowed_folders import open_within
from kernel.process.log import line

MAX_DEPTH: Final = 16
MAX_CANDIDATES: Final = 100_000
MAX_FILES_OF_FOLDER: Final = 10_000
"""Files in each folder of one model that its stamp covers."""
_DEPTH_OF_MODEL: Final = 3
GGUF: Final = ".gguf"
_ENDINGS: Final = frozenset({*SAFETENSORS, *PICKLES, ONNX, GGUF})
_SKIPPED_FOLDERS: Final = frozenset(
    {"__pycache__", "site-packages", "node_modules", "lost+found", "$RECYCLE.BIN", "@eaDir"}
)
"""Of programs and of file systems, which hold no models of people."""
_UNFINISHED: Final = (".aria2", ".part", ".crdownload", ".download", ".tmp")
"""Of files beside one that is still being downloaded, which may have its full size already."""
_ADAPTER_FILES: Final = frozenset({*LORA_FILES, PAIR[0]})
_COMPONENT_STEM: Final = "diffusion_pytorch_model"
_HUB_FOLDER: Final = "models--"
_SNAPSHOTS: Final = "snapshots"
_MAX_REF_BYTES: Final = 100

BROKEN_LINK: Final = "is a link that leads nowhere: restore what it led to, or remove it"
LINK_OUT: Final = "is a link that leads out of the folders: add its target to models.folders"
NOT_PERMITTED: Final = "cannot be read: give the user that the server runs as permission to read it"
BAD_NAME: Final = "has a name that is not UTF-8: rename it"

_log: Final = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A file, or a folder, that may be a model."""

    path: Path
    top: Path
    """The folder of the configuration that it was found in."""
    stamp: int
    is_folder: bool = False
    problem: str = ""
    """Why it cannot be opened; empty, if it can."""


@dataclass(slots=True)
class Listing:
    """What the folders contain."""

    candidates: list[Candidate] = field(default_factory=list)
    absent: list[str] = field(default_factory=list)
    """Folders that cannot be read, of the configuration or in one of it."""
    is_complete: bool = True
    """False, if a limit was reached."""


@dataclass(frozen=True, slots=True)
class _Entry:
    """A name in a folder, and what it leads to."""

    name: str
    about: os.stat_result
    is_link: bool
    problem: str = ""

    @property
    def is_folder(self) -> bool:
        return stat.S_ISDIR(self.about.st_mode)

    @property
    def may_be_model(self) -> bool:
        is_file = stat.S_ISREG(self.about.st_mode) or self.is_broken
        return is_file and Path(self.name).suffix.lower() in _ENDINGS

    @property
    def is_broken(self) -> bool:
        """True for a link that leads nowhere."""
        return stat.S_ISLNK(self.about.st_mode)


_Entries = Mapping[str, _Entry]
_Fact = tuple[str, os.stat_result]


@dataclass(frozen=True, slots=True)
class _Step:
    """A folder to look into."""

    path: Path
    top: Path
    depth: int = 0


def list_candidates(folders: Sequence[str], roots: Sequence[Path], skipped: Path | None = None) -> Listing:
    """List what may be a model in these folders, in the same order each time, but nothing in the folder
    `skipped`."""
    walk = _Walk(roots, skipped)
    for folder in folders:
        path = Path(folder)
        if not walk.visit(_Step(path, path)):
            walk.listing.absent.append(folder)
    walk.follow_links()
    return walk.listing


class _Walk:
    def __init__(self, roots: Sequence[Path], skipped: Path | None) -> None:
        self.listing = Listing()
        self._roots = roots
        self._real_roots = [os.path.realpath(root) for root in roots]
        self._seen: set[tuple[int, int]] = set()
        if skipped is not None and skipped.is_dir():
            about = skipped.stat()
            self._seen.add((about.st_dev, about.st_ino))
        self._linked: deque[_Step] = deque()

    def follow_links(self) -> None:
        """Look into the linked folders, once all real ones were seen."""
        while self._linked:
            self._visit_inner(self._linked.popleft())

    def visit(self, step: _Step) -> bool:
        """Look into a folder. Returns: False, if it cannot be read."""
        descriptor = open_within(step.path, self._roots, stat.S_ISDIR)
        if descriptor is None:
            return False
        try:
            about = os.fstat(descriptor)
            if (about.st_dev, about.st_ino) in self._seen:
                return True
            self._seen.add((about.st_dev, about.st_ino))
            entries = {entry.name: entry for entry in self._entries(descriptor, step.path)}
        except OSError as error:
            _log.warning(line("folder_unreadable", path=step.path, error=error))
            return False
        finally:
            os.close(descriptor)
        self._take(step, entries)
        return True

    def _visit_inner(self, step: _Step) -> None:
        if len(self.listing.candidates) >= MAX_CANDIDATES or step.depth > MAX_DEPTH:
            _log.warning(line("folder_not_listed", path=step.path, depth=step.depth))
            self.listing.is_complete = False
        elif not self.visit(step):
            self.listing.absent.append(str(step.path))

    def _entries(self, descriptor: int, place: Path) -> Iterator[_Entry]:
        """Raises: OSError."""
        with os.scandir(descriptor) as found:
            for entry in sorted(found, key=lambda entry: entry.name):
                if not entry.name.startswith(".") and entry.name not in _SKIPPED_FOLDERS:
                    about = _stat_of(entry)
                    if about is not None:
                        plain = _Entry(entry.name, about, entry.is_symlink())
                        yield replace(plain, problem=self._problem(descriptor, place, plain))

    def _problem(self, descriptor: int, place: Path, entry: _Entry) -> str:
        """Why what may be a model, or a folder, cannot be opened; empty, if it can."""
        if entry.is_broken:
            return BROKEN_LINK
        if not (entry.is_folder or entry.may_be_model):
            return ""
        if not _is_text(entry.name):
            return BAD_NAME
        if entry.is_link and not self._is_within(place / entry.name):
            return LINK_OUT
        mode = os.R_OK | os.X_OK if entry.is_folder else os.R_OK
        # By the effective user, as opening it will be.
        can_read = os.access(entry.name, mode, dir_fd=descriptor, effective_ids=True)
        return "" if can_read else NOT_PERMITTED

    def _is_within(self, path: Path) -> bool:
        real = Path(os.path.realpath(path))
        return any(real.is_relative_to(root) for root in self._real_roots)

    def _take(self, step: _Step, entries: _Entries) -> None:
        """Take the candidates of one folder, then look into the folders in it."""
        if _is_one_model(step, entries, self._roots):
            beside = ((step.path.parent / name) for name in names_beside(step.path.name))
            self._add(step, step.path, [*_stats(beside), *_files_in(step.path)], is_folder=True)
            return
        for entry in _wanted(step, entries):
            path = step.path / entry.name
            if entry.may_be_model and not any(f"{entry.name}{ending}" in entries for ending in _UNFINISHED):
                self._add(step, path, _facts_of_file(entry, entries), problem=entry.problem)
            elif entry.problem and (entry.is_folder or (entry.is_broken and not path.suffix)):
                self._add(step, path, [("", entry.about)], is_folder=True, problem=entry.problem)
                self.listing.absent.append(text_of(path))
            elif entry.is_folder:
                inner = _Step(path, step.top, step.depth + 1)
                if entry.is_link:
                    self._linked.append(inner)
                else:
                    self._visit_inner(inner)

    def _add(
        self, step: _Step, path: Path, facts: Sequence[_Fact], *, is_folder: bool = False, problem: str = ""
    ) -> None:
        if len(self.listing.candidates) >= MAX_CANDIDATES:
            self.listing.is_complete = False
            return
        stamp = stamp_of(str(path), facts, problem)
        self.listing.candidates.append(Candidate(path, step.top, stamp, is_folder, problem))


def text_of(path: Path) -> str:
    """A path as messages can carry it: what is not UTF-8 in it is replaced."""
    return os.fsencode(path).decode(errors="replace")


def _is_one_model(step: _Step, entries: _Entries, roots: Sequence[Path]) -> bool:
    """True for a checkpoint as diffusers saves it, and for a VAE, ControlNet, LoRA or embedding in a folder
    of its own: one that holds no other weights, as a folder of models does into which one was saved."""
    files = {name for name, entry in entries.items() if not entry.is_folder and not entry.problem}
    if INDEX_FILE in files:
        return True
    weights = {entry.name for entry in entries.values() if entry.may_be_model}
    if CONFIG_FILE in files:
        is_own = bool(weights) and all(name.startswith(_COMPONENT_STEM) for name in weights)
        is_own = is_own and is_known_component(step.path, roots)
    else:
        is_own = bool(weights) and (weights == set(PAIR) or (step.depth > 0 and weights <= _ADAPTER_FILES))
    inner = (step.path / entry.name for entry in entries.values() if entry.is_folder)
    return is_own and not any(_holds_weights(folder) for folder in inner)


def _stat_of(entry: os.DirEntry[str]) -> os.stat_result | None:
    """What an entry leads to, or the link itself if it leads nowhere; None, if it was just removed."""
    for follows in (True, False):
        try:
            return entry.stat(follow_symlinks=follows)
        except OSError:
            continue  # a broken link, and then a name that has gone meanwhile
    return None


def _holds_weights(folder: Path) -> bool:
    return any(Path(name).suffix.lower() in _ENDINGS for name, _ in _files_in(folder))


def _wanted(step: _Step, entries: _Entries) -> Iterator[_Entry]:
    """The entries to look at: of a repository in a download cache, those of its main revision."""
    wanted: str | None = None
    if step.path.name.startswith(_HUB_FOLDER) and _SNAPSHOTS in entries:
        wanted = _SNAPSHOTS
    elif step.path.name == _SNAPSHOTS and step.path.parent.name.startswith(_HUB_FOLDER):
        wanted = _main_revision(step.path.parent)
    yield from entries.values() if wanted is None or wanted not in entries else [entries[wanted]]


def _main_revision(repository: Path) -> str | None:
    try:
        with (repository / "refs/main").open("rb") as file:
            return os.fsdecode(file.read(_MAX_REF_BYTES)).strip()
    except OSError:
        return None


def _facts_of_file(entry: _Entry, entries: _Entries) -> list[_Fact]:
    """What decides about a file: itself, its sidecars, and what its content is read together with."""
    stem = Path(entry.name).stem
    beside = (*names_beside(stem), f"{stem}.yaml", PEFT_CONFIG_FILE, *(PAIR if entry.name in PAIR else ()))
    found = (entries.get(name) for name in beside if name != entry.name)
    return [("", entry.about), *((other.name, other.about) for other in found if other is not None)]


def _files_in(folder: Path, depth: int = 0) -> Iterator[_Fact]:
    """The files of a folder that is one model, by their names in it."""
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError:
        return
    for entry in entries[:MAX_FILES_OF_FOLDER]:
        if entry.name.startswith("."):
            continue
        try:
            about = entry.stat()
        except OSError:
            continue  # the model is read through the same link, and refused with its reason
        if not stat.S_ISDIR(about.st_mode):
            yield entry.name, about
        elif depth < _DEPTH_OF_MODEL:
            for name, inner in _files_in(folder / entry.name, depth + 1):
                yield f"{entry.name}/{name}", inner


def _stats(paths: Iterable[Path]) -> Iterator[_Fact]:
    for path in paths:
        try:
            yield f"../{path.name}", path.stat()
        except OSError:
            continue  # it has no such file beside it


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
