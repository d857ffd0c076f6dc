"""Three hosts: a Manager on the first, and workers of a pool on the others."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from kernel.protocol.ids import EngineId
from tests.acceptance.conftest import cleaned_up, copy_of, installed
from tests.acceptance.far_host import POOL, FarHost, new_token
from tests.acceptance.orders import PLAIN, create_engine
from tests.acceptance.server import Server
from tests.hosts.network import SUBNET, Host, NotPermitted, network

__all__ = ["installed"]
SERVICE: Final = f"{SUBNET}.100"
"""The address of the Manager, on whichever host it runs."""
ENDPOINT: Final = f"tcp://{SERVICE}:7871"
WORKERS: Final = ("one", "two")


@dataclass(frozen=True, slots=True)
class Lab:
    """A server whose workers are on other hosts."""

    server: Server
    hosts: dict[str, Host]
    """`manager`, `spare`, and those of the workers."""
    workers: dict[str, FarHost]
    engine_id: EngineId


@pytest.fixture
def hosts() -> Iterator[dict[str, Host]]:
    try:
        with network(("manager", "spare", *WORKERS)) as hosts:
            yield hosts
    except NotPermitted as error:
        pytest.skip(f"no network namespaces here: {error}")


@pytest.fixture
def lab(installed: Path, hosts: dict[str, Host], tmp_path: Path) -> Iterator[Lab]:
    """A pool of two workers, each on a host of its own, and an engine that wants both."""
    with ExitStack() as stack:
        folder = stack.enter_context(copy_of(installed))
        server = stack.enter_context(cleaned_up(Server(folder)))
        hosts["manager"].take_address(SERVICE)
        server.configure(bus=f'endpoint = "{ENDPOINT}"')
        server.before = hosts["manager"].command()
        server.start()
        token = new_token(server)
        workers = {}
        for name in WORKERS:
            workers[name] = host = FarHost(tmp_path / name, ENDPOINT, hosts[name].command())
            stack.callback(host.close)
            host.takes(token)
            host.starts()
        plain = server.records.model_named(PLAIN)
        yield Lab(server, hosts, workers, create_engine(server.line, plain, pool=POOL, replicas=len(WORKERS)))
