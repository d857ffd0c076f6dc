"""The API beside its Manager: started again when it dies, gone when the Manager is, and the Manager's end
when it cannot live at all."""

import signal
import socket

import httpx

from kernel.protocol.enums import JobState
from tests.acceptance.orders import PLAIN, create_engine, submit
from tests.acceptance.patience import PATIENCE_S, wait_for
from tests.acceptance.processes import API
from tests.acceptance.server import Server


def get(server: Server, path: str) -> httpx.Response:
    return httpx.get(f"http://127.0.0.1:{server.port}{path}", timeout=PATIENCE_S)


def is_ready(server: Server) -> bool:
    """Does the API answer, and say that the Manager and the database are there?"""
    try:
        return get(server, "/v1/health/ready").status_code == 200
    except httpx.TransportError:
        return False


def test_a_killed_api_is_started_again_and_serves_what_there_was(server_with_api: Server) -> None:
    server = server_with_api
    server.start()
    engine = create_engine(server.line, server.records.model_named(PLAIN))
    job_id = submit(server.line, engine).job_id
    server.records.wait_for_job(job_id, JobState.FINISHED)
    (first,) = server.processes(API)

    first.send(signal.SIGKILL)

    wait_for("the end of the first API", lambda: first not in server.processes(API))
    wait_for("another API", lambda: is_ready(server))
    assert get(server, f"/v1/jobs/{job_id}").json()["status"] == "finished"
    assert len(server.processes(API)) == 1


def test_with_the_manager_goes_the_api_and_a_new_manager_has_its_own_at_the_same_port(
    server_with_api: Server,
) -> None:
    server = server_with_api
    server.start()
    for _ in range(3):
        server.signal(signal.SIGKILL)
        server.exit_code()
        server.start()
        wait_for("the new API", lambda: is_ready(server))
    assert len(server.processes(API)) == 1


def test_a_stop_ends_the_api_too_and_frees_the_port(server_with_api: Server) -> None:
    server = server_with_api
    server.start()

    assert server.stop() == 0

    assert server.processes() == []
    assert not server.is_api_there()


def test_an_api_whose_port_is_taken_says_so_once_and_ends_the_server(server_with_api: Server) -> None:
    server = server_with_api
    with socket.create_server(("127.0.0.1", server.port)):
        server.launch()

        assert server.exit_code() == 78

    assert server.log_tail().count(f"server.port {server.port}") == 1
    assert server.log_tail().count("action=LaunchApi") == 1
    assert server.processes() == []
