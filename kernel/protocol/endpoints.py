"""Socket addresses and key files in the bus folder, and the client roles that have keys."""

from enum import StrEnum
from pathlib import Path
from typing import Final

FRONT_SOCKET: Final = "front.ipc"
BACK_SOCKET: Final = "back.ipc"
SERVER_KEY_NAME: Final = "manager"
API_URL_FILE: Final = "api.url"
"""In the bus folder: the URL that the API serves at; present while it runs."""
MAX_IPC_PATH_BYTES: Final = 107
"""sun_path of sockaddr_un, without its terminating zero (unix(7))."""
MAX_UNANSWERED: Final = 64
"""The commands that one client session may have unanswered at once."""


class ClientRole(StrEnum):
    """The roles of clients of the front socket; each has its own key pair."""

    API = "api"
    ADMIN = "admin"


def front_endpoint(bus_folder: Path) -> str:
    """The endpoint for clients."""
    return f"ipc://{bus_folder / FRONT_SOCKET}"


def back_endpoint(bus_folder: Path) -> str:
    """The endpoint for local workers."""
    return f"ipc://{bus_folder / BACK_SOCKET}"


def secret_key_file(bus_folder: Path, name: str) -> Path:
    """A zmq certificate file (public and secret key of a ClientRole), readable by its owner only."""
    return bus_folder / f"{name}.key_secret"


def server_key_file(bus_folder: Path) -> Path:
    """A zmq certificate file with the Manager's public key."""
    return bus_folder / f"{SERVER_KEY_NAME}.key"
