"""The wheel of the next version: that of this one, with another number and one more step of the schema."""

import hashlib
import zipfile
from base64 import urlsafe_b64encode
from pathlib import Path
from typing import Final

from kernel.protocol.version import VERSION
from kernel.shell.store import migrations

NEXT: Final = "99.0.0"
_INFO: Final = f"automatic_spoon-{VERSION}.dist-info/"
_STEP: Final = "CREATE TABLE only_in_the_next_version (one INTEGER) STRICT;\n"


def write_next_version(wheel: Path, folder: Path) -> Path:
    """Returns: the new wheel. Source: packaging.python.org, "Binary distribution format"."""
    with zipfile.ZipFile(wheel) as archive:
        files = {name: archive.read(name) for name in archive.namelist() if name != f"{_INFO}RECORD"}
    info = _INFO.replace(VERSION, NEXT)
    files = {name.replace(_INFO, info): content for name, content in files.items()}
    for name in (f"{info}METADATA", "kernel/protocol/version.py"):
        assert VERSION.encode() in files[name]
        files[name] = files[name].replace(VERSION.encode(), NEXT.encode(), 1)
    files[f"kernel/shell/migrations/{len(migrations()) + 1:04}_next.sql"] = _STEP.encode()
    record = f"{info}RECORD"
    lines = [f"{name},sha256={_digest(content)},{len(content)}\n" for name, content in files.items()]
    files[record] = "".join([*lines, f"{record},,\n"]).encode()
    target = folder / f"automatic_spoon-{NEXT}-py3-none-any.whl"
    with zipfile.ZipFile(target, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    target.chmod(0o644)
    return target


def _digest(content: bytes) -> str:
    return urlsafe_b64encode(hashlib.sha256(content).digest()).decode().rstrip("=")
