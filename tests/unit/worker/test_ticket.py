"""Tickets from pipes, and tokens from private files; and why others are refused."""

import os
from pathlib import Path

import pytest

from engine_worker import ticket
from kernel.protocol.enums import WorkerRole
from kernel.protocol.errors import BadConfiguration
from kernel.protocol.ids import WorkerId
from kernel.protocol.join import Join, write_join

JOIN = Join(
    role=WorkerRole.ENGINE,
    worker_id=WorkerId("worker-1"),
    endpoint="tcp://host:1",
    server_public_key="p",
    public_key="q",
    secret_key="the secret",
    token="the token",
)


def piped(data: bytes) -> int:
    """The reading end of a pipe with these bytes in it."""
    reader, writer = os.pipe()
    with os.fdopen(writer, "wb") as pipe:
        pipe.write(data)
    return reader


TOKEN = f"spoonworker_{'1' * 32}_{'2' * 64}_{'3' * 64}"


def private_file(tmp_path: Path, data: bytes = TOKEN.encode() + b"\n", mode: int = 0o600) -> Path:
    path = tmp_path / "token"
    path.write_bytes(data)
    path.chmod(mode)
    return path


def refused(path: Path) -> str:
    with pytest.raises(BadConfiguration) as caught:
        ticket.token_in(path)
    return caught.value.detail


def test_a_ticket_comes_through_a_pipe_which_is_closed_then() -> None:
    reader = piped(write_join(JOIN))
    assert ticket.from_descriptor(reader) == JOIN
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(reader)


def test_a_pipe_that_is_closed_with_nothing_in_it_brings_no_ticket() -> None:
    assert ticket.from_descriptor(piped(b"")) is None


@pytest.mark.parametrize("data", [b" ", b"{}", b"\xff", b"x" * 60_000, write_join(JOIN)[:-1]])
def test_what_is_no_ticket_is_refused_without_quoting_it(data: bytes) -> None:
    with pytest.raises(BadConfiguration) as caught:
        ticket.from_descriptor(piped(data))
    assert "secret" not in caught.value.detail


def test_a_descriptor_that_is_not_open_is_refused() -> None:
    reader = piped(b"")
    os.close(reader)
    with pytest.raises(BadConfiguration):
        ticket.from_descriptor(reader)


@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_a_token_comes_from_a_private_file(tmp_path: Path, mode: int) -> None:
    assert ticket.token_in(private_file(tmp_path, mode=mode)) == TOKEN


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o620, 0o602])
def test_a_file_that_others_may_open_is_refused_with_the_way_out(tmp_path: Path, mode: int) -> None:
    assert "chmod 600" in refused(private_file(tmp_path, mode=mode))


def test_a_link_a_folder_a_pipe_and_nothing_are_refused(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(private_file(tmp_path))
    assert "cannot read" in refused(tmp_path / "link")
    assert "cannot read" in refused(tmp_path / "absent")
    os.mkfifo(tmp_path / "pipe", 0o600)
    assert "is not a file" in refused(tmp_path / "pipe")
    assert refused(tmp_path)


@pytest.mark.parametrize("data", [b"", b"spoon_1_2", TOKEN[:-1].encode(), b"\xff" * 300, write_join(JOIN)])
def test_what_is_no_token_is_refused_without_quoting_it(tmp_path: Path, data: bytes) -> None:
    said = refused(private_file(tmp_path, data))
    assert said == "not an enrollment token: get one with `spoon workers token create`"
