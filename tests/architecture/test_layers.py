"""Who may import whom, and what must never be in a process."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.architecture.source_files import PACKAGES, ROOT

ENGINE = {"torch", "diffusers", "transformers", "numpy", "PIL", "onnxruntime"}
DATABASE = {"apsw", "sqlite3"}
HTTP_SERVER = {"falcon", "waitress"}
HTTP_CLIENT = {"httpx"}

ENTRIES = {
    "kernel.main": ENGINE | HTTP_SERVER | HTTP_CLIENT | {"api", "engine_worker", "sqlite3"},
    "api.main": ENGINE | HTTP_CLIENT | {"kernel.core", "kernel.shell", "engine_worker", "sqlite3"},
    "engine_worker.main": ENGINE
    | DATABASE
    | HTTP_SERVER
    | {"api", "asyncio", "kernel.core", "kernel.shell", "kernel.views"},
    "api.cli.main": ENGINE | DATABASE | HTTP_SERVER | HTTP_CLIENT | {"zmq", "kernel.core", "kernel.shell"},
}


def test_the_import_contracts_of_setup_cfg_are_kept() -> None:
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout


@pytest.mark.parametrize("entry", ENTRIES)
def test_a_process_starts_without_what_it_must_not_have(entry: str) -> None:
    code = f"import sys, {entry}; print(*sys.modules)"
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    assert sorted(ENTRIES[entry] & set(ended.stdout.split())) == []


def test_no_source_file_uses_the_sqlite_of_the_standard_library() -> None:
    """It is an older SQLite than the one that comes with apsw, with a bug that can damage WAL databases."""
    sources = [path for name in PACKAGES for path in (ROOT / name).rglob("*.py")]
    assert [path for path in sources if "import sqlite3" in path.read_text(encoding="utf-8")] == []


def test_the_package_files_are_empty() -> None:
    found = [path for name in PACKAGES for path in (ROOT / name).rglob("__init__.py")]
    assert found != []
    assert [path for path in found if path.stat().st_size > 0] == []
