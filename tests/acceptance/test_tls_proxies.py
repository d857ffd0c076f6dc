"""Behind Caddy and nginx, as the files of examples/deploy/proxy set them up, the server is as it is alone."""

import re
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx
import pytest

from kernel.protocol.enums import JobState
from kernel.protocol.ids import JobId
from tests.acceptance.conftest import cleaned_up, copy_of
from tests.acceptance.orders import PLAIN
from tests.acceptance.patience import PATIENCE_S, wait_for
from tests.acceptance.server import Server
from tests.acceptance.tls_proxies import NAME, PROXIES, TlsProxy, a_proxy

CLIENT: Final = "127.0.0.3"
"""From where the clients come; the proxies come from 127.0.0.1."""
SPOOFED: Final = {
    "X-Forwarded-For": "203.0.113.9",
    "X-Forwarded-Proto": "http",
    "X-Forwarded-Host": "evil.example",
    "Forwarded": "for=203.0.113.9;proto=http;host=evil.example",
}
SETTINGS: Final = f'allowed_hosts = ["{NAME}"]\ntrusted_proxies = ["127.0.0.1", "::1"]\nmax_body = "6MiB"'
"""As the files say."""


@dataclass(frozen=True, slots=True)
class Site:
    server: Server
    proxy: TlsProxy
    key: str

    @contextmanager
    def client(self, *, has_key: bool = True) -> Iterator[httpx.Client]:
        """Somebody elsewhere, who believes that the proxy is the public name."""
        headers = {"Host": f"{NAME}:{self.proxy.port}"}
        if has_key:
            headers["Authorization"] = f"Bearer {self.key}"
        verify = ssl.create_default_context(cafile=str(self.proxy.certificate))
        with httpx.Client(
            base_url=f"https://127.0.0.1:{self.proxy.port}",
            headers=headers,
            timeout=PATIENCE_S,
            transport=httpx.HTTPTransport(local_address=CLIENT, verify=verify),
            event_hooks={"request": [_to_the_name]},
        ) as client:
            yield client


def _to_the_name(request: httpx.Request) -> None:
    request.extensions["sni_hostname"] = NAME


@pytest.fixture(scope="module")
def server(installed: Path) -> Iterator[tuple[Server, str]]:
    """A server that has a key before it starts: without one it would not, behind a proxy."""
    with copy_of(installed) as folder, cleaned_up(Server(folder, with_api=True)) as server:
        server.configure(server=SETTINGS)
        key = server.make_key("root", "admin")
        server.start()
        yield server, key


@pytest.fixture(scope="module", params=PROXIES)
def site(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, server: tuple[Server, str]
) -> Iterator[Site]:
    running, key = server
    with a_proxy(request.param, tmp_path_factory.mktemp("proxy"), running.port) as proxy:
        yield Site(running, proxy, key)


def submit(client: httpx.Client, prompt: str = "a fox") -> dict[str, str]:
    answer = client.post("/v1/jobs", json={"checkpoint": PLAIN, "prompt": prompt, "steps": 2})
    assert answer.status_code == 202, answer.text
    job: dict[str, str] = answer.json()
    return job


def test_a_job_is_posted_and_waited_for_and_its_image_fetched(site: Site) -> None:
    with site.client() as client:
        job = submit(client)
        waited = client.get(f"/v1/jobs/{job['job_id']}", params={"wait": "30"})
        assert waited.json()["status"] == "finished"
        image = client.get(f"/v1/images/{job['image_id']}/download")
    assert image.content.startswith(b"\x89PNG")


def test_an_event_arrives_while_its_stream_is_open(site: Site) -> None:
    with site.client() as client, client.stream("GET", "/v1/events") as stream:
        assert stream.status_code == 200
        lines = stream.iter_lines()
        next(lines)
        job = submit(client, "a stream")
        site.server.records.wait_for_job(JobId(job["job_id"]), JobState.FINISHED)
        assert any(job["job_id"] in line for line in lines)


def test_the_cookie_is_for_tls_alone_and_signs_in(site: Site) -> None:
    with site.client(has_key=False) as browser:
        origin = {"Origin": site.proxy.public_url}
        signed_in = browser.post("/v1/session", json={"key": site.key}, headers=origin)
        assert signed_in.status_code == 200, signed_in.text
        assert "; Secure" in signed_in.headers["set-cookie"]
        cookie = signed_in.headers["set-cookie"].partition(";")[0]
        assert browser.get("/v1/session", headers={"Cookie": cookie}).json()["name"] == "root"


def test_a_link_leads_to_the_public_name_by_https_and_works_without_a_key(site: Site) -> None:
    wanted = {"model": PLAIN, "prompt": "a link", "size": "64x64", "response_format": "url"}
    with site.client() as client:
        made = client.post("/v1/images/generations", json=wanted, headers=SPOOFED)
        assert made.status_code == 200, made.text
    url = made.json()["data"][0]["url"]
    assert url.startswith(f"{site.proxy.public_url}/v1/images/")
    with site.client(has_key=False) as stranger:
        fetched = stranger.get(url.removeprefix(site.proxy.public_url))
    assert (fetched.status_code, fetched.headers["content-type"]) == (200, "image/png")


def test_the_log_has_the_address_of_the_client_whatever_the_client_says(site: Site) -> None:
    path = f"/v1/jobs/from-{site.proxy.port}"
    with site.client(has_key=False) as stranger:
        assert stranger.get(path, headers=SPOOFED).json()["code"] == "key_missing"
    log = (site.server.folder / "log").read_text
    line = wait_for("the line", lambda: re.search(rf"action=refused .*path={path} address=(\S+)", log()))
    assert line[1] == CLIENT


def test_bodies_are_limited_by_the_server_alone(site: Site) -> None:
    """nginx would refuse more than 1 MiB by default, and hold bodies back until they are whole."""
    with site.client() as client:
        for size, code in ((4 << 20, "invalid_field"), (7 << 20, "too_large")):
            body = {"checkpoint": PLAIN, "prompt": "a fox", "reference_image": "x" * size}
            refused = client.post("/v1/jobs", json=body)
            assert refused.headers["content-type"] == "application/problem+json", refused.text
            assert refused.json()["code"] == code


def test_under_another_name_nobody_learns_anything(site: Site) -> None:
    with site.client() as client:
        asked = client.get("/v1/jobs", headers={"Host": "evil.example"})
    assert "items" not in asked.text
