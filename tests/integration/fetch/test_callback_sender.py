"""Callbacks over real sockets: whatever a receiver does, it gets one request, and its time is limited."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import pytest
from standardwebhooks import Webhook

from engine_worker.fetch.callbacks.sender import CallbackSender, build_sender
from engine_worker.fetch.net.address_policy import AddressPolicy
from kernel.protocol.ids import DeliveryId
from kernel.protocol.webhooks import secret_text, signed_headers, signer_of_jobs, signing_key
from kernel.protocol.worker import CallbackEnded, SendCallback

BODY: Final = '{"type":"job.finished"}'
LIMIT_S: Final = 0.5
KEY: Final = signing_key(bytes(32), signer_of_jobs(None))


def order(url: str, at_s: int = 1_800_000_000) -> SendCallback:
    headers = signed_headers(KEY, "d-1", at_s, BODY)
    return SendCallback(delivery_id=DeliveryId("d-1"), attempt=2, url=url, headers=headers, body=BODY)


def sender(*hosts: str) -> CallbackSender:
    return CallbackSender(AddressPolicy(frozenset(hosts), setting="callbacks.allow_hosts"), print, LIMIT_S)


@contextmanager
def receiver(answer: Callable[[socket.socket], None]) -> Iterator[tuple[str, list[bytes]]]:
    """A socket that reads a request and lets `answer` do the rest: its URL, and what came."""
    came: list[bytes] = []
    listening = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(10)
                came.append(_read(connection))
                try:
                    answer(connection)
                except OSError:
                    continue  # the sender has hung up

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}", came
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        thread.join()


def _read(connection: socket.socket) -> bytes:
    """A whole request: its head and body may come apart."""
    found = b""
    while not found.endswith(BODY.encode()) and (more := connection.recv(65_536)):
        found += more
    return found


def says(text: str) -> Callable[[socket.socket], None]:
    return lambda connection: connection.sendall(text.replace("\n", "\r\n").encode())


def drips(connection: socket.socket) -> None:
    """A byte again and again, each in good time."""
    done = threading.Event()
    connection.sendall(b"HTTP/1.1 200 OK\r\nX: ")
    while not done.wait(LIMIT_S / 10):
        connection.sendall(b"x")


@pytest.mark.parametrize("status", [200, 204, 301, 404, 410, 503])
def test_the_status_is_reported_and_nothing_is_followed(status: int) -> None:
    with receiver(says(f"HTTP/1.1 {status} X\nLocation: /other\nContent-Length: 0\n\n")) as (url, came):
        ended = sender("127.0.0.1").post(order(url + "/hook?a=b"))
    assert ended == CallbackEnded(delivery_id=DeliveryId("d-1"), attempt=2, answered=status)
    assert len(came) == 1
    assert came[0].startswith(b"POST /hook?a=b HTTP/1.1\r\n")


def test_a_request_has_what_standard_webhooks_asks_for_and_no_secret() -> None:
    with receiver(says("HTTP/1.1 200 OK\nContent-Length: 0\n\n")) as (url, came):
        sender("127.0.0.1").post(order(url, int(time.time())))
    head, _, body = came[0].partition(b"\r\n\r\n")
    headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:])
    assert Webhook(secret_text(KEY)).verify(body, headers) == {"type": "job.finished"}
    assert headers["Content-Type"] == "application/json"
    assert secret_text(KEY) not in head.decode()


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("120", 120),
        (" 7 ", 7),
        ("Wed, 21 Oct 2026 07:28:00 GMT\nDate: Wed, 21 Oct 2026 07:27:00 GMT", 60),
        ("-5", None),
        ("9" * 30, None),
    ],
)
def test_how_long_to_wait_is_reported(text: str, seconds: int | None) -> None:
    with receiver(says(f"HTTP/1.1 503 X\nRetry-After: {text}\nContent-Length: 0\n\n")) as (url, _):
        assert sender("127.0.0.1").post(order(url)).retry_after_s == seconds


@pytest.mark.parametrize(
    "answer",
    [
        drips,
        says("HTTP/1.1 200 OK\nX: " + "x" * 2_000_000 + "\n\n"),
        says("HTTP/1.1 200 OK\n" + "X: y\n" * 200_000 + "\n"),
        says("SMTP ready\n\n"),
        says("HTTP/1.1 9999999 X\n\n"),
        says(""),
        lambda connection: None,
    ],
    ids=["drips", "long header", "many headers", "other protocol", "no status", "nothing", "hangs up"],
)
def test_a_receiver_that_does_not_answer_properly_has_not_answered(
    answer: Callable[[socket.socket], None],
) -> None:
    with receiver(answer) as (url, _):
        ended = sender("127.0.0.1").post(order(url))
    assert ended.answered is None
    assert ended.text


def test_the_body_of_an_answer_is_not_waited_for() -> None:
    with receiver(says("HTTP/1.1 200 OK\nContent-Length: 999999999\n\nx")) as (url, _):
        assert sender("127.0.0.1").post(order(url)).answered == 200


def test_a_dead_receiver_is_reported() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    ended = sender("127.0.0.1").post(order(f"http://127.0.0.1:{port}/"))
    assert (ended.answered, "cannot connect" in ended.text) == (None, True)


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "[::1]", "localhost", "169.254.169.254", "10.0.0.1", "0.0.0.0"]
)
def test_a_private_host_is_not_asked_unless_it_is_named(host: str) -> None:
    with receiver(says("HTTP/1.1 200 OK\nContent-Length: 0\n\n")) as (url, came):
        ended = sender("other.example").post(order(url.replace("127.0.0.1", host)))
    assert (ended.answered, came) == (None, [])
    assert "callbacks.allow_hosts" in ended.text


def test_a_host_may_be_named_with_its_port_alone() -> None:
    with receiver(says("HTTP/1.1 200 OK\nContent-Length: 0\n\n")) as (url, came):
        assert sender("127.0.0.1:1").post(order(url)).answered is None
        assert sender(url.removeprefix("http://")).post(order(url)).answered == 200
    assert len(came) == 1


def test_many_are_sent_at_once() -> None:
    """A receiver that keeps its senders waiting holds up no other."""
    free = threading.Event()
    reports: list[CallbackEnded] = []
    is_there = threading.Event()

    def report(ended: CallbackEnded) -> None:
        reports.append(ended)
        is_there.set()

    with (
        receiver(lambda connection: free.wait(10) and None) as (slow, _),
        receiver(says("HTTP/1.1 200 OK\nContent-Length: 0\n\n")) as (quick, _),
    ):
        both = build_sender(("127.0.0.1",), report)
        both.send(order(slow))
        both.send(order(quick))
        assert is_there.wait(10)
        assert [one.answered for one in reports] == [200]
        free.set()
