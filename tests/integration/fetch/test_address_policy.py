"""Whom a fetch worker connects to: nobody in disguise, no name that changes its mind, no redirect inwards."""

from pathlib import Path

import pytest

from engine_worker.fetch.net.http_client import HttpClient
from kernel.protocol.errors import DownloadFailed
from tests.integration.fetch.bench import Bench, model_bytes, sha256
from tests.integration.fetch.internet import OTHER, PUBLIC
from tests.integration.fetch.site import file, redirect

INSIDE = (
    "127.0.0.1",
    "127.8.9.10",
    "0.0.0.0",
    "10.1.2.3",
    "100.64.0.1",
    "169.254.169.254",
    "168.63.129.16",
    "172.16.0.1",
    "192.168.0.1",
    "224.0.0.1",
    "255.255.255.255",
    "::1",
    "::",
    "::ffff:127.0.0.1",
    "::ffff:7f00:1",
    "::127.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b:1::a00:1",
    "2002:7f00:1::",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    "2001:db8::1",
    "2600:1f00::5efe:7f00:1",
    "fe80::1",
    "fe80::1%eth0",
    "fc00::1",
    "fd00:ec2::254",
    "2606:4700::1111%eth0",
    "ff02::1",
)
NO_WAY_IN = "is unknown or has no public address"


@pytest.mark.parametrize("address", INSIDE)
def test_a_name_that_leads_inside_is_not_connected(bench: Bench, address: str) -> None:
    bench.names.known["trap.org"] = [(address,)]
    with pytest.raises(DownloadFailed, match=NO_WAY_IN):
        bench.fetch("http://trap.org/model")
    assert bench.internet.connected == []
    assert bench.left_behind() == []


@pytest.mark.parametrize("address", ["1.1.1.1", "93.184.215.14", "2606:4700::1111", "64:ff9b::5db8:d70e"])
def test_a_public_address_is_connected(bench: Bench, tmp_path: Path, address: str) -> None:
    bench.names.known["fine.org"] = [(address,)]
    bench.site.scripts["/model"] = file(model_bytes(tmp_path))
    bench.fetch("http://fine.org/model")
    assert bench.internet.connected == [address]


def test_an_unknown_name_and_a_forbidden_one_get_the_same_answer(bench: Bench) -> None:
    answers = []
    for host in ("unknown.org", "inside.lan"):
        with pytest.raises(DownloadFailed) as caught:
            bench.fetch(f"http://{host}/model")
        answers.append(caught.value.detail.replace(host, "it"))
    assert answers[0] == answers[1]


def test_of_a_name_with_many_addresses_only_the_public_ones_are_tried(bench: Bench, tmp_path: Path) -> None:
    bench.names.known["mixed.org"] = [("10.0.0.1", "127.0.0.1", PUBLIC)]
    bench.site.scripts["/model"] = file(model_bytes(tmp_path))
    bench.fetch("http://mixed.org/model")
    assert bench.internet.connected == [PUBLIC]


def test_a_name_that_rebinds_is_resolved_once_for_each_connection(bench: Bench, tmp_path: Path) -> None:
    bench.names.known["rebind.org"] = [(PUBLIC,), ("127.0.0.1",)]
    bench.site.scripts["/model"] = file(model_bytes(tmp_path))
    bench.fetch("http://rebind.org/model")
    assert bench.internet.connected == [PUBLIC]
    assert bench.names.asked == ["rebind.org"]


def test_a_name_that_rebinds_between_two_connections_is_refused_at_the_second(bench: Bench) -> None:
    bench.names.known["rebind.org"] = [(PUBLIC,), ("127.0.0.1",)]
    bench.site.scripts["/model"] = redirect("http://other.org/back")
    bench.site.scripts["/back"] = redirect("http://rebind.org:8080/model")
    with pytest.raises(DownloadFailed, match=NO_WAY_IN):
        bench.fetch("http://rebind.org/model")
    assert bench.internet.connected == [PUBLIC, OTHER]


def test_the_other_end_of_the_socket_is_looked_at(bench: Bench, tmp_path: Path) -> None:
    bench.internet.really[PUBLIC] = "127.0.0.1"
    bench.site.scripts["/model"] = file(model_bytes(tmp_path))
    with pytest.raises(DownloadFailed, match="that is not allowed"):
        bench.fetch("http://example.org/model")
    assert bench.site.asked == []


@pytest.mark.parametrize(
    "place",
    [
        "http://inside.lan/secret",
        "http://127.0.0.1/secret",
        "http://[::ffff:127.0.0.1]/secret",
        "http://2130706433/secret",
        "http://0x7f.1/secret",
        "http://0177.0.0.1/secret",
        "http://127.1/secret",
        "//inside.lan/secret",
        "file:///etc/passwd",
        "ftp://other.org/secret",
        "gopher://other.org/secret",
        "http://user:password@other.org/secret",
        "http://other.org:0/secret",
        "http://other.org:99999/secret",
        "http://%31%32%37.0.0.1/secret",
        "http://１２７.０.０.１/secret",
    ],
)
def test_a_redirect_to_where_nobody_may_go_is_not_followed(bench: Bench, place: str) -> None:
    bench.site.scripts["/model"] = redirect(place.encode().decode("latin-1"))
    with pytest.raises(DownloadFailed):
        bench.fetch("http://example.org/model")
    assert bench.internet.connected == [PUBLIC]
    assert [one.path for one in bench.site.asked] == ["/model"]
    assert bench.left_behind() == []


def test_a_redirect_from_https_to_http_is_not_followed(bench: Bench) -> None:
    bench.site.scripts["/model"] = redirect("http://example.org/model")
    with pytest.raises(DownloadFailed, match="from https to http"):
        bench.fetch("https://example.org/model")


def test_a_host_that_the_owner_named_may_be_asked(bench: Bench, tmp_path: Path) -> None:
    data = model_bytes(tmp_path)
    bench.site.scripts["/model"] = file(data)
    bench.allow_hosts = frozenset({"inside.lan", "127.0.0.1:8080"})
    assert bench.fetch("http://Inside.LAN/model").fingerprint.sha256 == sha256(data)
    (bench.staging / "ready").unlink()
    bench.fetch("http://127.0.0.1:8080/model")
    (bench.staging / "ready").unlink()
    with pytest.raises(DownloadFailed, match=NO_WAY_IN):
        bench.fetch("http://127.0.0.1:8081/model")


def test_a_stranger_cannot_redirect_to_a_host_that_the_owner_named(bench: Bench) -> None:
    bench.allow_hosts = frozenset({"inside.lan"})
    bench.site.scripts["/model"] = redirect("http://inside.lan/secret")
    with pytest.raises(DownloadFailed, match="into your own network"):
        bench.fetch("http://example.org/model")
    assert bench.internet.connected == [PUBLIC]


def test_a_token_goes_to_its_host_and_to_no_other(bench: Bench, tmp_path: Path) -> None:
    bench.tokens = {"example.org": "one", "other.org": "two"}
    bench.site.scripts |= {
        "/model": redirect("/same"),
        "/same": redirect("https://other.org/there"),
        "/there": file(model_bytes(tmp_path)),
    }
    bench.fetch("https://example.org/model")
    said = [one.headers.get("authorization") for one in bench.site.asked]
    assert said == ["Bearer one", "Bearer one", None]


def test_a_token_is_for_one_port_if_it_says_so(bench: Bench, tmp_path: Path) -> None:
    bench.tokens = {"example.org:8443": "one"}
    bench.site.scripts["/model"] = file(model_bytes(tmp_path))
    bench.fetch("https://example.org/model")
    (bench.staging / "ready").unlink()
    bench.fetch("https://example.org:8443/model")
    assert [one.headers.get("authorization") for one in bench.site.asked] == [None, "Bearer one"]


def test_a_token_is_not_sent_in_the_open(bench: Bench, tmp_path: Path) -> None:
    bench.tokens = {"example.org": "one", "inside.lan": "own"}
    bench.allow_hosts = frozenset({"inside.lan"})
    bench.site.scripts["/model"] = file(model_bytes(tmp_path))
    bench.fetch("http://example.org/model")
    (bench.staging / "ready").unlink()
    bench.fetch("http://inside.lan/model")
    assert [one.headers.get("authorization") for one in bench.site.asked] == [None, "Bearer own"]


def test_a_proxy_of_the_environment_is_not_asked(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://inside.lan:3128")
    bench.site.scripts["/model"] = file(model_bytes(tmp_path))
    bench.fetch("http://example.org/model")
    assert bench.internet.connected == [PUBLIC]


def test_no_error_names_what_follows_the_question_mark(bench: Bench) -> None:
    with pytest.raises(DownloadFailed) as caught:
        bench.fetch("http://example.org/absent?token=secret")
    assert "secret" not in caught.value.detail


def test_a_real_server_of_this_machine_is_not_asked_by_any_of_its_names(bench: Bench) -> None:
    from engine_worker.fetch.net.address_policy import AddressPolicy
    from engine_worker.fetch.net.http_client import Patience

    web = HttpClient(AddressPolicy(), {}, Patience(connect_s=2.0))
    for host in ("127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0"):
        with pytest.raises(DownloadFailed), web.get(f"http://{host}:{bench.site.port}/secret", {}):
            pass
    web.close()
    assert bench.site.asked == []
