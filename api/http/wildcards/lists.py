"""The lists of the folders in `wildcards.folders`: files NAME.txt with a choice in each line.

The names are read again when a folder has changed, which its time of change says, and a file when it has:
both are looked at whenever somebody asks, so nothing needs to be told that a list was edited.
"""

import os
import re
import stat
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from io import FileIO
from pathlib import Path
from typing import Final

from api.http.contract.errors import WildcardNotFound
from kernel.process.allowed_folders import open_within
from kernel.protocol.prompt_syntax.templates import Options, is_list_name, weighed_line

MAX_LISTS: Final = 20_000
MAX_FOLDERS: Final = 2_000
MAX_FILE_BYTES: Final = 4 << 20
"""Of a longer list, the first lines count."""
MAX_LINE: Final = 4_000
"""Characters; a longer line is left out."""
MAX_LINES: Final = 50_000
_KEPT_LINES: Final = 500_000
"""Lines of the lists in memory, those that were used last."""
_SUFFIX: Final = ".txt"
_COMPARED: Final = 5_000
"""Names that a wrong one is compared with."""


@dataclass(frozen=True, slots=True)
class _Index:
    """The files of all lists by name, and when each folder had changed."""

    files: Mapping[str, Path]
    folders: tuple[tuple[Path, int], ...]

    def is_fresh(self) -> bool:
        return all(_changed_at(folder) == changed for folder, changed in self.folders)


@dataclass(frozen=True, slots=True)
class _Read:
    """A list as its file was at a time."""

    changed: tuple[int, int]
    options: Options


class WildcardLists:
    """Finds lists by name. Several threads may ask."""

    def __init__(self, folders: Sequence[Path]) -> None:
        """Of two lists with one name, the one of the earlier folder counts."""
        self._folders = tuple(folders)
        self._index: _Index | None = None
        self._read: OrderedDict[Path, _Read] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def has_folders(self) -> bool:
        return bool(self._folders)

    def names(self) -> tuple[str, ...]:
        """Of all lists, in order."""
        return tuple(self._files())

    def find(self, name: str) -> Options:
        """The lines of a list. A name with `*` is that of all lists that fit: `*` stands for a part of a name
        between slashes, `**` for any.

        Raises: WildcardNotFound, with the nearest names.
        """
        files = self._files()
        if "*" in name:
            found = [self._lines(files[one]) for one in _fitting(name, files)]
        else:
            found = [self._lines(files[name])] if name in files else []
        if not found:
            raise WildcardNotFound(self._nothing(name, tuple(files)))
        if len(found) == 1:
            return found[0]
        return Options(pair for one in found for pair in zip(one.weights, one.texts, strict=True))

    def _nothing(self, name: str, names: tuple[str, ...]) -> str:
        if not self._folders:
            return f"there is no list {name!r}: no folder is in wildcards.folders"
        near = get_close_matches(name, names[:_COMPARED])
        nearest = f"; the nearest are {', '.join(near)}" if near else ""
        return f"there is no list {name!r} in wildcards.folders{nearest}"

    def _files(self) -> Mapping[str, Path]:
        index = self._index
        if index is None or not index.is_fresh():
            index = self._index = _index_of(self._folders)
        return index.files

    def _lines(self, file: Path) -> Options:
        """Raises: WildcardNotFound, if the file has gone or leads out of the folders."""
        descriptor = open_within(file, self._folders, stat.S_ISREG)
        if descriptor is None:
            raise WildcardNotFound(f"{file.name} cannot be read, or is a link out of wildcards.folders")
        with FileIO(descriptor, "rb") as stream:
            status = os.fstat(descriptor)
            changed = status.st_mtime_ns, status.st_size
            with self._lock:
                known = self._read.get(file)
                if known is not None and known.changed == changed:
                    self._read.move_to_end(file)
                    return known.options
            options = Options(_weighed(stream.read(MAX_FILE_BYTES)))
        with self._lock:
            self._read[file] = _Read(changed, options)
            while len(self._read) > 1 and self._kept() > _KEPT_LINES:
                self._read.popitem(last=False)
        return options

    def _kept(self) -> int:
        return sum(len(one.options.texts) for one in self._read.values())


def _weighed(data: bytes) -> Iterator[tuple[float, str]]:
    """The lines of a file, without blank ones and comments."""
    taken = 0
    for line in data.decode("utf-8-sig", errors="replace").splitlines():
        text = line.strip()
        if text and not text.startswith("#") and len(text) <= MAX_LINE and "\0" not in text:
            yield weighed_line(text)
            taken += 1
            if taken == MAX_LINES:
                return


def _index_of(folders: Sequence[Path]) -> _Index:
    files: dict[str, Path] = {}
    seen: list[tuple[Path, int]] = []
    for root in folders:
        if _changed_at(root) == 0:
            seen.append((root, 0))  # looked for again whenever somebody asks
        for place, inner, found in os.walk(root):
            folder = Path(place)
            seen.append((folder, _changed_at(folder)))
            inner[:] = sorted(one for one in inner if not one.startswith("."))
            for name in found:
                called = (folder / name).relative_to(root).as_posix().removesuffix(_SUFFIX)
                if name.endswith(_SUFFIX) and is_list_name(called):
                    files.setdefault(called, folder / name)
            if len(files) >= MAX_LISTS or len(seen) >= MAX_FOLDERS:
                break
    return _Index(dict(sorted(files.items())[:MAX_LISTS]), tuple(seen))


def _changed_at(folder: Path) -> int:
    """Nanoseconds; 0 if there is none."""
    try:
        return folder.stat().st_mtime_ns
    except OSError:
        return 0


def _fitting(pattern: str, names: Mapping[str, Path]) -> Iterator[str]:
    parts = re.split(r"(\*+)", pattern)
    marks = {"*": "[^/]*"}
    regex = re.compile(
        "".join(marks.get(one, ".*") if one.startswith("*") else re.escape(one) for one in parts)
    )
    return filter(regex.fullmatch, names)
