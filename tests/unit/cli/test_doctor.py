"""What the doctor makes of what it sees."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from msgspec.structs import replace

from api.cli.commands.doctor import remedies
from api.cli.installation import port
from api.installation import machine
from api.installation.diagnosis import CheckResult, Verdict
from api.installation.software import Floor, floors, is_at_least, package, python, sd_embed, sqlite
from conf.installation import Installation, Layout
from conf.settings import Bus, Database, Images, Models, Server, Settings, Wildcards
from kernel.protocol.endpoints import API_URL_FILE


def test_releases_are_compared_as_numbers() -> None:
    assert is_at_least("2.10", "2.9")
    assert is_at_least("3", "3.0.0")
    assert is_at_least("2.14.1+cu130", "2.14.1")
    assert not is_at_least("3.51.2", "3.51.3")


def test_the_floors_of_the_packages_are_those_of_the_project() -> None:
    found = {one.package: one for one in floors()}
    assert found["apsw"].extra is None
    assert found["apsw"].lowest != "0"
    assert found["torch"].extra == "worker"
    assert "pytest" not in found


def test_an_old_python_is_missing_a_new_one() -> None:
    assert python((3, 10, 9)).verdict is Verdict.MISSING
    assert python((3, 13, 0)).verdict is Verdict.OK


def test_an_old_sqlite_is_not_enough() -> None:
    assert sqlite("3.51.2").verdict is Verdict.MISSING
    assert sqlite("3.51.3").verdict is Verdict.OK


def test_a_package_below_its_floor_is_missing_with_the_way_to_get_it() -> None:
    torch = Floor(package="torch", lowest="2.10", extra="worker")
    finding = package(torch, "2.9", are_workers_local=True, remedy="make venv")
    assert (finding.verdict, finding.found) == (Verdict.MISSING, "2.9, but 2.10 or later is required")
    assert finding.remedy == "make venv"
    assert package(torch, "2.14.1", are_workers_local=True, remedy="make venv").verdict is Verdict.OK


def test_a_package_of_workers_is_only_noted_where_workers_run_elsewhere() -> None:
    torch, click = (
        Floor(package=name, lowest="2.10", extra=extra)
        for name, extra in (("torch", "worker"), ("click", None))
    )
    finding = package(torch, None, are_workers_local=False, remedy="make venv")
    assert (finding.verdict, finding.found) == (Verdict.NOTE, "not installed to run engines on this machine")
    assert finding.remedy is None
    assert package(click, None, are_workers_local=False, remedy="make venv").verdict is Verdict.MISSING


def test_one_command_for_many_packages_is_printed_once_and_after_what_is_optional() -> None:
    found = [
        CheckResult(subject=subject, verdict=verdict, found="", remedy=remedy)
        for subject, verdict, remedy in (
            ("background removal", Verdict.NOTE, "make venv"),
            ("torch", Verdict.MISSING, "make venv"),
            ("faces", Verdict.NOTE, "make more"),
            ("numpy", Verdict.MISSING, "make venv"),
            ("click", Verdict.OK, None),
        )
    ]
    assert list(remedies(found).items()) == [
        ("make more", ["faces"]),
        ("make venv", ["background removal", "torch", "numpy"]),
    ]


def test_it_is_said_who_reads_prompts_in_a1111s_syntax() -> None:
    assert "the server implements" in sd_embed(is_there=False, version=None).found
    found = sd_embed(is_there=True, version="1.2")
    assert found.found.startswith("1.2: engines on this machine use it")
    assert found.verdict is sd_embed(is_there=False, version=None).verdict is Verdict.OK
    assert sd_embed(is_there=True, version=None).found.startswith("installed: ")


def test_folders_that_can_be_made_are_fine(tmp_path: Path) -> None:
    settings = Settings(database=Database(folder=tmp_path / "a" / "b"))
    (found, *_) = machine.folders(settings)
    assert (found.verdict, found.found) == (Verdict.OK, f"{tmp_path}/a/b, will be created in {tmp_path}")


def test_a_file_where_a_folder_should_be_is_missing(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    (found, *_) = machine.folders(Settings(database=Database(folder=tmp_path / "a")))
    assert found.verdict is Verdict.MISSING
    assert "change database.folder" in (found.remedy or "")


def test_a_file_root_that_is_not_there_is_noted(tmp_path: Path) -> None:
    absent = (tmp_path / "absent",)
    settings = Settings(
        models=Models(file_roots=absent, folders=absent),
        wildcards=Wildcards(folders=absent),
        images=Images(folder=tmp_path),
    )
    noted = [(one.subject, one.found) for one in machine.folders(settings) if one.verdict is Verdict.NOTE]
    found = f"{tmp_path}/absent is not a folder"
    assert noted == [(key, found) for key in ("models.file_roots", "models.folders", "wildcards.folders")]


def test_without_folders_models_can_only_be_uploaded_and_the_way_out_is_named() -> None:
    (found,) = machine.model_folders(Models())
    problem = "not set: models on this machine can only be uploaded"
    assert (found.verdict, found.found) == (Verdict.NOTE, problem)
    assert "SPOON_MODELS_FOLDERS" in (found.remedy or "")


def test_the_configuration_that_counts_is_named_and_data_of_one_folder_only_are_noted() -> None:
    named = machine.configuration(Installation(Path("my.toml"), Path("/x"), Layout.BESIDE))
    assert (named.verdict, named.found, named.remedy) == (Verdict.OK, "my.toml", None)
    assert machine.configuration(Installation(None, Path("/x"), Layout.USER)).found.startswith("no file")
    here = machine.configuration(Installation(None, Path("/x"), Layout.HERE))
    assert here.verdict is Verdict.NOTE
    assert "`spoon init`" in (here.remedy or "")


def test_a_socket_path_has_at_most_107_bytes() -> None:
    assert machine.socket_paths(Path("/" + "x" * 96)).verdict is Verdict.OK
    assert machine.socket_paths(Path("/" + "x" * 97)).verdict is Verdict.MISSING
    assert machine.socket_paths(Path("/" + "ü" * 50)).verdict is Verdict.MISSING


@contextmanager
def listening(answer: bytes, host: str = "127.0.0.1") -> Iterator[Settings]:
    """A program that answers everybody so, and settings that name its port."""
    with socket.create_server((host, 0)) as server:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    with server.accept()[0] as client:
                        client.settimeout(5)
                        client.recv(1 << 16)
                        client.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        yield Settings(server=Server(port=server.getsockname()[1]))
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


def web(body: bytes, name: str = "") -> bytes:
    head = f"HTTP/1.1 200 OK\r\nServer: {name}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    return head.encode() + body


OURS = web(b'{"versions": {"automatic_spoon": "0.1.9"}, "limits": {}}')


@pytest.mark.parametrize(
    ("answer", "holder"),
    [
        (OURS, "automatic-spoon 0.1.9 at http://127.0.0.1:"),
        (web(b"<html>", "nginx/1.2"), "another web server (nginx/1.2)"),
        (web(b'{"versions": 1}'), "another web server"),
        (b"SSH-2.0-OpenSSH_9\r\n", "a program that does not speak HTTP"),
        (b"", "a program that does not speak HTTP"),
    ],
)
def test_a_port_that_another_program_holds_is_missing_and_it_is_said_who(answer: bytes, holder: str) -> None:
    with listening(answer) as settings:
        found = port.port(settings, is_running=True)
    assert found.verdict is Verdict.MISSING
    assert "Address already in use" in found.found
    assert f"in use by {holder}" in found.found


def test_a_port_that_this_server_holds_is_fine(tmp_path: Path) -> None:
    with listening(OURS) as settings:
        settings = replace(settings, bus=Bus(folder=tmp_path))
        (tmp_path / API_URL_FILE).write_text(f"http://127.0.0.1:{settings.server.port}\n")
        found = port.port(settings, is_running=True)
        left_behind = port.port(settings, is_running=False)
    assert (found.verdict, left_behind.verdict) == (Verdict.OK, Verdict.MISSING)
    assert found.found.startswith("in use by this server: automatic-spoon 0.1.9 at ")


def test_a_port_that_nobody_holds_is_fine() -> None:
    assert port.port(Settings(server=Server(port=0)), is_running=False).verdict is Verdict.OK


def test_room_is_looked_for_where_pictures_go_and_where_models_come_to(tmp_path: Path) -> None:
    images, models = Images(folder=tmp_path, min_free_bytes=1 << 60), Models(folder=tmp_path / "later")
    found = list(machine.disks(Settings(images=images, models=models)))
    assert [one.verdict for one in found] == [Verdict.MISSING, Verdict.MISSING]
    assert ["images.folder" in found[0].found, "models.folder" in found[1].found] == [True, True]
    roomy = Settings(images=Images(folder=tmp_path, min_free_bytes=0), models=models)
    assert {one.verdict for one in machine.disks(roomy)} == {Verdict.OK}
