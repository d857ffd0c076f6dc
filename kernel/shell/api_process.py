"""The API process that the Manager runs as a child."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from kernel.shell.launchers.local import SubprocessLauncher, python_module

NAME: Final = "api"


@dataclass(frozen=True, slots=True)
class ApiProcess:
    """`python -m api.main` with the Manager's configuration; it ends when the Manager does."""

    launcher: SubprocessLauncher
    config_file: Path | None

    def start(self) -> None:
        """Raises: OSError, if it cannot be started."""
        command = [*python_module("api.main"), "--parent-pid", str(os.getpid())]
        if self.config_file is not None:
            command += ["--config", str(self.config_file)]
        self.launcher.start(NAME, command, is_logged=False)

    def terminate(self) -> None:
        self.launcher.terminate(NAME)

    def kill(self) -> None:
        self.launcher.kill(NAME)
