"""What the doctor says of files of ours that are gone, or that another distribution has replaced."""

import hashlib
from base64 import urlsafe_b64encode
from pathlib import Path

import pytest

from api.installation.diagnosis import CheckResult, Verdict
from api.installation.origin import Copy
from api.installation.own_files import own_files

OURS = {"kernel/__init__.py": b"", "kernel/main.py": b"ours", "api/main.py": b"ours", "conf/keys.py": b"ours"}


def install(folder: Path, name: str, files: dict[str, bytes], origin: str | None = None) -> None:
    """As an installer does it: the files, over those that are there, and the list of them."""
    info = f"{name.replace('-', '_')}-1.0.dist-info"
    written = files | {f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n".encode()}
    if origin is not None:
        written[f"{info}/direct_url.json"] = origin.encode()
    for file, content in written.items():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(content)
    lines = [f"{file},sha256={digest(content)},{len(content)}" for file, content in written.items()]
    (folder / info / "RECORD").write_text("\n".join([*lines, f"{info}/RECORD,,", "kernel/main.pyc,,"]) + "\n")


def digest(content: bytes) -> str:
    return urlsafe_b64encode(hashlib.sha256(content).digest()).decode().rstrip("=")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    install(tmp_path, "automatic-spoon", OURS, '{"url": "file:///wheels/ours.whl", "archive_info": {}}')
    (tmp_path / "kernel/main.pyc").touch()
    return tmp_path


def looked(folder: Path) -> CheckResult:
    return own_files([str(folder)])


def test_files_as_they_were_installed_are_fine(folder: Path) -> None:
    install(folder, "other", {"other/main.py": b""})
    assert (looked(folder).verdict, looked(folder).found) == (Verdict.OK, "8, as they were installed")


def test_a_command_is_not_compared_since_installers_edit_it(tmp_path: Path) -> None:
    folder = tmp_path / "lib"
    install(folder, "automatic-spoon", OURS | {"../bin/spoon": b"#!python"})
    (folder / "kernel/main.pyc").touch()
    (tmp_path / "bin/spoon").write_bytes(b"#!python -E")
    assert looked(folder).verdict is Verdict.OK


@pytest.mark.parametrize("origin", ['{"url": "file:///x", "dir_info": {"editable": true}}', None])
def test_a_checkout_is_not_compared(tmp_path: Path, origin: str | None) -> None:
    if origin is not None:
        install(tmp_path, "automatic-spoon", OURS, origin)
        (tmp_path / "kernel/main.py").unlink()
    assert (looked(tmp_path).verdict, looked(tmp_path).found) == (Verdict.OK, "those of a checkout")


def test_without_a_list_nothing_can_be_compared(folder: Path) -> None:
    (folder / "automatic_spoon-1.0.dist-info/RECORD").unlink()
    assert (looked(folder).verdict, "no list" in looked(folder).found) == (Verdict.OK, True)


def test_a_file_that_another_distribution_has_replaced_is_told_with_its_name_and_the_way_out(
    folder: Path,
) -> None:
    install(folder, "kernel", {"kernel/__init__.py": b"theirs"})
    found = looked(folder)
    assert found.verdict is Verdict.MISSING
    told = "kernel/__init__.py is also a file of kernel 1.0, which needs another environment"
    assert found.found == told
    assert found.remedy == Copy.running().repair(["kernel"])


def test_a_file_that_another_distribution_lists_but_has_not_changed_is_fine(folder: Path) -> None:
    install(folder, "kernel", {"kernel/__init__.py": OURS["kernel/__init__.py"]})
    assert looked(folder).verdict is Verdict.OK


def test_missing_and_changed_files_are_told_and_many_are_counted(folder: Path) -> None:
    (folder / "api/main.py").unlink()
    (folder / "kernel/main.py").write_bytes(b"mine")
    assert looked(folder).found == "api/main.py is missing; kernel/main.py was changed"
    assert looked(folder).remedy == Copy.running().repair([])
    for name in ("conf/keys.py", "kernel/__init__.py"):
        (folder / name).unlink()
    assert looked(folder).found.endswith("; kernel/__init__.py is missing; 1 more")
