"""A host of the Model Context Protocol: the client of the `mcp` package, used from a test's own thread."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryFile
from typing import Final

import httpx2
from anyio.from_thread import BlockingPortal, start_blocking_portal
from mcp.client.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client
from mcp_types import CallToolResult, ImageContent, ReadResourceResult, ResourceLink, TextContent

from tests.acceptance.patience import PATIENCE_S, wait_for
from tests.acceptance.processes import MARK, environment

_URL: Final = re.compile(r"MCP is served at (\S+)")


@dataclass(frozen=True)
class Told:
    """The progress that a call has reported."""

    shares: list[float] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)

    async def __call__(self, progress: float, total: float | None, message: str | None) -> None:
        assert total == 1.0
        self.shares.append(progress)
        self.messages.append(message or "")


@dataclass(frozen=True)
class Host:
    """One connection."""

    portal: BlockingPortal
    client: Client

    def call(self, tool: str, told: Told | None = None, **arguments: object) -> CallToolResult:
        """The result of a tool, whether or not it is an error."""
        ask = partial(self.client.call_tool, tool, arguments, PATIENCE_S, told)
        return self.portal.call(ask)

    def said(self, tool: str, **arguments: object) -> str:
        """The text of a result that is no error."""
        result = self.call(tool, **arguments)
        assert not result.is_error, text_of(result)
        return text_of(result)

    def read(self, uri: str) -> ReadResourceResult:
        return self.portal.call(self.client.read_resource, uri)


def text_of(result: CallToolResult) -> str:
    return "\n".join(block.text for block in result.content if isinstance(block, TextContent))


def images_of(result: CallToolResult) -> list[ImageContent]:
    return [block for block in result.content if isinstance(block, ImageContent)]


def links_of(result: CallToolResult) -> list[ResourceLink]:
    return [block for block in result.content if isinstance(block, ResourceLink)]


def job_in(text: str) -> str:
    """The id of the job that an answer is about."""
    found = re.search(r"[Jj]ob ([0-9a-f-]{36})", text)
    assert found is not None, text
    return found[1]


@contextmanager
def on_stdio(
    options: Sequence[str], folder: Path, variables: Mapping[str, str] | None = None, *, mode: str = "auto"
) -> Iterator[Host]:
    """A host that has started `spoon` with these options, which end with those of `mcp`."""
    parameters = StdioServerParameters(
        command=sys.executable,
        args=["-m", "api.cli.main", *options],
        env=_environ(folder, variables),
    )
    with TemporaryFile("w+") as log, _connected(stdio_client(parameters, errlog=log), mode) as host:
        yield host


@contextmanager
def by_http(url: str, key: str | None = None, *, mode: str = "auto") -> Iterator[Host]:
    """A host that talks to a server at this URL."""
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    client = httpx2.AsyncClient(headers=headers, timeout=PATIENCE_S, trust_env=False)
    with _connected(streamable_http_client(url, http_client=client), mode) as host:
        yield host
        host.portal.call(client.aclose)


@contextmanager
def _connected(transport: object, mode: str) -> Iterator[Host]:
    with ExitStack() as stack:
        portal = stack.enter_context(start_blocking_portal())
        client = Client(transport, mode=mode, cache=None)  # type: ignore[arg-type]
        yield Host(portal, stack.enter_context(portal.wrap_async_context_manager(client)))


@contextmanager
def served(
    options: Sequence[str],
    folder: Path,
    variables: Mapping[str, str] | None = None,
    more: Sequence[str] = (),
) -> Iterator[str]:
    """`spoon ... mcp --http 0 ...` as a process of its own. Yields: its URL."""
    log = folder / f"mcp-{os.urandom(4).hex()}.log"
    command = [sys.executable, "-m", "api.cli.main", *options, "mcp", "--http", "0", *more]
    with log.open("wb") as errors:
        process = subprocess.Popen(command, stdout=errors, stderr=errors, env=_environ(folder, variables))
    try:
        yield wait_for("the MCP server", lambda: _url_in(log, process))
    finally:
        process.terminate()
        process.wait(PATIENCE_S)


def _environ(folder: Path, variables: Mapping[str, str] | None) -> dict[str, str]:
    """Without the mark of the server's processes: it is none of them."""
    plain = {name: value for name, value in environment(folder).items() if name != MARK}
    return plain | dict(variables or {})


def _url_in(log: Path, process: "subprocess.Popen[bytes]") -> str | None:
    said = log.read_text()
    assert process.poll() is None, said
    found = _URL.search(said)
    return found and found[1]
