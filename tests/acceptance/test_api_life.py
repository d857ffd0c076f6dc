"""The API beside its Manager: started again when it dies, gone when the Manager is, and the Manager's end
when it cannot live at all."""

import http.client
import json
import signal
import socket
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress

import httpx

from kernel.protocol.enums import JobState
from tests.acceptance.orders import LOADS_FOR_7_S, PLAIN, create_engine, submit
from tests.acceptance.patience import PATIENCE_S, wait_for
from tests.acceptance.processes import API, MANAGER
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


def test_streams_go_on_by_their_last_event_after_the_api_or_the_manager_was_killed(
    server_with_api: Server,
) -> None:
    server = server_with_api
    server.start()
    wait_for("the API", lambda: is_ready(server))
    engine = create_engine(server.line, server.records.model_named(PLAIN))
    told: list[int] = []
    for kill in (
        lambda: server.processes(API)[0].send(signal.SIGKILL),
        lambda: server.signal(signal.SIGKILL),
    ):
        job_id = submit(server.line, engine).job_id
        with open_stream(server, told) as stream:
            told += numbers(stream, until=job_id)
            kill()
            told += numbers(stream)
        if not server.processes(MANAGER):
            server.exit_code()
            server.start()
        job_id = submit(server.line, engine).job_id
        wait_for("the next API", lambda: is_ready(server))
        with open_stream(server, told) as stream:
            told += numbers(stream, until=job_id)
    assert told == list(range(1, told[-1] + 1))


@contextmanager
def open_stream(server: Server, told: Sequence[int]) -> Iterator[http.client.HTTPResponse]:
    """The stream of everything, after what was told before."""
    seen = told[-1] if told else 0
    with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE_S)) as connection:
        connection.request("GET", "/v1/events", headers={"Last-Event-ID": str(seen)})
        with closing(connection.getresponse()) as stream:
            assert stream.readline() == b"retry: 2000\n"
            yield stream


def numbers(stream: http.client.HTTPResponse, until: str | None = None) -> Iterator[int]:
    """The numbers of its events, up to the end of this job, or until the server is gone."""
    number, is_last = 0, False
    with suppress(OSError, http.client.HTTPException):
        for line in stream:
            if line.startswith(b"id: "):
                number = int(line[4:])
            elif line.startswith(b"data: "):
                event = json.loads(line[6:])
                is_last = until is not None and (event.get("id"), event.get("state")) == (until, "finished")
            elif line == b"\n" and number:
                yield number
                number = 0
                if is_last:
                    return
    assert until is None, "the stream has ended before its time"


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


def test_start_job_and_stop_can_be_awaited_and_loading_shows_how_far_it_is(server_with_api: Server) -> None:
    server = server_with_api
    server.start()
    wait_for("the API", lambda: is_ready(server))
    engine = f"/v1/engines/{create_engine(server.line, server.records.model_named(LOADS_FOR_7_S))}"
    base = f"http://127.0.0.1:{server.port}"

    def loaded_bytes() -> int:
        shown = get(server, engine).json()["progress"]
        return 0 if shown is None else int(shown["bytes"])

    with ThreadPoolExecutor(1) as aside:
        started = aside.submit(httpx.patch, f"{base}{engine}/start?wait=300", timeout=PATIENCE_S)
        wait_for("the first quarter", lambda: loaded_bytes() > 0)
        assert not started.done()
        answer = started.result()
    assert (answer.status_code, answer.json()["status"], answer.json()["progress"]) == (200, "ready", None)

    job = {"engine_id": answer.json()["engine_id"], "prompt": "a fox"}
    done = httpx.post(f"{base}/v1/jobs?wait=300", json=job, timeout=PATIENCE_S)
    assert (done.status_code, done.json()["status"], done.json()["prompt"]) == (200, "finished", "a fox")
    stopped = httpx.patch(f"{base}{engine}/stop?wait=300", timeout=PATIENCE_S)
    assert (stopped.status_code, stopped.json()["status"]) == (200, "closed")


def test_a_repeated_job_has_the_answer_of_the_first_one_after_a_restart(server_with_api: Server) -> None:
    server = server_with_api
    server.start()
    wait_for("the API", lambda: is_ready(server))
    engine_id = create_engine(server.line, server.records.model_named(PLAIN))
    job = {"engine_id": engine_id, "prompt": "a fox", "steps": 7}

    def post() -> httpx.Response:
        url = f"http://127.0.0.1:{server.port}/v1/jobs"
        return httpx.post(url, json=job, headers={"Idempotency-Key": "k"}, timeout=PATIENCE_S)

    first = post()
    assert (first.status_code, first.json()["steps"], first.json()["engine_id"]) == (202, 7, engine_id)
    shown = get(server, f"/v1/jobs/{first.json()['job_id']}").json()
    assert first.json().keys() == shown.keys()
    server.stop()
    server.start()
    wait_for("the API", lambda: is_ready(server))
    assert post().json() == first.json()
