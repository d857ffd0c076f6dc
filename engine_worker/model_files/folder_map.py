"""Shared folders by mapping: where this host has the folders that models are registered in."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from kernel.protocol.errors import BadConfiguration
from kernel.protocol.sources import local_path

_MAPPING: Final = re.compile(r"(?P<there>/[^=]*)=(?P<here>/.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Mapping:
    """A folder of the Manager's host, and the same one on this host."""

    there: PurePosixPath
    here: Path


def parse_mapping(text: str) -> Mapping:
    """Parse `/models=/mnt/models`.

    Raises: BadConfiguration, unless both are absolute paths.
    """
    found = _MAPPING.fullmatch(text)
    if found is None:
        raise BadConfiguration(f"--map {text}: must be FOLDER=FOLDER, two absolute paths: there, and here")
    return Mapping(PurePosixPath(found["there"]), Path(found["here"]))


def mapped(uri: str, mappings: Sequence[Mapping]) -> Path | None:
    """The path on this host of a `file://` address in a mapped folder; the longest of them counts."""
    path = local_path(uri)
    if path is None:
        return None
    fitting = [mapping for mapping in mappings if path.is_relative_to(mapping.there)]
    if not fitting:
        return None
    best = max(fitting, key=lambda mapping: len(mapping.there.parts))
    return best.here / path.relative_to(best.there)
