"""Where the peers meet: the names of sockets and key files in the bus folder, and each key's role."""

from enum import StrEnum
from pathlib import Path
from typing import Final

FRONT_SOCKET: Final = "front.ipc"
BACK_SOCKET: Final = "back.ipc"
SERVER_KEY_NAME: Final = "manager"
API_URL_FILE: Final = "api.url"
"""In the bus folder: where the API listens, for those who want to call it; there while it does."""
MAX_IPC_PATH_BYTES: Final = 107
"""sun_path of sockaddr_un, less its final zero (unix(7))."""
MAX_UNANSWERED: Final = 64
"""How many commands one client session may have unanswered at once."""


class ClientRole(StrEnum):
    """What a client of the front socket may be; each has a key pair of its own."""

    API = "api"
    ADMIN = "admin"


def front_endpoint(bus_folder: Path) -> str:
    """Where clients connect."""
    return f"ipc://{bus_folder / FRONT_SOCKET}"


def back_endpoint(bus_folder: Path) -> str:
    """Where local workers connect."""
    return f"ipc://{bus_folder / BACK_SOCKET}"


def secret_key_file(bus_folder: Path, name: str) -> Path:
    """A zmq certificate file (public and secret key of a ClientRole), readable by its owner alone."""
    return bus_folder / f"{name}.key_secret"


def server_key_file(bus_folder: Path) -> Path:
    """A zmq certificate file with the Manager's public key."""
    return bus_folder / f"{SERVER_KEY_NAME}.key"
