"""What a trusted proxy says of its clients reaches everything that asks; from others it reaches nothing.

The proxy connects from 127.0.0.1, which the server trusts, and a stranger from 127.0.0.2, which it does not.
"""

import http.client
import json
import logging
import re
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from api.http.app import App, make_app
from api.http.framework.body_intake import BodyTerms
from api.http.framework.server import HttpServer
from api.hub import Hub
from api.main import _check_open
from conf.settings import Server, Settings
from kernel.protocol.api_keys import digest_of, key_text
from kernel.protocol.errors import BadConfiguration
from kernel.protocol.ids import KeyId
from kernel.views.reader import Reader
from tests.acceptance.patience import wait_for
from tests.unit.api.fake_bus import FakeBus
from tests.unit.views.database import SampleDatabase

PROXY, STRANGER = "127.0.0.1", "127.0.0.2"
CLIENT, PUBLIC = "192.0.2.7", "art.example"
KEY_ID: Final = KeyId("00000000-0000-7000-8000-000000000001")
KEY: Final = key_text(KEY_ID, "5" * 64)
SAID: Final = {
    "older": {"X-Forwarded-For": CLIENT, "X-Forwarded-Proto": "https", "X-Forwarded-Host": PUBLIC},
    "RFC 7239": {"Forwarded": f"for={CLIENT};proto=https;host={PUBLIC}"},
}
"""The same, in both kinds of headers."""


@dataclass
class Running:
    server: HttpServer
    app: App

    @contextmanager
    def response(
        self,
        peer: str,
        method: str,
        path: str,
        headers: dict[str, str],
        body: object = None,
    ) -> Iterator[http.client.HTTPResponse]:
        """The response to a request from this address."""
        host, _, port = self.server.url.removeprefix("http://").partition(":")
        found = http.client.HTTPConnection(host, int(port), timeout=10, source_address=(peer, 0))
        with closing(found) as connection:
            if body is not None:
                headers = headers | {"Content-Type": "application/json"}
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            with connection.getresponse() as response:
                yield response

    def ask(
        self, peer: str, method: str, path: str, headers: dict[str, str], body: object = None
    ) -> tuple[int, str]:
        """The status and the code of a refusal, or the cookie."""
        with self.response(peer, method, path, headers, body) as response:
            text = response.read().decode()
            code = json.loads(text).get("code", "") if text else ""
            return response.status, code or response.headers.get("set-cookie", "")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder: Path = tmp_path_factory.mktemp("proxies")
    server = Server(port=0, threads=8, max_streams=4, allowed_hosts=(PUBLIC,), trusted_proxies=(PROXY,))
    with ExitStack() as stack:
        database = stack.enter_context(closing(SampleDatabase(folder / "spoon.sqlite3")))
        database.add_key(KEY_ID, "root", "admin", digest=digest_of(KEY))
        reader, hub = stack.enter_context(closing(Reader(database.file))), Hub()
        app = make_app(Settings(server=server), FakeBus(), reader, hub, lambda: 10_000)
        found = HttpServer(app, server, BodyTerms(access=app.access), deferral=app.deferral)
        thread = threading.Thread(target=found.run)
        thread.start()
        yield Running(found, app)
        found.stop()
        thread.join()
        hub.close()
        found.finish(2.0)


def addresses(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Those of the lines of refusals."""
    lines = [one.message for one in caplog.records if "action=refused" in one.message]
    return [re.search(r"address=(\S+)", one)[1] for one in lines]  # type: ignore[index]


@pytest.mark.parametrize("body", [None, {"prompt": "a"}])
@pytest.mark.parametrize("kind", SAID)
@pytest.mark.parametrize(("peer", "address"), [(PROXY, CLIENT), (STRANGER, STRANGER)])
def test_the_audit_line_has_the_address_of_the_client(
    running: Running,
    caplog: pytest.LogCaptureFixture,
    kind: str,
    peer: str,
    address: str,
    body: dict[str, str] | None,
) -> None:
    """Of a request that the application refuses, and of one whose body is not even received."""
    method = "GET" if body is None else "POST"

    def lines() -> list[str]:
        """After another request: the lines of all tests of this process together are limited."""
        assert running.ask(peer, method, "/v1/jobs", SAID[kind], body) == (401, "key_missing")
        return addresses(caplog)

    with caplog.at_level(logging.WARNING, "spoon.api.audit"):
        assert set(wait_for("a line", lines)) == {address}


@pytest.mark.parametrize("kind", SAID)
@pytest.mark.parametrize(("peer", "is_secure"), [(PROXY, True), (STRANGER, False)])
def test_the_cookie_is_for_tls_alone_where_the_client_has_used_it(
    running: Running, kind: str, peer: str, is_secure: bool
) -> None:
    status, cookie = running.ask(peer, "POST", "/v1/session", SAID[kind], {"key": KEY})
    assert (status, "; Secure" in cookie) == (200, is_secure)


def test_the_host_that_a_proxy_tells_must_be_an_allowed_one(running: Running) -> None:
    assert running.ask(PROXY, "GET", "/v1/health/live", {"X-Forwarded-Host": PUBLIC})[0] == 200
    for headers in ({"X-Forwarded-Host": "evil.example"}, {"Forwarded": "host=evil.example"}):
        assert running.ask(PROXY, "GET", "/v1/health/live", headers) == (403, "forbidden_host")
        assert running.ask(STRANGER, "GET", "/v1/health/live", headers)[0] == 200


def test_a_page_on_the_machine_of_a_proxy_gains_nothing_by_the_headers(running: Running) -> None:
    """Its name leads here (DNS rebinding), and scripts may set these headers for their own origin."""
    headers = {"Host": "evil.example", "X-Forwarded-Host": PUBLIC}
    assert running.ask(PROXY, "GET", "/v1/health/live", headers) == (403, "forbidden_host")


@pytest.mark.parametrize(("peer", "expected"), [(PROXY, (200, "")), (STRANGER, (403, "forbidden_origin"))])
def test_the_origin_of_a_page_is_compared_with_the_host_that_the_client_has_asked(
    running: Running, peer: str, expected: tuple[int, str]
) -> None:
    headers = SAID["older"] | {"Origin": f"https://{PUBLIC}"}
    status, said = running.ask(peer, "POST", "/v1/session", headers, {"key": KEY})
    assert (status, said if status != 200 else "") == expected


@pytest.mark.parametrize("headers", [{"X-Forwarded-For": "here"}, {"Forwarded": "for"}, {
    "Forwarded": f"for={CLIENT}", "X-Forwarded-For": CLIENT
}])  # fmt: skip
def test_what_a_proxy_cannot_mean_is_refused_and_from_others_ignored(
    running: Running, headers: dict[str, str]
) -> None:
    assert running.ask(PROXY, "GET", "/v1/health/live", headers) == (400, "malformed")
    assert running.ask(STRANGER, "GET", "/v1/health/live", headers)[0] == 200


def test_each_client_behind_a_proxy_has_its_own_share_of_the_streams(running: Running) -> None:
    """Three quarters of four. Somebody who is no proxy has one share, whatever it says."""

    def opened(stack: ExitStack, peer: str, client: str) -> int:
        headers = {"Authorization": f"Bearer {KEY}", "X-Forwarded-For": client}
        return stack.enter_context(running.response(peer, "GET", "/v1/events", headers)).status

    def is_room() -> bool:
        with ExitStack() as stack:
            return all(opened(stack, PROXY, f"192.0.2.{n}") == 200 for n in range(4))

    with ExitStack() as stack:
        assert [opened(stack, PROXY, CLIENT) for _ in range(4)] == [200, 200, 200, 429]
        assert opened(stack, PROXY, "192.0.2.8") == 200
    wait_for("the streams to end", is_room)
    with ExitStack() as stack:
        wait_for("the streams to end", lambda: opened(stack, STRANGER, CLIENT) == 200)
        found = [opened(stack, STRANGER, f"192.0.2.{n}") for n in range(3)]
        assert (found, opened(stack, PROXY, CLIENT)) == ([200, 200, 429], 200)


def test_without_keys_a_server_with_proxies_does_not_start(tmp_path: Path) -> None:
    """Strangers come through them."""
    with closing(Reader(tmp_path / "none.sqlite3")) as reader:
        keys = make_app(Settings(), FakeBus(), reader, Hub(), lambda: 0).access.keys
        with pytest.raises(BadConfiguration, match=r"server\.trusted_proxies names a proxy"):
            _check_open(Server(trusted_proxies=("127.0.0.1",)), keys)
        _check_open(Server(), keys)
        _check_open(Server(trusted_proxies=("127.0.0.1",), open_without_keys=True), keys)
