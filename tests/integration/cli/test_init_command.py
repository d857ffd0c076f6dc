"""`spoon init` asks three questions, or takes options, and writes a file that can be read."""

import io
import os
import pty
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from api.cli.installation.new_configuration import write_configuration
from conf.load import load
from conf.settings import Settings
from kernel.protocol.errors import Conflict
from tests.integration.cli.command import Spoon
from tests.own_folders import user_in

ROOT = Path(__file__).parents[3]
LOCAL = ("--port", "0", "--reach", "this-machine")


@pytest.fixture(autouse=True)
def nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody answers, but where a test has a terminal."""
    monkeypatch.setattr(sys, "stdin", io.StringIO())


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where the file of the newcomer goes."""
    return tmp_path / "user/config/automatic-spoon/spoon.toml"


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    (tmp_path / "weights").mkdir()
    return tmp_path / "weights"


@pytest.fixture
def port() -> Iterator[int]:
    """One that somebody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield int(listening.getsockname()[1])


def keys_in(file: Path) -> list[str]:
    """The lines of a file that set something."""
    return [line for line in file.read_text().splitlines() if line and not line.startswith("#")]


def test_options_write_what_differs_from_the_defaults(newcomer: Spoon, file: Path, weights: Path) -> None:
    ended = newcomer("init", "--models", "weights", *LOCAL)
    assert (ended.code, ended.out, ended.err) == (0, f"{file} is written; next: spoon serve\n", "")
    assert keys_in(file) == ["[server]", "port = 0", "[models]", f'folders = ["{weights}"]']
    settings = load(file, {})
    assert (settings.server.port, settings.models.folders) == (0, (weights,))
    assert file.parent.stat().st_mode & 0o777 == 0o700


def test_every_key_has_its_comment_of_the_shipped_file(newcomer: Spoon, file: Path) -> None:
    assert newcomer("init", "--yes", "--reach", "network", "--port", "0").code == 0
    lines = file.read_text().splitlines()
    assert "accepts connections from this machine only" in lines[lines.index('host = "0.0.0.0"') - 2]
    assert lines[lines.index("port = 0") - 1].startswith("# Port. ")


def test_the_defaults_need_no_line_at_all(newcomer: Spoon, file: Path) -> None:
    assert newcomer("init", "--yes").code == 0
    assert keys_in(file) == []
    assert load(file, {}).server == Settings().server


@pytest.mark.parametrize(
    ("options", "host", "names", "warning"),
    [
        (("--reach", "this-machine"), "127.0.0.1", (), ""),
        (("--reach", "network", "--host-name", "studio"), "0.0.0.0", ("studio",), "spoon keys create me"),
        (("--reach", "proxy", "--host-name", "a.example.org", "--host-name", "b.example.org"),
         "127.0.0.1", ("a.example.org", "b.example.org"), "the proxy must have TLS"),
    ],
)  # fmt: skip
def test_who_may_reach_it_decides_the_address_the_names_and_the_warning(
    newcomer: Spoon, file: Path, options: tuple[str, ...], host: str, names: tuple[str, ...], warning: str
) -> None:
    ended = newcomer("init", "--yes", "--port", "0", *options)
    assert ended.code == 0
    assert warning in ended.err
    assert bool(ended.err) == bool(warning)
    server = load(file, {}).server
    assert (server.host, server.allowed_hosts) == (host, names)
    assert server.trusted_proxies == (("127.0.0.1", "::1") if "proxy" in options else ())


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (("--models", "absent"), "absent is not a folder"),
        (("--port", "65536"), "65536 is not in the range 0<=x<=65535"),
        (("--reach", "everyone"), "must be one of this-machine, network, proxy"),
        (
            ("--reach", "proxy", "--host-name", "https://example.org"),
            "'https://example.org' is not a host name",
        ),
        (("--host-name", "studio"), "--host-name is not for --reach this-machine"),
        (("--reach", "proxy"), "--host-name is needed"),
    ],
)
def test_what_cannot_be_used_is_refused_and_nothing_written(
    newcomer: Spoon, file: Path, options: tuple[str, ...], problem: str
) -> None:
    ended = newcomer("init", "--yes", *options)
    assert (ended.code, ended.out) == (2, "")
    assert problem in ended.err
    assert not file.exists()


def test_without_a_terminal_the_options_are_named(newcomer: Spoon, file: Path) -> None:
    ended = newcomer("init")
    assert ended.code == 2
    assert "stdin is not a terminal; pass --models, --port and --reach, or --yes" in ended.err
    assert not file.exists()


def test_an_existing_file_is_replaced_by_force_only(newcomer: Spoon, file: Path) -> None:
    assert newcomer("init", "--yes", "--port", "0").code == 0
    ended = newcomer("init", "--yes", "--port", "7")
    assert ended.code == 4
    assert f"{file} already exists; edit it, or pass --force to replace it [conflict]" in ended.err
    assert load(file, {}).server.port == 0
    assert newcomer("init", "--yes", "--port", "7", "--force").code == 0
    assert load(file, {}).server.port == 7


def test_a_file_that_appears_while_a_person_answers_is_not_replaced(tmp_path: Path) -> None:
    file = tmp_path / "spoon.toml"
    file.write_text("server.port = 7")
    with pytest.raises(Conflict, match="already exists"):
        write_configuration(file, "", is_forced=False)
    assert load(file, {}).server.port == 7


def test_a_named_file_is_written_where_it_is_named(newcomer: Spoon, file: Path, tmp_path: Path) -> None:
    ended = newcomer("--config", "a place/my.toml", "init", "--yes", "--port", "0")
    named = tmp_path / "a place/my.toml"
    assert ended.out == f"{named} is written; next: spoon --config '{named}' serve\n"
    assert load(named, {}).images.folder == tmp_path / "a place/data/images"
    newcomer.environ["SPOON_CONFIG"] = "other.toml"
    assert newcomer("init", "--yes", "--port", "0").code == 0
    assert (tmp_path / "other.toml").exists()
    assert not file.exists()


def test_a_place_that_cannot_be_written_is_told_with_the_way_out(newcomer: Spoon, tmp_path: Path) -> None:
    (tmp_path / "user").touch()
    ended = newcomer("--config", "user/my.toml", "init", "--yes")
    assert ended.code == 78
    assert "user/my.toml: File exists; name another file: spoon --config FILE init" in ended.err


def test_a_port_that_is_taken_is_told_and_written_all_the_same(
    newcomer: Spoon, file: Path, port: int
) -> None:
    ended = newcomer("init", "--yes", "--port", str(port))
    assert f"warning: port {port} cannot be used now: Address already in use" in ended.err
    assert load(file, {}).server.port == port


def test_at_a_terminal_each_answer_is_checked_on_the_spot(tmp_path: Path, file: Path, weights: Path) -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-P", "-m", "api.cli.main", "init"]
    environ = os.environ | user_in(tmp_path / "user") | {"PYTHONPATH": str(ROOT)}
    answers = ["absent", "weights", "many", "0", "anybody", "proxy", "a b", "spoon.example.org"]
    with subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, cwd=tmp_path, env=environ
    ) as process:
        os.close(theirs)
        os.write(ours, "".join(f"{answer}\n" for answer in answers).encode())
        said = b""
        while b"spoon serve" not in said:
            said += os.read(ours, 4096)
        assert process.wait() == 0
    os.close(ours)
    assert said.count(b"Error: ") == 4
    server = load(file, {}).server
    assert (server.port, server.allowed_hosts) == (0, ("spoon.example.org",))
    assert load(file, {}).models.folders == (weights,)
