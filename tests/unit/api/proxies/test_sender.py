"""Whom a request is from, by the connection and by what proxies say, and from whom that counts."""

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.http.contract.errors import ForbiddenHost, Malformed
from api.http.framework.guard import Guard
from api.http.framework.request_head import Head, parse_head
from api.http.proxies.sender import Proxies, Sender

NEAR, FAR, CLIENT = "10.0.0.1", "10.0.0.2", "192.0.2.7"
"""Two trusted proxies, and somebody who is not."""
GUARD = Guard("127.0.0.1", ("backend", "art.example"))
PROXIES = Proxies(("10.0.0.0/8", "fd00::/8"), GUARD.check_host)


def head_with(*headers: str, host: str = "backend") -> Head:
    lines = [f"Host: {host}", "Accept: */*", *headers]
    return parse_head("\r\n".join(("GET /v1/jobs HTTP/1.1", *lines)).encode("latin-1"))


def seen(*headers: str, peer: str = NEAR, host: str = "backend") -> tuple[str, str, str]:
    """Address, scheme and host of the client."""
    head, sender = PROXIES.seen(head_with(*headers, host=host), peer)
    return sender.address, sender.scheme, head.headers["HOST"]


def xff(text: str) -> str:
    return f"X-Forwarded-For: {text}"


def forwarded(text: str) -> str:
    return f"Forwarded: {text}"


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        # Nobody says anything, or nothing of it.
        ((), (NEAR, "http", "backend")),
        ((xff(""),), (NEAR, "http", "backend")),
        ((xff(" , ,"),), (NEAR, "http", "backend")),
        ((forwarded(""),), (NEAR, "http", "backend")),
        # One proxy.
        ((xff(CLIENT),), (CLIENT, "http", "backend")),
        (
            (xff(CLIENT), "X-Forwarded-Proto: https", "X-Forwarded-Host: art.example"),
            (CLIENT, "https", "art.example"),
        ),
        (("X-Forwarded-Proto: HTTPS",), (NEAR, "https", "backend")),
        (("X-Forwarded-Host: art.example:8443",), (NEAR, "http", "art.example:8443")),
        # What a client writes itself is to the left of what the proxy has seen.
        ((xff(f"127.0.0.1, {CLIENT}"),), (CLIENT, "http", "backend")),
        ((xff(f"{NEAR}, {FAR}, {CLIENT}"),), (CLIENT, "http", "backend")),
        ((xff(f"<script>, {CLIENT}"),), (CLIENT, "http", "backend")),
        ((xff("1.1.1.1"), xff(CLIENT)), (CLIENT, "http", "backend")),
        (
            (xff(CLIENT), "X-Forwarded-Proto: https, http", "X-Forwarded-Host: localhost, art.example"),
            (CLIENT, "http", "art.example"),
        ),
        # Two proxies: the one that the client asked tells how.
        ((xff(f"{CLIENT}, {FAR}"),), (CLIENT, "http", "backend")),
        (
            (
                xff(f"{CLIENT},{FAR}"),
                "X-Forwarded-Proto: https,http",
                "X-Forwarded-Host: art.example,backend",
            ),
            (CLIENT, "https", "art.example"),
        ),
        ((xff(f"{CLIENT}, {FAR}"), "X-Forwarded-Proto: https"), (CLIENT, "https", "backend")),
        ((xff(f"1.1.1.1, {CLIENT}, {FAR}"),), (CLIENT, "http", "backend")),
        # Only proxies: then the first of them has asked.
        ((xff(f"{FAR}, {NEAR}"),), (FAR, "http", "backend")),
        # Ways to write an address.
        ((xff("192.0.2.7:4711"),), (CLIENT, "http", "backend")),
        ((xff("2001:DB8::0007"),), ("2001:db8::7", "http", "backend")),
        ((xff("[2001:db8::7]:4711"),), ("2001:db8::7", "http", "backend")),
        ((xff("::ffff:192.0.2.7"),), (CLIENT, "http", "backend")),
        ((xff(f"{CLIENT}, fd00::5"),), (CLIENT, "http", "backend")),
        ((xff("unknown"),), (NEAR, "http", "backend")),
        ((xff(f"{CLIENT}, unknown, {FAR}"),), (FAR, "http", "backend")),
        # RFC 7239.
        ((forwarded(f"for={CLIENT};proto=https;host=art.example"),), (CLIENT, "https", "art.example")),
        ((forwarded(f"For={CLIENT}; PROTO=https ;by={NEAR}"),), (CLIENT, "https", "backend")),
        ((forwarded('for="[2001:db8::7]:4711"'),), ("2001:db8::7", "http", "backend")),
        ((forwarded(r'for="192.0.2\.7"'),), (CLIENT, "http", "backend")),
        ((forwarded('for="_hidden"'),), (NEAR, "http", "backend")),
        ((forwarded('for="unknown:_port";proto=https'),), (NEAR, "https", "backend")),
        ((forwarded("proto=https"),), (NEAR, "https", "backend")),
        ((forwarded(f"for=1.1.1.1;proto=https, for={CLIENT}"),), (CLIENT, "http", "backend")),
        ((forwarded("for=1.1.1.1;proto=https"), forwarded(f"for={CLIENT}")), (CLIENT, "http", "backend")),
        (
            (forwarded(f"for={CLIENT};proto=https;host=art.example, for={FAR};proto=http;host=backend"),),
            (CLIENT, "https", "art.example"),
        ),
        ((forwarded(f"for={CLIENT}, for={FAR};proto=https"),), (CLIENT, "https", "backend")),
    ],
)
def test_what_a_trusted_proxy_says_is_believed(
    headers: tuple[str, ...], expected: tuple[str, str, str]
) -> None:
    assert seen(*headers) == expected


@pytest.mark.parametrize(
    "peer", [CLIENT, "9.255.255.255", "11.0.0.0", "::1", "fc00::1", "::ffff:9.0.0.1", ""]
)
@pytest.mark.parametrize(
    "headers",
    [
        (xff("10.0.0.9"),),
        (xff("nonsense"),),
        ("X-Forwarded-Proto: https", "X-Forwarded-Host: art.example"),
        (forwarded("for=10.0.0.9;proto=https;host=art.example"),),
        (forwarded('for="'),),
        (xff("10.0.0.9"), forwarded("for=10.0.0.9")),
    ],
)
def test_from_anybody_else_such_headers_change_nothing(peer: str, headers: tuple[str, ...]) -> None:
    plain, spoofed = head_with(), head_with(*headers)
    head, sender = PROXIES.seen(spoofed, peer)
    assert sender == Sender(peer, "http")
    assert head.headers == plain.headers


@pytest.mark.parametrize("peer", ["10.255.255.255", "::ffff:10.1.1.1", "fd00::1", "fd12::1%eth0"])
def test_networks_are_of_both_kinds_and_mapped_addresses_are_known(peer: str) -> None:
    assert seen(xff(CLIENT), peer=peer)[0] == CLIENT


@pytest.mark.parametrize(
    "headers",
    [
        (xff("here"),),
        (xff("192.0.2.256"),),
        (xff("192.0.2.7:65536"),),
        (xff("192.0.2.7:"),),
        (xff("[192.0.2.7]"),),
        (xff("2001:db8::7::1"),),
        (xff("fe80::1%eth0"),),
        (xff(f"nonsense, {FAR}"),),
        (xff('"192.0.2.7"'),),
        (xff(CLIENT), "X-Forwarded-Proto: ftp"),
        (xff(CLIENT), "X-Forwarded-Proto: https;q=1"),
        (xff(CLIENT), "X-Forwarded-Host: art.example/path"),
        (xff(CLIENT), "X-Forwarded-Host: a@art.example"),
        (xff(CLIENT), forwarded(f"for={CLIENT}")),
        ("X-Forwarded-Proto: https", forwarded(f"for={CLIENT}")),
        (forwarded("for"),),
        (forwarded("for="),),
        (forwarded("for=192.0.2.7 proto=https"),),
        (forwarded("for=192.0.2.7;for=1.1.1.1"),),
        (forwarded('for="192.0.2.7'),),
        (forwarded('for="192.0.2.7"x'),),
        (forwarded("for=[2001:db8::7]"),),
        (forwarded("for=2001:db8::7"),),
        (forwarded('for=1.1.1.1;x=", for="[2001:db8::7]"'),),
        (forwarded('for=1.1.1.1;x=", for=192.0.2.7'),),
        (forwarded(f"for={CLIENT};proto=ftp"),),
        (forwarded(f'for={CLIENT};host="art.example/"'),),
    ],
)
def test_what_a_trusted_proxy_cannot_mean_is_refused(headers: tuple[str, ...]) -> None:
    with pytest.raises(Malformed):
        seen(*headers)


def test_the_host_of_the_client_is_checked_by_the_guard_and_that_of_the_proxy_here() -> None:
    with pytest.raises(ForbiddenHost):
        seen("X-Forwarded-Host: art.example", host="evil.example")
    head, _ = PROXIES.seen(head_with("X-Forwarded-Host: evil.example"), NEAR)
    with pytest.raises(ForbiddenHost):
        GUARD.check_head("GET", head.headers)


def test_a_head_without_such_headers_is_left_as_it_is() -> None:
    head = head_with()
    assert PROXIES.seen(head, NEAR)[0] is head


def without(headers: Mapping[str, str]) -> set[str]:
    return {name for name in headers if "FORWARDED" in name}


ADDRESSES = st.one_of(st.ip_addresses().map(str), st.sampled_from([NEAR, FAR, CLIENT, "fd00::9"]))


@given(
    written=st.lists(st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=20), max_size=4),
    client=st.ip_addresses(v=4).filter(lambda one: one not in PROXIES._networks[0]).map(str),
    proxies=st.lists(st.sampled_from([NEAR, FAR, "fd00::9"]), max_size=3),
)
def test_whatever_a_client_writes_its_address_is_the_one_that_the_first_proxy_has_seen(
    written: list[str], client: str, proxies: list[str]
) -> None:
    chain = ", ".join([*written, client, *proxies])
    head, sender = PROXIES.seen(head_with(xff(chain)), NEAR)
    assert sender.address == client
    assert without(head.headers) == set()


@given(text=st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF), max_size=60), peer=ADDRESSES)
def test_any_text_is_read_or_refused(text: str, peer: str) -> None:
    for name in ("Forwarded", "X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host"):
        try:
            head, sender = PROXIES.seen(head_with(f"{name}: {text}"), peer)
        except Malformed:
            continue
        except ForbiddenHost:
            pytest.fail("the host of the proxy is allowed")
        assert without(head.headers) == set()
        assert sender.scheme in ("http", "https")


@pytest.mark.parametrize(
    ("header", "address"),
    [
        (xff(f"{NEAR}," * 4_000), NEAR),
        (xff("," * 50_000), NEAR),
        (xff(f"x,{CLIENT}," + f"{FAR}," * 4_000), CLIENT),
        (forwarded("a=b;" * 12_000 + f"for={CLIENT}"), None),
        (forwarded(f"for={FAR}," * 4_000), FAR),
        (forwarded(", " * 25_000), NEAR),
        (forwarded('for="' + '\\"' * 25_000), None),
    ],
)
def test_a_long_header_is_read_to_its_end_or_refused(header: str, address: str | None) -> None:
    """A reader that took quadratic time would run into the limit of the test."""
    if address is None:
        with pytest.raises(Malformed):
            seen(header)
    else:
        assert seen(header)[0] == address
