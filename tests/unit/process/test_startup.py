"""What a process does so that nobody else reads what it makes or holds."""

import os
import subprocess
import sys
from pathlib import Path

READ = """
import os
from pathlib import Path
from kernel.process.startup import forget_variable
forget_variable("SECRET")
forget_variable("ABSENT")
print("SECRET" in os.environ, os.environ["OTHER"], b"hf_secret" in Path("/proc/self/environ").read_bytes())
print(b"beside" in Path("/proc/self/environ").read_bytes())
"""
HIDE = """
import ctypes
from kernel.process.startup import hide_memory
hide_memory()
print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))
"""
MAKE = """
import sys
from pathlib import Path
from kernel.process.startup import make_files_private
make_files_private()
Path(sys.argv[1], "file").touch()
Path(sys.argv[1], "folder").mkdir()
"""


def printed(program: str, *arguments: str, **variables: str) -> str:
    command = [sys.executable, "-c", program, *arguments]
    ended = subprocess.run(
        command, capture_output=True, text=True, check=True, env={**os.environ, **variables}, umask=0
    )
    return ended.stdout


def test_a_variable_that_was_forgotten_is_also_gone_from_what_the_system_shows() -> None:
    assert printed(READ, SECRET="hf_secret", OTHER="beside") == "False beside False\nTrue\n"


def test_a_process_that_hides_its_memory_leaves_no_core_dump() -> None:
    assert printed(HIDE) == "0\n"


def test_what_is_made_is_the_owners_alone(tmp_path: Path) -> None:
    printed(MAKE, str(tmp_path))
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    assert modes == {"file": 0o600, "folder": 0o700}
