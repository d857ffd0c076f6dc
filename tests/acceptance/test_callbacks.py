"""Callbacks of whole servers: real receivers, signatures that another package checks, processes that are
killed."""

import json
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.acceptance.conftest import cleaned_up, copy_of
from tests.acceptance.orders import PLAIN
from tests.acceptance.patience import wait_for
from tests.acceptance.processes import WORKER
from tests.acceptance.receiver import Receiver, receiving, verified
from tests.acceptance.server import Server

ALL = ["job.created", "job.started", "image.created", "job.finished"]
SMALL = {"checkpoint": PLAIN, "width": 64, "height": 64, "steps": 2}


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    with receiving() as found:
        yield found


@pytest.fixture(scope="module")
def office(installed: Path, receiver: Receiver) -> Iterator[Server]:
    """A server that may send to the receiver."""
    with copy_of(installed) as folder, cleaned_up(Server(folder, with_api=True)) as server:
        server.configure(callbacks=f'allow_hosts = ["127.0.0.1:{receiver.port}"]')
        server.start()
        yield server


@pytest.fixture
def path(request: pytest.FixtureRequest) -> str:
    """Where this test's callbacks go."""
    return f"/{request.node.name}"


def call(server: Server, method: str, path: str, **more: Any) -> Any:
    """What the API answers."""
    found = httpx.request(method, f"http://127.0.0.1:{server.port}/v1/{path}", timeout=30, **more)
    assert found.is_success, found.text
    return found.json() if found.content else None


def submit(server: Server, url: str, prompt: str = "a cat") -> str:
    """A job that has all its events sent to this URL."""
    job = {"prompt": prompt, "callback_url": url, "callback_events": ALL, **SMALL}
    return str(call(server, "POST", "jobs", json=job)["job_id"])


def deliveries(server: Server, job_id: str) -> list[dict[str, Any]]:
    """What is sent for a job, oldest first."""
    return list(reversed(call(server, "GET", f"jobs/{job_id}/deliveries")["items"]))


def are_delivered(server: Server, job_id: str) -> bool:
    return [one["status"] for one in deliveries(server, job_id)] == ["delivered"] * len(ALL)


def test_a_job_tells_its_receiver_in_order_and_the_signature_is_good(
    office: Server, receiver: Receiver, path: str
) -> None:
    secret = call(office, "GET", "callbacks/secret")["secret"]
    job_id = submit(office, receiver.url(path))
    came = receiver.wait_for(path, len(ALL))
    bodies = [verified(one, secret) for one in came]
    assert [body["type"] for body in bodies] == ALL
    assert {body["data"]["job_id"] for body in bodies} == {job_id}
    (image,) = bodies[-1]["data"]["images"]
    assert httpx.get(f"http://127.0.0.1:{office.port}{image['url']}").headers["content-type"] == "image/png"
    wait_for("the deliveries", lambda: are_delivered(office, job_id))
    assert [one["delivery_id"] for one in deliveries(office, job_id)] == [one.delivery_id for one in came]


def test_nothing_is_lost_when_the_manager_is_killed_in_the_middle(
    office: Server, receiver: Receiver, path: str
) -> None:
    receiver.gate.clear()
    job_id = submit(office, receiver.url(path))
    receiver.wait_for(path, 1)
    wait_for("the job", lambda: call(office, "GET", f"jobs/{job_id}")["status"] == "finished")
    office.kill()
    receiver.gate.set()
    office.start()
    wait_for("the deliveries", lambda: are_delivered(office, job_id))
    assert in_order_at_least_once(receiver, path) == ALL


def test_nothing_is_lost_when_the_worker_that_sends_is_killed(
    office: Server, receiver: Receiver, path: str
) -> None:
    receiver.gate.clear()
    job_id = submit(office, receiver.url(path))
    receiver.wait_for(path, 1)
    wait_for("the job", lambda: call(office, "GET", f"jobs/{job_id}")["status"] == "finished")
    for process in office.processes(WORKER):
        process.send(signal.SIGKILL)
    receiver.gate.set()
    wait_for("the deliveries", lambda: are_delivered(office, job_id))
    assert in_order_at_least_once(receiver, path) == ALL


def in_order_at_least_once(receiver: Receiver, path: str) -> list[str]:
    """The types of what came, each id once: repetitions follow each other."""
    ids = [one.delivery_id for one in receiver.at(path)]
    kept = list(dict.fromkeys(ids))
    assert ids == sorted(ids, key=kept.index), "one after the other"
    types = {one.delivery_id: json.loads(one.body)["type"] for one in receiver.at(path)}
    return [types[delivery_id] for delivery_id in kept]


def test_a_dead_receiver_delays_no_other(office: Server, receiver: Receiver, path: str) -> None:
    dead = [submit(office, f"http://127.0.0.1:{receiver.port + 1}/", "a dog") for _ in range(3)]
    job_id = submit(office, receiver.url(path))
    receiver.wait_for(path, len(ALL))
    wait_for("the deliveries", lambda: are_delivered(office, job_id))
    first = deliveries(office, dead[0])[0]
    assert (first["status"], first["answered"]) == ("waiting", None)
    assert "callbacks.allow_hosts" in first["error"], "that port was not named"


def test_a_webhook_is_tested_and_what_it_got_is_sent_again(
    office: Server, receiver: Receiver, path: str
) -> None:
    webhook = call(office, "POST", "webhooks", json={"url": receiver.url(path), "events": ["job.cancelled"]})
    one = f"webhooks/{webhook['webhook_id']}"
    delivery = call(office, "POST", f"{one}/test")
    receiver.wait_for(path, 1)
    wait_for("its end", lambda: call(office, "GET", f"{one}/deliveries")["items"][0]["status"] == "delivered")
    call(office, "POST", f"{one}/deliveries/{delivery['delivery_id']}/redeliver")
    came = receiver.wait_for(path, 2)
    assert {verified(one, webhook["secret"])["type"] for one in came} == {"webhook.test"}
    assert {one.delivery_id for one in came} == {delivery["delivery_id"]}
    assert "secret" not in call(office, "GET", one)
    rotated = call(office, "POST", f"{one}/rotate")
    assert rotated["secret"] != webhook["secret"]
    call(office, "DELETE", one)
    assert one.removeprefix("webhooks/") not in str(call(office, "GET", "webhooks"))


def test_listening_prints_what_arrives_and_is_subscribed_meanwhile(
    receiver: Receiver, office: Server
) -> None:
    port = office.port + 1 if receiver.port != office.port + 1 else office.port + 2
    office.stop()
    office.configure(callbacks=f'allow_hosts = ["127.0.0.1:{receiver.port}", "127.0.0.1:{port}"]')
    office.start()
    url = ["--url", f"http://127.0.0.1:{office.port}"]
    command = [sys.executable, "-m", "api.cli.main", *url, "webhooks", "listen", "--port", str(port)]
    with subprocess.Popen([*command, "--event", "job.created"], stdout=subprocess.PIPE) as listening:
        wait_for("the subscription", lambda: call(office, "GET", "webhooks")["items"])
        job_id = call(office, "POST", "jobs", json={"prompt": "a cat", **SMALL})["job_id"]
        assert listening.stdout is not None
        assert json.loads(listening.stdout.readline())["data"]["job_id"] == job_id
        listening.send_signal(signal.SIGINT)
        assert listening.wait(30) == 0
    assert call(office, "GET", "webhooks")["items"] == []


def test_no_secret_is_in_the_database_or_in_a_log(office: Server, receiver: Receiver, path: str) -> None:
    webhook = call(office, "POST", "webhooks", json={"url": receiver.url(f"{path}?token=t0p")})
    secrets = [webhook["secret"], call(office, "GET", "callbacks/secret")["secret"]]
    call(office, "POST", f"webhooks/{webhook['webhook_id']}/test")
    receiver.wait_for(f"{path}?token=t0p", 1)
    master = office.folder / "bus" / "callbacks.key_secret"
    assert stat.S_IMODE(master.stat().st_mode) == 0o600
    kept = [text.removeprefix("whsec_").encode() for text in [*secrets, master.read_text().strip()]]
    for file in (office.folder / "database").rglob("*"):
        found = file.read_bytes() if file.is_file() else b""
        assert not [one for one in kept if one in found], file
        assert b"token=t0p" not in found or "sqlite" in file.name, file
    assert b"token=t0p" not in (office.folder / "log").read_bytes()
    call(office, "DELETE", f"webhooks/{webhook['webhook_id']}")
