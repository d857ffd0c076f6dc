"""Reads what a worker joins with: a ticket from an inherited pipe, or a token from a private file."""

import os
import stat
from pathlib import Path

from kernel.protocol.errors import BadConfiguration
from kernel.protocol.join import MAX_JOIN_BYTES, Join, read_join
from kernel.protocol.worker_tokens import server_key_of

_OTHERS = 0o077
MAX_TOKEN_BYTES = 4096


def from_descriptor(descriptor: int) -> Join | None:
    """Read the pipe to its end and close it. Returns: None, if it was closed empty.

    Raises: BadConfiguration, if there is no such pipe or its content is not a ticket.
    """
    try:
        with os.fdopen(descriptor, "rb") as pipe:
            data = pipe.read(MAX_JOIN_BYTES + 1)
            return _parsed(data) if data else None
    except OSError as error:
        raise BadConfiguration(f"cannot read descriptor {descriptor}: {error.strerror}") from error


def token_in(path: Path) -> str:
    """The enrollment token in a file, if no other user could have read or written it.

    Raises: BadConfiguration, if it is absent, not private to this user, or has no token.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            _check_private(path, os.fstat(descriptor))
            text = file.read(MAX_TOKEN_BYTES).decode("ascii", errors="replace").strip()
    except OSError as error:
        raise BadConfiguration(f"cannot read {path}: {error.strerror}") from error
    server_key_of(text)
    return text


def _check_private(path: Path, found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise BadConfiguration(f"{path} is not a file")
    if found.st_uid != os.geteuid():
        raise BadConfiguration(f"{path} belongs to another user: the token must be your own")
    if stat.S_IMODE(found.st_mode) & _OTHERS:
        raise BadConfiguration(f"{path} is accessible to other users: chmod 600 {path}")


def _parsed(data: bytes) -> Join:
    if len(data) > MAX_JOIN_BYTES:
        raise BadConfiguration(f"a ticket must have at most {MAX_JOIN_BYTES} bytes")
    return read_join(data)
