"""A model's folder, from which nothing outside the allowed folders is read."""

import json
import os
import stat
from collections.abc import Iterator, Sequence
from io import BufferedReader
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from engine_worker.formats.allowed_paths import ModelFile, find_file
from kernel.process.allowed_folders import open_within
from kernel.protocol.errors import ModelUnreadable
from kernel.protocol.type_info import analyzed

MAX_FILES: Final = 10_000
MAX_MODEL_FILES: Final = 500
"""Each is kept open; a checkpoint with all its variants and shards has a hundred."""
MAX_JSON_BYTES: Final = 16 << 20
"""A shard index has 200 KB; the other files have a few."""
_MODEL_ENDINGS: Final = frozenset({".json", ".txt", ".model", ".safetensors"})
"""The files that a loader reads; others (images, read-mes, pickles beside the weights) are not part of the
model."""

Schema = TypeVar("Schema")


class ModelFolder:
    """A folder, opened once, and its files, each opened once, so that the inspected content is the loaded
    content.

    Links inside may lead anywhere in the roots, as those of a download cache do.
    """

    def __init__(self, path: Path, roots: Sequence[Path]) -> None:
        """Raises: ModelUnreadable, if there is no such folder within the roots."""
        descriptor = open_within(path, roots, stat.S_ISDIR)
        if descriptor is None:
            raise ModelUnreadable(
                f"{path.name} is not a folder in one of the allowed folders (models.folders, "
                "models.file_roots)"
            )
        self.path = path
        self._descriptor = descriptor
        self._roots = roots
        self._files: dict[str, ModelFile] = {}

    def __del__(self) -> None:
        if hasattr(self, "_descriptor"):
            os.close(self._descriptor)

    def file(self, *names: str) -> ModelFile | None:
        """The file of that name, after following links; None if there is none that may be read."""
        name = Path(*names).as_posix()
        if name not in self._files:
            found = find_file(Path(name), self._roots, self._descriptor)
            if found is None:
                return None
            found.path = self.path / name
            self._files[name] = found
        return self._files[name]

    def read_json(self, schema: type[Schema], *names: str) -> Schema:
        """Read a JSON file of the folder as `read_json` does.

        Raises: ModelUnreadable, if it is missing, too long, or not of that type.
        """
        label = "/".join(names)
        held = self.file(*names)
        if held is None:
            raise ModelUnreadable(f"{self.path.name} lacks the file {label}")
        return read_json(held, label, schema)

    def opened_files(self) -> dict[str, ModelFile]:
        """The files that were asked for so far, by their names relative to the folder."""
        return dict(self._files)

    def model_files(self) -> list[tuple[str, ModelFile]]:
        """All files of the model, by their names relative to the folder, sorted.

        Raises: ModelUnreadable, if the folder contains code, or a file that leads outside the allowed
        folders.
        """
        found: list[tuple[str, ModelFile]] = []
        for name in self._names():
            ending = Path(name).suffix.lower()
            if ending == ".py":
                raise ModelUnreadable(
                    f"{self.path.name} contains code ({name}), which is never run: remove it"
                )
            if ending in _MODEL_ENDINGS:
                found.append((name, self._member(name)))
            if len(found) > MAX_MODEL_FILES:
                raise ModelUnreadable(
                    f"{self.path.name} has more than {MAX_MODEL_FILES} model files: it is not a single model"
                )
        return sorted(found, key=lambda named: named[0])

    def _member(self, name: str) -> ModelFile:
        held = self.file(name)
        if held is None:
            raise ModelUnreadable(
                f"{name} is not a file in one of the allowed folders (models.folders, models.file_roots)"
            )
        return held

    def _names(self) -> Iterator[str]:
        """Names of files, relative to the folder, without hidden ones and linked folders."""
        count = 0
        # Unlike os.walk, os.fwalk cannot be tricked into following a link that replaces a folder meanwhile.
        for place, folders, files, _ in os.fwalk(dir_fd=self._descriptor):
            folders[:] = [name for name in folders if not name.startswith(".")]
            for name in files:
                count += 1
                if count > MAX_FILES:
                    raise ModelUnreadable(
                        f"{self.path.name} has more than {MAX_FILES} files: it is not a model"
                    )
                if not name.startswith("."):
                    yield (Path(place) / name).as_posix()


def read_json(held: ModelFile, label: str, schema: type[Schema]) -> Schema:
    """Read a JSON file as this type.

    Infinities, which are not JSON, are accepted: diffusers writes them into the configurations of its
    DPM-Solvers.
    Raises: ModelUnreadable, if it is too long, or not of that type.
    """
    try:
        with BufferedReader(held.open()) as file:
            text = file.read(MAX_JSON_BYTES + 1)
        if len(text) > MAX_JSON_BYTES:
            raise ModelUnreadable(f"{label} is too long")
        return _decoded(text, schema)
    except OSError as error:
        raise ModelUnreadable(f"{label} cannot be read: {error.strerror}") from error
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise ModelUnreadable(f"{label} is invalid: {error}") from error


def _decoded(text: bytes, schema: type[Schema]) -> Schema:
    """Raises: DecodeError, ValueError, RecursionError."""
    try:
        return msgspec.json.decode(text, type=analyzed(schema))
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError:
        # Python's own decoder accepts Infinity and NaN. It gets a str: for bytes it would guess UTF-16.
        return msgspec.convert(json.loads(text.decode("utf-8")), analyzed(schema))
