"""Folders of models, as people have them, and what a scan says of them."""

import json
from collections.abc import Sequence
from pathlib import Path

from engine_worker.fetch.scanning.scanner import Scanner
from engine_worker.port import ScanReport
from kernel.protocol.enums import ModelBase, ModelType
from kernel.protocol.worker import FileScanned, ScanBegun, ScanFolders
from tests.unit.worker.model_files import Shapes, lora, write_safetensors

OPEN_LORA: Shapes = lora("lora_unet_down_blocks_1_attentions_0_proj_in", 64)
"""None of its layers tells the base."""
PNG = b"\x89PNG\r\n\x1a\n and so on"
JPEG = b"\xff\xd8\xff\xe0 and so on"
WEBP = b"RIFF\x10\0\0\0WEBPVP8 "


def reports(
    *folders: Path, roots: Sequence[Path] | None = None, known: Sequence[int] = ()
) -> list[ScanReport]:
    """All reports of a scan; `roots` are the folders themselves by default."""
    order = ScanFolders(folders=tuple(map(str, folders)), known=tuple(known))
    return list(Scanner(folders if roots is None else roots).scan(order))


def begun(*folders: Path, roots: Sequence[Path] | None = None, known: Sequence[int] = ()) -> ScanBegun:
    first = reports(*folders, roots=roots, known=known)[0]
    assert isinstance(first, ScanBegun)
    return first


def scanned(*folders: Path, roots: Sequence[Path] | None = None) -> dict[str, FileScanned]:
    """What each file was found to be, by its path below the first folder."""
    found = [report for report in reports(*folders, roots=roots) if isinstance(report, FileScanned)]
    by_path = {report.path.removeprefix(f"{folders[0]}/"): report for report in found}
    assert len(by_path) == len(found), "each file is reported once"
    return by_path


def usable(*folders: Path) -> dict[str, tuple[ModelType, ModelBase | None]]:
    """The types and bases of what can be used."""
    return {
        path: (one.fingerprint.model_type, one.fingerprint.model_base)
        for path, one in scanned(*folders).items()
        if one.fingerprint is not None
    }


def the_one(folder: Path) -> FileScanned:
    """What the only candidate of a folder was found to be."""
    (found,) = scanned(folder).values()
    return found


def stamps(*folders: Path) -> dict[str, int]:
    return {path: one.stamp for path, one in scanned(*folders).items()}


def lora_file(path: Path, word: str = "") -> Path:
    """A LoRA whose base its content leaves open."""
    metadata = {"modelspec.trigger_phrase": word} if word else None
    return write_safetensors(path, OPEN_LORA, metadata=metadata)


def write(path: Path, content: object) -> Path:
    """A file with these bytes, or this value as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return path
