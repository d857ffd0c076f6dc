"""The global options of one `spoon` call: which configuration, which server."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from conf.installation import Installation, locate
from conf.load import KEY_FILE_VARIABLE, KEY_VARIABLE, URL_VARIABLE, settings_of
from conf.settings import Settings
from kernel.protocol.endpoints import API_URL_FILE

if TYPE_CHECKING:
    from api.cli.client.bus import ManagerConnection
    from api.cli.client.rest import Rest

_ANY_ADDRESS: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}


@dataclass(frozen=True)
class Invocation:
    """The global options, and connections to the server that they select."""

    config: Path | None
    url: str | None
    environ: Mapping[str, str]
    key_file: Path | None = None

    @cached_property
    def installation(self) -> Installation:
        """The configuration file and folders that are meant. Raises: BadConfiguration."""
        return locate(self.config, self.environ)

    def settings(self) -> Settings:
        """The configuration; a person is told once if it belongs to the current folder only.

        Raises: BadConfiguration.
        """
        return self._told_settings

    @cached_property
    def _told_settings(self) -> Settings:
        settings = settings_of(self.installation, self.environ)
        if (notice := self.installation.notice()) and _is_for_a_person():
            click.echo(f"spoon: {notice}", err=True)
        return settings

    def base_url(self) -> str:
        """The API's URL: --url, SPOON_URL, the one that the API wrote to a file, or the configured one."""
        return self.named_url() or local_url(self.settings())

    def named_url(self) -> str | None:
        """The API's URL, if --url or SPOON_URL names one."""
        return self.url or self.environ.get(URL_VARIABLE)

    def rest(self, timeout_s: float | None = None) -> "Rest":
        """A client of the REST API, to be closed; without a timeout, it has the patience of a command."""
        from api.cli.client.rest import TIMEOUT_S, Rest

        return Rest(self.base_url(), TIMEOUT_S if timeout_s is None else timeout_s, self.key())

    def key(self) -> str | None:
        """The API key: of --key-file, SPOON_KEY, or the file in SPOON_KEY_FILE.

        Raises: UsageError, if it cannot be one; OSError, if the file cannot be read.
        """
        named = self.environ.get(KEY_FILE_VARIABLE)
        file = self.key_file or (None if KEY_VARIABLE in self.environ or not named else Path(named))
        text = self.environ.get(KEY_VARIABLE, "") if file is None else file.read_text(errors="replace")
        if not (text := text.strip()):
            return None
        if not (text.isascii() and text.isprintable() and " " not in text):
            raise click.UsageError(
                f"{KEY_VARIABLE if file is None else file} has no API key: one line, spoon_..."
            )
        return text

    def manager(self) -> "ManagerConnection":
        """A connection to the Manager over the bus, to be closed. Raises: ManagerUnreachable."""
        from api.cli.client.bus import ManagerConnection

        return ManagerConnection(self.settings().bus_folder)


def _is_for_a_person() -> bool:
    """False for a command with --json, and for one that only completes a word."""
    context = click.get_current_context(silent=True)
    return context is not None and not (context.resilient_parsing or context.params.get("as_json"))


def local_url(settings: Settings) -> str:
    """The URL of this installation's API, as far as this machine knows."""
    return written_url(settings) or configured_url(settings)


def written_url(settings: Settings) -> str:
    """The URL that the API wrote to a file when it started, as this machine reaches it; empty without one."""
    try:
        url = (settings.bus_folder / API_URL_FILE).read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""
    for every, loopback in _ANY_ADDRESS.items():
        url = url.replace(f"//{_in_url(every)}:", f"//{_in_url(loopback)}:")
    return url


def configured_url(settings: Settings) -> str:
    """The URL under which this machine reaches the API's configured address."""
    host = _ANY_ADDRESS.get(settings.server.host, settings.server.host)
    return f"http://{_in_url(host)}:{settings.server.port}"


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host
