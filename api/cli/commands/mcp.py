"""`spoon mcp`: lets agents make images, by the Model Context Protocol."""

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import click

from api.cli.context import Invocation
from api.cli.exit_codes import Refusal
from api.installation.features import mcp_command
from kernel.protocol.errors import KeyMissing, NotInstalled

if TYPE_CHECKING:
    from api.mcp.backend import Backend
    from api.mcp.http_server import Listener


@click.command()
@click.option(
    "--http",
    "port",
    type=click.IntRange(0, 65_535),
    metavar="PORT",
    help="Serve by HTTP on this port, at /mcp, rather than on stdin and stdout. 0: any free port.",
)
@click.option(
    "--host", default="127.0.0.1", show_default=True, help="The address for --http; others need API keys."
)
@click.option(
    "--allowed-host",
    "allowed_hosts",
    multiple=True,
    metavar="NAME",
    help="Another name by which clients call this machine, for --http. May be repeated.",
)
@click.option(
    "--files",
    "folders",
    multiple=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="A folder whose images may be edited by their paths; not with --http. May be repeated.",
)
@click.pass_obj
def mcp(
    invocation: Invocation,
    port: int | None,
    host: str,
    allowed_hosts: tuple[str, ...],
    folders: tuple[Path, ...],
) -> None:
    """Let agents make images, by the Model Context Protocol (MCP).

    A host such as Claude Desktop starts this command and talks to it on stdin and stdout. It uses the running
    server as all commands do, with the key of --key-file, SPOON_KEY or SPOON_KEY_FILE. With --http each
    client sends its own key, as `Authorization: Bearer KEY`.

    \b
    Examples:
      spoon mcp
      spoon mcp --files ~/Pictures
      spoon --url http://art.example:7870 --key-file me.key mcp
      spoon mcp --http 7880
    """
    if find_spec("mcp") is None:
        raise NotInstalled(f"`spoon mcp` needs one more set of packages: {mcp_command()}")
    if port is not None and folders:
        raise click.UsageError("--files cannot be used with --http: a client there may be anybody")
    from api.mcp.backend import Backend
    from api.mcp.server import server_of

    if port is None:
        server_of(Backend(invocation.base_url, invocation.key(), folders)).run("stdio")
        return
    _serve(invocation, Backend(invocation.base_url), host, port, allowed_hosts)


def _serve(
    invocation: Invocation, backend: "Backend", host: str, port: int, allowed_hosts: tuple[str, ...]
) -> None:
    from api.mcp.http_server import Listener
    from api.mcp.server import server_of

    with Listener(host, port) as listener:
        _check_keys(invocation, listener)
        if invocation.key() is not None:
            click.echo("spoon: note: with --http every client sends its own key; yours is not used", err=True)
        click.echo(f"MCP is served at {listener.url}", err=True)
        listener.serve(server_of(backend), allowed_hosts)


def _check_keys(invocation: Invocation, listener: "Listener") -> None:
    """Raises: UsageError, if other machines could use a server that asks nobody for a key."""
    from api.cli.client.rest import Rest

    if listener.is_loopback:
        return
    try:
        with Rest(invocation.base_url()) as rest:
            rest.get("/v1/session")
    except Refusal as refusal:
        if refusal.problem.code == KeyMissing.code:
            return
        raise
    raise click.UsageError(
        "the server has no API keys: everybody who reaches this address could use all of it. Make one with "
        "`spoon keys create`, or leave out --host"
    )
