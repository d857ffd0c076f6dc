"""Hosts of one network, as network namespaces: each has an address of its own, and a cable to a switch.

Needs root and iproute2. Sources: ip-netns(8), veth(4), tc-netem(8).
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

SUBNET: Final = "10.77.0"
_IP: Final = shutil.which("ip") or "ip"
_TC: Final = shutil.which("tc") or "tc"


_ANNOUNCE: Final = """
import socket, sys
cable = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
cable.bind(("cable", 0))
own, everybody = cable.getsockname()[4], b"\\xff" * 6
address = socket.inet_aton(sys.argv[1])
request = bytes.fromhex("0001080006040001") + own + address + bytes(6) + address
cable.send(everybody + own + bytes.fromhex("0806") + request)
"""
"""An ARP announcement. Source: RFC 5227, section 2.3."""


class NotPermitted(Exception):
    """This machine does not let us make namespaces."""


@dataclass(frozen=True, slots=True)
class Host:
    """One of the hosts."""

    namespace: str
    address: str
    _switch: str
    _port: str
    """The end of its cable that is in the switch."""

    def command(self, *words: str) -> list[str]:
        """The command that runs another one on this host."""
        return [_IP, "netns", "exec", self.namespace, *words]

    def take_address(self, address: str) -> None:
        """Have another address, too, and tell the network: one that moves from host to host with its
        service.

        As keepalived does it: the others would go on sending to the host that had it before.
        """
        _run(_IP, "-n", self.namespace, "addr", "add", f"{address}/24", "dev", "cable")
        _run(*self.command(sys.executable, "-c", _ANNOUNCE, address))

    def pull_cable(self) -> None:
        """Nothing passes any more; neither side is told."""
        _run(_IP, "-n", self._switch, "link", "set", self._port, "down")

    def plug_in(self) -> None:
        _run(_IP, "-n", self._switch, "link", "set", self._port, "up")

    def worsen(self, *, delay_ms: int, loss_percent: float) -> None:
        """Delay and lose what this host sends. Raises: NotPermitted, if the kernel has no netem."""
        netem = ["netem", "delay", f"{delay_ms}ms", "loss", f"{loss_percent}%"]
        _run(_TC, "-n", self.namespace, "qdisc", "replace", "dev", "cable", "root", *netem)

    def pids(self) -> list[int]:
        """The processes that run on it."""
        told = subprocess.run(
            [_IP, "netns", "pids", self.namespace], capture_output=True, text=True, check=True
        )
        return [int(pid) for pid in told.stdout.split()]


@contextmanager
def network(names: Sequence[str]) -> Iterator[dict[str, Host]]:
    """A network of new hosts, which is gone afterwards with all that still runs there.

    Raises: NotPermitted.
    """
    mark = f"spoon{os.getpid()}"
    switch = f"{mark}-switch"
    hosts = {
        name: Host(f"{mark}-{name}", f"{SUBNET}.{number}", switch, f"port{number}")
        for number, name in enumerate(names, start=1)
    }
    made: list[str] = []
    try:
        for namespace in (switch, *(host.namespace for host in hosts.values())):
            _run(_IP, "netns", "add", namespace)
            made.append(namespace)
            _run(_IP, "-n", namespace, "link", "set", "lo", "up")
        _run(_IP, "-n", switch, "link", "add", "bridge", "type", "bridge")
        _run(_IP, "-n", switch, "link", "set", "bridge", "up")
        for host in hosts.values():
            _connect(host)
        yield hosts
    finally:
        for namespace in made:
            _end_all(namespace)
            _run(_IP, "netns", "del", namespace)


def _connect(host: Host) -> None:
    ends = ["link", "add", "cable", "netns", host.namespace, "type", "veth"]
    _run(_IP, *ends, "peer", "name", host._port, "netns", host._switch)
    _run(_IP, "-n", host._switch, "link", "set", host._port, "master", "bridge", "up")
    _run(_IP, "-n", host.namespace, "addr", "add", f"{host.address}/24", "dev", "cable")
    _run(_IP, "-n", host.namespace, "link", "set", "cable", "up")


def _end_all(namespace: str) -> None:
    told = subprocess.run([_IP, "netns", "pids", namespace], capture_output=True, text=True, check=False)
    for pid in told.stdout.split():
        subprocess.run(["kill", "-9", pid], capture_output=True, check=False)


def _run(*command: str) -> None:
    """Raises: NotPermitted."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise NotPermitted(f"{command[0]} is not installed") from error
    if done.returncode != 0:
        raise NotPermitted(f"{' '.join(command)}: {done.stderr.strip()}")
