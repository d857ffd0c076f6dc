"""The code that runs inside a Ray cluster: an actor with one worker as its child, and a look at its capacity.

Ray gets it by value, because the Python of a cluster need not have this package: it imports the standard
library and Ray only. The child is no part of Ray. It ends when the actor's process does, however that ends,
because a guard asks the system for SIGKILL (PR_SET_PDEATHSIG) before it becomes the worker's command. The
system sends it when the *thread* that started the child ends, so that thread is the child's own.
"""

import os
import signal
import subprocess
import sys
import threading
from typing import Final

KEPT_BYTES: Final = 4096
"""The end of what the worker wrote that is told after its exit."""
READ_S: Final = 1.0
"""How long output may still come after the exit, from processes that the worker left behind."""
GUARD: Final = """
import ctypes, os, sys
ctypes.CDLL(None).prctl(1, 9, 0, 0, 0)
if os.getppid() != int(sys.argv[1]):
    os._exit(1)
try:
    os.execvp(sys.argv[2], sys.argv[2:])
except OSError as error:
    sys.exit(f"{sys.argv[2]}: {error.strerror}")
"""


class WorkerActor:
    """Runs one command and tells its exit. Methods may run at the same time."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._has_begun, self._has_ended = threading.Event(), threading.Event()
        self._tail = b""

    def start(self, command: list[str]) -> str:
        """Start the command. Returns: the name of this host."""
        threading.Thread(target=self._live, args=(command,), name="worker").start()
        self._has_begun.wait()
        return os.uname().nodename

    def wait(self) -> tuple[int, str]:
        """Wait for its end. Returns: the exit code, or minus the signal, and the end of what it wrote."""
        self._has_ended.wait()
        assert self._process is not None, "it has been started"
        return self._process.returncode, self._tail.decode(errors="replace")

    def send(self, number: int) -> None:
        """Send it a signal; after its end, nothing."""
        if self._process is not None:
            self._process.send_signal(number)

    def _live(self, command: list[str]) -> None:
        guarded = [sys.executable, "-I", "-c", GUARD, str(os.getpid()), *command]
        self._process = subprocess.Popen(
            guarded,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._has_begun.set()
        assert self._process.stdout is not None, "it is a pipe"
        output = self._process.stdout.fileno()
        reader = threading.Thread(target=self._read, args=(output,), daemon=True)
        reader.start()
        self._process.wait()
        reader.join(READ_S)
        self._has_ended.set()

    def _read(self, descriptor: int) -> None:
        """Keep the end of its output, and pass all of it on to the logs of Ray."""
        while data := os.read(descriptor, 1 << 16):
            self._tail = (self._tail + data)[-KEPT_BYTES:]
            os.write(sys.stderr.fileno(), data)


def capacity(demand: dict[str, float]) -> str:
    """Why there is no place for an actor: what the autoscaler says, or what the nodes lack."""
    import ray
    from ray.autoscaler.v2.sdk import get_cluster_status

    status = get_cluster_status(ray.get_runtime_context().gcs_address)
    for failed in status.failed_launches:
        return f"Ray could not start a node of type {failed.ray_node_type_name}: {failed.details}"
    for pending in status.pending_nodes:
        return f"Ray starts a node of type {pending.ray_node_type_name}: {pending.details or 'pending'}"
    for launch in status.pending_launches:
        nodes = "a node" if launch.count == 1 else f"{launch.count} nodes"
        return f"Ray has asked for {nodes} of type {launch.ray_node_type_name}"
    totals: dict[str, float] = {}
    for node in (*status.active_nodes, *status.idle_nodes):
        for usage in node.resource_usage.usage if node.resource_usage is not None else ():
            totals[usage.resource_name] = max(totals.get(usage.resource_name, 0.0), usage.total)
    lacking = [name for name, amount in demand.items() if totals.get(name, 0.0) < amount]
    wanted = ", ".join(f"{name} {amount:g}" for name, amount in demand.items())
    if lacking:
        return f"no node of the Ray cluster has {', '.join(lacking)} for {wanted}"
    return f"all nodes of the Ray cluster with {wanted} are busy"


SIGTERM: Final = int(signal.SIGTERM)
