"""The CURVE key pairs of the Manager and of the client roles: made once, kept in the private bus folder."""

import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import zmq
import zmq.auth

from kernel.protocol.endpoints import SERVER_KEY_NAME, ClientRole, secret_key_file
from kernel.protocol.errors import BadConfiguration

_PRIVATE: Final = 0o077


def ensure_key_pair(bus_folder: Path, name: str) -> tuple[bytes, bytes]:
    """The public and the secret key (Z85) of a name, made if they are not there yet.

    Raises: BadConfiguration, if the key file cannot be read as one.
    """
    file = secret_key_file(bus_folder, name)
    if not file.exists():
        _make(bus_folder, name)
    try:
        public, secret = zmq.auth.load_certificate(file)
    except (OSError, ValueError) as error:
        raise BadConfiguration(f"{file} is not a key file: delete it to have a new one made") from error
    if secret is None:
        raise BadConfiguration(f"{file} has no secret key: delete it to have a new one made")
    return public, secret


def _make(bus_folder: Path, name: str) -> None:
    """Clients look into the folder at any time: they find a whole key, or none. The secret half comes last,
    since a pair is taken for made once it is there."""
    old_umask = os.umask(_PRIVATE)
    try:
        with TemporaryDirectory(dir=bus_folder) as place:
            for made in map(Path, zmq.auth.create_certificates(place, name)):
                with made.open("rb") as file:
                    os.fsync(file.fileno())
                made.replace(bus_folder / made.name)
    finally:
        os.umask(old_umask)


def ensure_all(bus_folder: Path) -> tuple[tuple[bytes, bytes], dict[ClientRole, bytes]]:
    """The Manager's key pair, and the public key of each client role."""
    roles = {role: ensure_key_pair(bus_folder, role.value)[0] for role in ClientRole}
    return ensure_key_pair(bus_folder, SERVER_KEY_NAME), roles
