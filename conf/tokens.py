"""Access tokens: models.tokens names the source of each token and the host that it is for."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from kernel.protocol.errors import BadConfiguration

MAX_TOKEN: Final = 4_096
_ENTRY: Final = re.compile(r"(?P<host>[^\s=/@]+)=(?P<kind>env|file):(?P<place>\S.*)")
_PRINTABLE: Final = re.compile(r"[\x21-\x7e]+")


def read_tokens(entries: Sequence[str], environ: Mapping[str, str]) -> dict[str, str]:
    """The tokens by host (`name` or `name:port`, in lower case).

    Raises: BadConfiguration, if an entry is not `host=env:NAME` or `host=file:PATH`, or its source has no
    token; the message never quotes one.
    """
    tokens: dict[str, str] = {}
    for entry in entries:
        found = _ENTRY.fullmatch(entry.strip())
        if found is None:
            raise BadConfiguration(
                'models.tokens: entries must be "host=env:NAME" or "host=file:PATH", '
                'e.g. "huggingface.co=env:HF_TOKEN"'
            )
        host: str = found["host"].lower()
        if host in tokens:
            raise BadConfiguration(f"models.tokens: {host} is listed twice")
        tokens[host] = _read(host, found["kind"], found["place"], environ)
    return tokens


def token_variables(entries: Sequence[str]) -> tuple[str, ...]:
    """The environment variables that hold tokens, once each."""
    found = (_ENTRY.fullmatch(entry.strip()) for entry in entries)
    return tuple(dict.fromkeys(one["place"] for one in found if one is not None and one["kind"] == "env"))


def _read(host: str, kind: str, place: str, environ: Mapping[str, str]) -> str:
    if kind == "env":
        what, token = f"environment variable {place}", environ.get(place, "")
    else:
        what, token = place, _read_file(host, Path(place).expanduser())
    token = token.strip()
    if len(token) > MAX_TOKEN or not _PRINTABLE.fullmatch(token):
        raise BadConfiguration(f"models.tokens: {what} contains no valid token for {host}")
    return token


def _read_file(host: str, path: Path) -> str:
    try:
        with path.open(encoding="ascii", errors="replace") as file:
            return file.read(MAX_TOKEN + 2)
    except OSError as error:
        raise BadConfiguration(
            f"models.tokens: cannot read the token for {host} from {path}: {error.strerror}"
        ) from error
