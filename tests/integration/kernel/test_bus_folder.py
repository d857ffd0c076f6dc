"""The private folder of sockets and keys: nobody but its owner gets in."""

import os
import stat
from contextlib import suppress
from pathlib import Path
from threading import Event, Thread

import pytest
import zmq

from kernel.process.keys import ensure_all
from kernel.protocol.endpoints import MAX_IPC_PATH_BYTES, ClientRole, secret_key_file, server_key_file
from kernel.protocol.errors import BadConfiguration
from kernel.shell.bus import Gate, Router, private_folder
from tests.integration.kernel.small_bus import SmallBus


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_folder_and_the_socket_are_its_owners_alone(bus: SmallBus) -> None:
    socket = Path(bus.router.endpoints[0].removeprefix("ipc://"))

    assert _mode(socket.parent) == 0o700
    assert stat.S_ISSOCK(socket.stat().st_mode)
    assert _mode(socket) == 0o600


def test_a_folder_that_was_open_to_others_is_closed_to_them(short_folder: Path) -> None:
    folder = short_folder / "bus"
    folder.mkdir()
    folder.chmod(0o777)

    assert _mode(private_folder(folder)) == 0o700


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a folder away")
def test_a_folder_of_another_user_is_refused(short_folder: Path) -> None:
    folder = short_folder / "bus"
    folder.mkdir()
    os.chown(folder, 65_534, -1)

    with pytest.raises(BadConfiguration, match="belongs to another user"):
        private_folder(folder)


def test_a_path_too_long_for_a_socket_says_what_to_do() -> None:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    gate = Gate(context)
    try:
        with pytest.raises(BadConfiguration, match=r"longer than 107 bytes: set bus\.folder"):
            Router(context, "front", zmq.curve_keypair()[1], [f"ipc:///{'x' * MAX_IPC_PATH_BYTES}"])
    finally:
        gate.socket.close()
        context.destroy(linger=0)


def test_a_path_that_just_fits_can_be_bound(short_folder: Path) -> None:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    name = "s" * (MAX_IPC_PATH_BYTES - len(os.fsencode(short_folder)) - 1)
    router = Router(context, "front", zmq.curve_keypair()[1], [f"ipc://{short_folder / name}"])
    try:
        assert (short_folder / name).is_socket()
    finally:
        router.close()
        context.term()


def test_a_router_that_cannot_bind_leaves_nothing_open(short_folder: Path) -> None:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    with pytest.raises(BadConfiguration, match="cannot listen on"):
        Router(context, "front", zmq.curve_keypair()[1], [f"ipc://{short_folder}/absent/front.ipc"])
    context.term()  # it would wait for ever for a socket that was left open


def test_keys_are_made_once_and_secret_ones_are_the_owners_alone(short_folder: Path) -> None:
    folder = private_folder(short_folder / "bus")

    first, second = ensure_all(folder), ensure_all(folder)

    assert first == second
    assert set(first[1]) == set(ClientRole)
    assert server_key_file(folder).exists()
    for role in ClientRole:
        assert _mode(secret_key_file(folder, role)) == 0o600


def test_who_looks_while_keys_are_made_finds_a_whole_one_or_none(short_folder: Path) -> None:
    folder = private_folder(short_folder / "bus")
    found: list[int] = []
    is_made = Event()

    def look() -> None:
        while not is_made.is_set():
            for file in (server_key_file(folder), *(secret_key_file(folder, role) for role in ClientRole)):
                with suppress(FileNotFoundError):
                    found.append(file.read_text().count("public-key ="))

    onlooker = Thread(target=look)
    onlooker.start()
    for _ in range(30):
        ensure_all(folder)
        for file in folder.iterdir():
            file.unlink()
    is_made.set()
    onlooker.join()
    assert set(found) <= {1}


def test_a_key_file_that_is_none_says_so(short_folder: Path) -> None:
    folder = private_folder(short_folder / "bus")
    secret_key_file(folder, ClientRole.API).write_text("no key at all")

    with pytest.raises(BadConfiguration, match="delete it to have a new one made"):
        ensure_all(folder)
