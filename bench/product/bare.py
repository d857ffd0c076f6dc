"""The bare loop, asked through its pipes: no server, but the floor of one."""

import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.product.checkpoint import Checkpoint
from bench.product.job import Job
from bench.product.servers import tail


class Bare:
    """It can be asked at once; it reads its input when it has loaded."""

    name = "bare"

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._checkpoint = checkpoint

    def prepare(self, folder: Path) -> None:
        """Nothing: its checkpoint and configurations are there."""

    def start(self, folder: Path) -> "BareLoop":
        made, log = self._checkpoint, folder / "bare.log"
        command = [sys.executable, "-m", "bench.product.bare_loop", str(made.file), str(made.configurations)]
        with log.open("ab") as output:
            process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=output, env=os.environ
            )
        return BareLoop(process, folder / "bare.png", log)


@dataclass(frozen=True, slots=True)
class BareLoop:
    """It makes one picture after the other."""

    process: "subprocess.Popen[bytes]"
    path: Path
    log: Path
    worker_word: str = ""

    def make(self, job: Job) -> bytes:
        """Raises: SystemExit, if it has ended."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps({**asdict(job), "path": str(self.path)}).encode() + b"\n")
        self.process.stdin.flush()
        if not self.process.stdout.readline():
            raise SystemExit(f"the bare loop came to an end:\n{tail(self.log)}")
        return self.path.read_bytes()

    def hang_up(self) -> None:
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()
