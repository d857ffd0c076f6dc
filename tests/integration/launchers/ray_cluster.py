"""A Ray cluster of three nodes on this machine, in a process of its own: `python -m ...ray_cluster`.

It prints its address, and obeys lines on stdin: `add NAME` and `remove NAME` a node that has one `NAME`,
without a farewell; it answers with a line each time, and ends with stdin.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Final

NODES: Final = ("steady", "brittle")
"""Besides the head, which takes no workers: what each has one of, ten of the first."""
PYTHON: Final = (sys.executable, "-m", "tests.integration.launchers.ray_cluster")


@dataclass
class RayCluster:
    """The test's side."""

    address: str
    _process: "subprocess.Popen[str]"

    def add(self, name: str) -> None:
        self._say(f"add {name}")

    def remove(self, name: str) -> None:
        """Kill a node at once."""
        self._say(f"remove {name}")

    def _say(self, line: str) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()
        assert self._process.stdout.readline() == "done\n"


@contextmanager
def ray_cluster() -> Iterator[RayCluster]:
    """A running cluster. Whatever is left of it in the end is killed."""
    environ = {**os.environ, "RAY_USAGE_STATS_ENABLED": "0"}
    process = subprocess.Popen(
        PYTHON,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environ,
        start_new_session=True,
    )
    try:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        assert address, "the cluster did not start"
        yield RayCluster(address, process)
    finally:
        process.communicate()
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def main() -> None:
    out = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    steady, brittle = NODES
    nodes = {
        steady: cluster.add_node(num_cpus=10, resources={steady: 10}),
        brittle: cluster.add_node(num_cpus=1, resources={brittle: 1}),
    }
    print(cluster.address, file=out)
    for line in sys.stdin:
        verb, name = line.split()
        if verb == "add":
            nodes[name] = cluster.add_node(num_cpus=1, resources={name: 1})
        else:
            cluster.remove_node(nodes.pop(name), allow_graceful=False)
        print("done", file=out)
    cluster.shutdown()


if __name__ == "__main__":
    main()
