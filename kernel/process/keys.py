"""The CURVE keys in the private bus folder: created once by the Manager, and read by its clients."""

import hmac
import os
import secrets
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import zmq
import zmq.auth

from kernel.process.dealer import CurveKeys, Dealer, DealerContext, DealerOptions
from kernel.protocol.endpoints import (
    SERVER_KEY_NAME,
    ClientRole,
    front_endpoint,
    secret_key_file,
    server_key_file,
)
from kernel.protocol.errors import BadConfiguration

_PRIVATE: Final = 0o077
MASTER_KEY_FILE: Final = "callbacks.key_secret"
MASTER_KEY_BYTES: Final = 32


def ensure_key_pair(bus_folder: Path, name: str) -> tuple[bytes, bytes]:
    """The public and the secret key (Z85) of a name, created on first use.

    Raises: BadConfiguration, if the key file is malformed.
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
    """Write both files so that a client never sees a partial key. The secret file comes last, because its
    presence means that the pair is complete."""
    old_umask = os.umask(_PRIVATE)
    try:
        with TemporaryDirectory(dir=bus_folder) as place:
            for made in map(Path, zmq.auth.create_certificates(place, name)):
                with made.open("rb") as file:
                    os.fsync(file.fileno())
                made.replace(bus_folder / made.name)
    finally:
        os.umask(old_umask)


def ensure_master_key(bus_folder: Path) -> bytes:
    """The key that the secrets of callbacks are derived from (adr/0069), created on first use. Secret.

    Raises: BadConfiguration, if its file is malformed.
    """
    file = bus_folder / MASTER_KEY_FILE
    if not file.exists():
        with TemporaryDirectory(dir=bus_folder) as place:
            made = Path(place) / MASTER_KEY_FILE
            made.touch(mode=0o600)
            with made.open("w", encoding="ascii") as writing:
                writing.write(f"{secrets.token_hex(MASTER_KEY_BYTES)}\n")
                writing.flush()
                os.fsync(writing.fileno())
            made.replace(file)
    try:
        key = bytes.fromhex(file.read_text(encoding="ascii").strip())
    except (OSError, ValueError) as error:
        raise _no_master_key(file) from error
    if len(key) != MASTER_KEY_BYTES:
        raise _no_master_key(file)
    return key


def _no_master_key(file: Path) -> BadConfiguration:
    return BadConfiguration(
        f"{file} is not a key file: restore it from a backup, or delete it to have a new one made, which "
        "changes the secrets of all webhooks"
    )


def ensure_all(bus_folder: Path) -> tuple[tuple[bytes, bytes], dict[ClientRole, bytes]]:
    """The Manager's key pair, and the public key of each client role."""
    roles = {role: ensure_key_pair(bus_folder, role.value)[0] for role in ClientRole}
    return ensure_key_pair(bus_folder, SERVER_KEY_NAME), roles


def derived_secret(bus_folder: Path, purpose: str) -> bytes:
    """A secret of the API for one purpose, which is the same for as long as the keys of the bus are.

    Raises: OSError, if this user cannot read the keys; BadConfiguration, if they are damaged.
    """
    file = secret_key_file(bus_folder, ClientRole.API)
    try:
        _, secret = zmq.auth.load_certificate(file)
    except ValueError as error:
        raise _damaged(bus_folder, error) from error
    if secret is None:
        raise _damaged(bus_folder, ValueError(f"{file} has no secret key"))
    return hmac.digest(secret, purpose.encode(), "sha256")


def open_front(context: DealerContext, bus_folder: Path, role: ClientRole, options: DealerOptions) -> Dealer:
    """Connect with the keys of a role.

    Raises: OSError, if this user cannot read them; BadConfiguration, if they are damaged.
    """
    try:
        server, _ = zmq.auth.load_certificate(server_key_file(bus_folder))
        public, secret = zmq.auth.load_certificate(secret_key_file(bus_folder, role))
        return Dealer(context, front_endpoint(bus_folder), CurveKeys(server, public, secret or b""), options)
    except (ValueError, zmq.ZMQError) as error:
        raise _damaged(bus_folder, error) from error


def _damaged(bus_folder: Path, error: Exception) -> BadConfiguration:
    return BadConfiguration(
        f"the keys in {bus_folder} are damaged ({error}); delete them, and the Manager creates new ones when "
        "it starts"
    )
