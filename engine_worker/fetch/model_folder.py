"""A folder that a model lies in, of which nothing is read that lies outside the allowed folders."""

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from engine_worker.files import contained
from kernel.protocol.errors import ModelUnreadable

MAX_FILES: Final = 10_000
MAX_JSON_BYTES: Final = 16 << 20
"""A shard index has 200 KB; the other files that are read have a few."""
_MODEL_ENDINGS: Final = frozenset({".json", ".txt", ".model", ".safetensors"})
"""What a loader reads: the rest (pictures, read-mes, pickles beside the weights) is no part of the model."""

Schema = TypeVar("Schema")


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """Links inside the folder may lead to anywhere in `roots`, as those of a download cache do."""

    path: Path
    roots: Sequence[Path]

    def file(self, *names: str) -> Path | None:
        """The file of that name with links followed, or None if there is none that may be read."""
        found = contained(self.path.joinpath(*names), self.roots)
        return found if found is not None and found.is_file() else None

    def read_json(self, schema: type[Schema], *names: str) -> Schema:
        """Read a JSON file as this type.

        Also one with infinities, which JSON does not know: diffusers writes them into the configurations of
        its DPM-Solvers.
        Raises: ModelUnreadable, if it is absent, too long, or not of that type.
        """
        label = "/".join(names)
        path = self.file(*names)
        if path is None:
            raise ModelUnreadable(f"{self.path.name} lacks the file {label}")
        try:
            with path.open("rb") as file:
                text = file.read(MAX_JSON_BYTES + 1)
            if len(text) > MAX_JSON_BYTES:
                raise ModelUnreadable(f"{label} is too long")
            return _decoded(text, schema)
        except OSError as error:
            raise ModelUnreadable(f"{label} cannot be read: {error.strerror}") from error
        except (msgspec.DecodeError, ValueError, RecursionError) as error:
            raise ModelUnreadable(f"{label} does not say what it should: {error}") from error

    def model_files(self) -> list[tuple[str, Path]]:
        """Every file that makes up the model, by its name relative to the folder, sorted.

        Raises: ModelUnreadable, if the folder bears code, or a file that leads outside the allowed folders.
        """
        found: list[tuple[str, Path]] = []
        for name in self._names():
            ending = Path(name).suffix.lower()
            if ending == ".py":
                raise ModelUnreadable(f"{self.path.name} bears code ({name}), which is never run: remove it")
            if ending in _MODEL_ENDINGS:
                found.append((name, self._member(name)))
        return sorted(found)

    def _member(self, name: str) -> Path:
        path = self.file(name)
        if path is None:
            raise ModelUnreadable(f"{name} is no file inside the folders that models may lie in")
        return path

    def _names(self) -> Iterator[str]:
        """Names of files, relative to the folder; hidden ones and linked folders are passed over."""
        count = 0
        for place, folders, files in os.walk(self.path):
            folders[:] = [name for name in folders if not name.startswith(".")]
            for name in files:
                count += 1
                if count > MAX_FILES:
                    raise ModelUnreadable(
                        f"{self.path.name} holds more than {MAX_FILES} files: it is no model"
                    )
                if not name.startswith("."):
                    yield (Path(place) / name).relative_to(self.path).as_posix()


def _decoded(text: bytes, schema: type[Schema]) -> Schema:
    """Raises: DecodeError, ValueError, RecursionError."""
    try:
        return msgspec.json.decode(text, type=schema)
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError:
        # Python's own decoder knows Infinity and NaN. Decoded first, for it would also guess at UTF-16.
        return msgspec.convert(json.loads(text.decode("utf-8")), schema)
