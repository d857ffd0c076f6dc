"""The head of a request: what is read, and what is refused because it could be read in two ways."""

import pytest

from api.http.contract.errors import CodingNotSupported, Malformed, TooLarge, VersionNotSupported
from api.http.contract.host_header import host_in
from api.http.framework.request_head import MAX_HEAD_BYTES, SLASH, Head, HeadReader, parse_head
from kernel.protocol.errors import SpoonError

HOST = b"Host: localhost"


def head(*lines: bytes) -> Head:
    return parse_head(b"\r\n".join(lines))


def test_a_head_is_read() -> None:
    found = head(
        b"POST /v1/jobs%20a?b=c%20d HTTP/1.1", HOST, b"Content-Length: 12", b"X-A:  b\tc ", b"x-a: d"
    )
    assert (found.method, found.path, found.query) == ("POST", "/v1/jobs a", "b=c%20d")
    assert found.headers == {"HOST": "localhost", "CONTENT_LENGTH": "12", "X_A": "b\tc, d"}
    assert (found.length, found.is_chunked, found.is_last) == (12, False, False)


@pytest.mark.parametrize("escape", [b"%2f", b"%2F"])
def test_an_escaped_slash_separates_no_segments(escape: bytes) -> None:
    found = head(b"GET /v1/models/owner" + escape + b"name%252F?a=%2F HTTP/1.1", HOST)
    assert (found.path, found.query) == (f"/v1/models/owner{SLASH}name%2F", "a=%2F")


@pytest.mark.parametrize(
    ("lines", "is_last"),
    [
        ((b"GET / HTTP/1.1", HOST), False),
        ((b"GET / HTTP/1.1", HOST, b"Connection: TE, Close"), True),
        ((b"GET / HTTP/1.0",), True),
        ((b"GET / HTTP/1.0", b"Connection: Keep-Alive"), False),
    ],
)
def test_whether_the_connection_stays_is_said_by_version_and_header(
    lines: tuple[bytes, ...], is_last: bool
) -> None:
    assert head(*lines).is_last == is_last


def test_a_whole_address_counts_before_the_header() -> None:
    found = head(b"GET http://studio:80/v1/jobs?a=1 HTTP/1.1", HOST)
    assert (found.headers["HOST"], found.path, found.query) == ("studio:80", "/v1/jobs", "a=1")
    assert head(b"GET HTTP://studio HTTP/1.1", HOST).path == "/"


@pytest.mark.parametrize(
    "line",
    [
        b"GET /",
        b"GET / HTTP/1",
        b"GET / HTTP/1.1 ",
        b"GET  / HTTP/1.1",
        b"GET\t/ HTTP/1.1",
        b" GET / HTTP/1.1",
        b"get / HTTP/1.1",
        b"G@T / HTTP/1.1",
        b"GET / http/1.1",
        b"GET / HTTP/11.1",
        b"GET v1/jobs HTTP/1.1",
        b"GET * HTTP/1.1",
        b"GET /#top HTTP/1.1",
        b"GET /\x00 HTTP/1.1",
        b"GET /\xc3\xa4 HTTP/1.1",
        b"GET /a\rb HTTP/1.1",
        b"GET ftp://localhost/ HTTP/1.1",
        b"GET http://a@localhost/ HTTP/1.1",
        b"GET http:///v1 HTTP/1.1",
        b"CONNECT localhost:80 HTTP/1.1",
        b"A" * 33 + b" / HTTP/1.1",
    ],
)
def test_what_is_no_request_line_is_refused(line: bytes) -> None:
    with pytest.raises(Malformed):
        head(line, HOST)


@pytest.mark.parametrize("version", [b"0.9", b"1.2", b"2.0", b"3.0"])
def test_other_versions_are_not_spoken(version: bytes) -> None:
    with pytest.raises(VersionNotSupported):
        head(b"GET / HTTP/" + version, HOST)


@pytest.mark.parametrize(
    "field",
    [
        b"Name : value",
        b" folded",
        b"\tfolded",
        b"no colon",
        b": no name",
        b"N\x00me: value",
        b"Name: va\x00lue",
        b"Name: va\rlue",
        b"Name: va\nlue",
        b"Name: va\x7flue",
        b"N\xc3\xa4me: value",
        b"Content-Length: +1",
        b"Content-Length: -1",
        b"Content-Length: 0x1",
        b"Content-Length: 1_0",
        b"Content-Length: 1.0",
        b"Content-Length:",
        b"Content-Length: 1, 1",
        b"Content-Length: 1\r\nContent-Length: 1",
        b"Content-Length: " + b"9" * 5_000,
        b"Content-Length: \xb2",
        b"Content-Length: 1\r\nTransfer-Encoding: chunked",
        b"Transfer-Encoding: chunked\r\nContent-Length: 0",
        b"Host: localhost",
        b"Host:",
    ],
)
def test_what_is_no_header_is_refused(field: bytes) -> None:
    with pytest.raises(Malformed):
        head(b"POST / HTTP/1.1", HOST, field)


@pytest.mark.parametrize(
    "coding", [b"gzip", b"gzip, chunked", b"chunked, chunked", b"identity", b"", b"\x0bchunked"]
)
def test_the_only_coding_is_chunked(coding: bytes) -> None:
    with pytest.raises((CodingNotSupported, Malformed)):
        head(b"POST / HTTP/1.1", HOST, b"Transfer-Encoding: " + coding)
    assert head(b"POST / HTTP/1.1", HOST, b"Transfer-Encoding: Chunked").is_chunked


def test_the_old_version_has_no_chunks() -> None:
    with pytest.raises(Malformed):
        head(b"POST / HTTP/1.0", b"Transfer-Encoding: chunked")


@pytest.mark.parametrize("hosts", [(), (b"Host:",), (b"Host: a b",), (b"Host: a@b",), (b"Host: a, b",)])
def test_the_host_is_exactly_one(hosts: tuple[bytes, ...]) -> None:
    with pytest.raises(Malformed):
        head(b"GET / HTTP/1.1", *hosts)


def test_a_name_that_wsgi_could_confuse_is_left_out() -> None:
    assert "CONTENT_LENGTH" not in head(b"GET / HTTP/1.1", HOST, b"Content_Length: 5").headers


def test_too_many_headers_are_refused() -> None:
    with pytest.raises(TooLarge):
        head(b"GET / HTTP/1.1", HOST, *[b"a: b"] * 100)


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("LocalHost:80", "localhost"),
        ("localhost.", "localhost"),
        ("localhost:", "localhost"),
        ("[::1]:80", "::1"),
        ("[0:0::1]", "::1"),
        ("a_b~c%41", "a_b~c%41"),
        ("", None),
        (".", None),
        (":80", None),
        ("a:65536", None),
        ("a:-1", None),
        ("a:80:80", None),
        ("a/b", None),
        ("a?b", None),
        ("a b", None),
        ("a%4", None),
        ("[::1", None),
        ("[::1]a", None),
        ("[::1%25eth0]", None),
        ("::1", None),
        ("ä", None),
        ("a" * 256, None),
    ],
)
def test_a_host_is_a_host_and_perhaps_a_port(text: str, host: str | None) -> None:
    assert host_in(text) == host


def test_a_head_may_come_in_pieces_and_the_body_is_left() -> None:
    whole = b"\r\n\r\nGET / HTTP/1.1\r\nHost: localhost\r\n\r\nbody"
    for size in (1, 2, 3, 7, 100):
        reader, consumed = HeadReader(), 0
        for at in range(0, len(whole), size):
            count, found = reader.take(whole[at : at + size])
            consumed += count
            if found is not None:
                break
        assert found is not None
        assert whole[consumed:] == b"body"


@pytest.mark.parametrize(
    "data", [b"\x16\x03\x01", b"GET /\r\n", b"GET / HTTP/1.1\n", b" ", b"get", b"PRI * HTTP/2.0\r\n", b"\x00"]
)
def test_what_is_no_request_is_refused_at_its_first_line(data: bytes) -> None:
    with pytest.raises(SpoonError):
        HeadReader().take(data)


def test_blanks_cost_no_more_than_other_bytes() -> None:
    """Half a million of them: in time that grows with their square it would be a quarter of an hour."""
    block = b"GET / HTTP/1.1\r\nHost: localhost\r\nX:" + b" " * 500_000 + b"\x01"
    with pytest.raises(Malformed):
        parse_head(block)


def in_pieces(reader: HeadReader, data: bytes, size: int) -> None:
    for at in range(0, len(data), size):
        reader.take(data[at : at + size])


@pytest.mark.parametrize("size", [MAX_HEAD_BYTES, 1_000, 1_000_000])
def test_a_head_that_is_too_long_is_refused_when_it_is(size: int) -> None:
    reader, data = HeadReader(), b"GET / HTTP/1.1\r\nA: " + b"x" * (MAX_HEAD_BYTES + 100) + b"\r\n\r\n"
    with pytest.raises(TooLarge):
        in_pieces(reader, data, size)
    assert reader.received_bytes <= MAX_HEAD_BYTES + size


def test_the_same_head_again_is_read_as_the_first_was_and_refused_as_the_first_was() -> None:
    good = b"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\n"
    bad = good.replace(b"Host: localhost", b"Host: a@localhost")
    for _ in range(3):
        assert HeadReader().take(good + b"{}\n") == (len(good), parse_head(good[:-4]))
        with pytest.raises(Malformed):
            HeadReader().take(bad)
    in_pieces = HeadReader()
    assert in_pieces.take(good[:30]) == (30, None)
    assert in_pieces.take(good[30:]) == (len(good) - 30, parse_head(good[:-4]))
