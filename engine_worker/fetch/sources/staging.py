"""The folder into which one model is downloaded: the Manager moves its entry `ready` out of it."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from kernel.protocol.enums import ModelBase
from kernel.protocol.ids import ModelId
from kernel.protocol.sources import incoming_name
from kernel.protocol.type_info import analyzed

PRIVATE: Final = 0o700


class ListedFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file as its site describes it."""

    name: str
    """In the repository, or the path of its download on the site."""
    size_bytes: int | None = None
    sha256: str | None = None


class Listing(msgspec.Struct, frozen=True, kw_only=True):
    """The files of a repository at one commit, or of a model's version, and what the site says about it."""

    revision: str
    files: tuple[ListedFile, ...]
    title: str | None = None
    model_base: ModelBase | None = None
    trigger_words: tuple[str, ...] = ()
    notice: str = ""
    """Added to the error if the site refuses the download."""


@dataclass(frozen=True, slots=True)
class StagingFolder:
    """One model's staging folder. Names in it are ours; those in `tree` were checked to stay inside."""

    path: Path

    @property
    def part(self) -> Path:
        """The partial download of a single file."""
        return self.path / "part"

    @property
    def uploaded(self) -> Path:
        return self.path / "uploaded"

    @property
    def converted(self) -> Path:
        return self.path / "converted.safetensors"

    @property
    def tree(self) -> Path:
        """The complete files of a folder."""
        return self.path / "tree"

    @property
    def ready(self) -> Path:
        """The complete, inspected model."""
        return self.path / "ready"

    def part_of(self, index: int) -> Path:
        """The partial download of one file of a folder."""
        return self.path / f"part-{index}"

    def open(self) -> None:
        """Create the folder. Raises: OSError."""
        self.path.mkdir(mode=PRIVATE, parents=True, exist_ok=True)

    def clean(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.path, ignore_errors=True)

    def clean_if_empty(self) -> None:
        """Remove the folder, unless it has files that a retry needs."""
        files = [entry for entry in self.path.rglob("*") if entry.is_file() and not _is_mark(entry)]
        if not any(entry.stat().st_size for entry in files):
            self.clean()

    def plan(self) -> Listing | None:
        """The files as listed by an earlier try, so that a retry continues with the same revision."""
        try:
            return msgspec.json.decode((self.path / "plan.json").read_bytes(), type=analyzed(Listing))
        except (OSError, msgspec.DecodeError):
            return None

    def keep_plan(self, plan: Listing) -> None:
        """Raises: OSError."""
        fresh = self.path / "plan.new"
        fresh.write_bytes(msgspec.json.encode(plan))
        fresh.replace(self.path / "plan.json")


def staging_folder_of(folder: Path, model_id: ModelId) -> StagingFolder:
    """The staging folder of this model, in the models folder."""
    return StagingFolder(folder / incoming_name(model_id))


def _is_mark(path: Path) -> bool:
    return path.suffix in (".mark", ".new") or path.name == "plan.json"
