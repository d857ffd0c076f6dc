"""A newcomer's day, on a server of its own with the models that ship: every task works as typed."""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.acceptance.patience import PATIENCE_S

pytestmark = [pytest.mark.torch, pytest.mark.slow, pytest.mark.timeout(900)]

SCRIPT = Path(__file__).parents[2] / "examples/day.sh"
TASKS = 30
SPOON = f"{sys.executable} -m api.cli.main"


@pytest.mark.exhaustive
def test_a_day_of_thirty_tasks_takes_few_commands_each() -> None:
    variables = {key: value for key, value in os.environ.items() if not key.startswith("SPOON_")}
    variables |= {"SPOON": SPOON, "PYTHON": sys.executable, "PYTHONPATH": str(SCRIPT.parents[1])}
    with tempfile.TemporaryDirectory(prefix="spoon-") as name:
        ended = subprocess.run(
            ["sh", str(SCRIPT), f"{name}/day"],
            env=variables,
            capture_output=True,
            text=True,
            timeout=8 * PATIENCE_S,
            check=False,
        )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    *tasks, total = ended.stdout.splitlines()
    commands = [int(count) for line in tasks for count in re.findall(r"^ *\d+ +(\d+) ", line)]
    assert len(commands) >= TASKS
    assert total == f"{len(commands)} tasks, {sum(commands)} commands"
    assert sum(count <= 2 for count in commands) >= TASKS - 5, "most of it is one command, or two"
