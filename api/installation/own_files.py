"""Whether the files of this program are the ones that were installed.

All distributions of an environment share one folder. If another one also has a top-level package `kernel`,
`api`, `conf` or `engine_worker`, its files replace ours without a word.
"""

import csv
import hashlib
from base64 import urlsafe_b64encode
from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Final

import msgspec

from api.installation.diagnosis import CheckResult, Verdict
from api.installation.origin import Copy
from kernel.protocol.type_info import analyzed

_NAME: Final = "automatic-spoon"
_MAX_NAMED: Final = 3


class _Origin(msgspec.Struct, frozen=True):
    """How a distribution was installed (PEP 610), as far as it matters here."""

    dir_info: dict[str, bool] = {}


def own_files(path: Sequence[str] | None = None) -> CheckResult:
    """Compare the files with the list that the installer wrote (RECORD).

    `path`: the folders with distributions; None: those that Python imports from.
    """
    everything = list(metadata.distributions() if path is None else metadata.distributions(path=list(path)))
    ours = next((one for one in everything if one.name == _NAME), None)
    if ours is None or _is_editable(ours):
        return _fine("those of a checkout")
    record = ours.read_text("RECORD")
    if record is None:
        return _fine("its installer has left no list of them")
    listed = list(_listed(record))
    faults = {str(file): fault for file in listed if (fault := _fault(ours, file))}
    if not faults:
        return _fine(f"{len(listed)}, as they were installed")
    rivals = {str(file): one for one in everything if one is not ours for file in one.files or ()}
    owners = {name: rivals[name] for name in faults if name in rivals}
    return CheckResult(
        subject="own files",
        verdict=Verdict.MISSING,
        found=_told(faults, owners),
        remedy=Copy.running().repair(sorted({one.name for one in owners.values()})),
    )


def _fine(found: str) -> CheckResult:
    return CheckResult(subject="own files", verdict=Verdict.OK, found=found)


def _is_editable(ours: metadata.Distribution) -> bool:
    text = ours.read_text("direct_url.json") or "{}"
    return msgspec.json.decode(text, type=analyzed(_Origin)).dir_info.get("editable", False)


def _listed(record: str) -> Iterator[metadata.PackagePath]:
    """The files of a RECORD. From Python 3.12 on `Distribution.files` leaves out those that are missing."""
    for name, digest, _ in csv.reader(record.splitlines()):
        file = metadata.PackagePath(name)
        file.hash = metadata.FileHash(digest) if digest else None
        yield file


def _fault(ours: metadata.Distribution, file: metadata.PackagePath) -> str | None:
    """What became of a file that is not as it was installed."""
    if file.parts[0] == "..":
        return None  # a command, which pipx and others edit
    place = Path(str(ours.locate_file(file)))
    if not place.is_file():
        return "is missing"
    if file.hash is not None and _digest(place, file.hash.mode) != file.hash.value:
        return "was changed"
    return None


def _digest(place: Path, mode: str) -> str:
    """As RECORD has it: in base64 without its padding. Source: packaging.python.org, "Recording installed
    projects"."""
    with place.open("rb") as stream:
        return urlsafe_b64encode(hashlib.file_digest(stream, mode).digest()).decode().rstrip("=")


def _told(faults: Mapping[str, str], owners: Mapping[str, metadata.Distribution]) -> str:
    """Files of other distributions come first."""
    names = sorted(faults, key=lambda name: (name not in owners, name))
    told = [
        f"{name} {_whose(owners[name]) if name in owners else faults[name]}" for name in names[:_MAX_NAMED]
    ]
    more = [f"{len(names) - _MAX_NAMED} more"] if len(names) > _MAX_NAMED else []
    return "; ".join([*told, *more])


def _whose(owner: metadata.Distribution) -> str:
    return f"is also a file of {owner.name} {owner.version}, which needs another environment"
