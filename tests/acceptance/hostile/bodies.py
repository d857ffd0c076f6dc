"""Hostile names of keys, and bodies and heads that do not come."""

from collections.abc import Iterator
from typing import Final

from tests.acceptance.hostile.exchange import Case, bearer, request
from tests.acceptance.hostile.house import House

NAMES: Final = {
    "nothing": "",
    "blanks": " \t ",
    "NUL": "a\0b",
    "a header": "a\r\nSet-Cookie: spoon_session=x",
    "a line feed": "a\nb",
    "an escape": "a\x1b[31mb",
    "delete": "a\x7f",
    "a C1 control": "a\x9bb",
    "a next line": "a\x85b",
    "a line separator": "a\u2028b",
    "a paragraph separator": "a\u2029b",
    "an override": "a\u202eb",
    "an isolate": "a\u2066b",
    "a mark of direction": "a\u200fb",
    "a zero-width space": "a\u200bb",
    "a zero-width joiner": "a\u200db",
    "a word joiner": "a\u2060b",
    "a byte order mark": "\ufeffa",
    "a soft hyphen": "a\u00adb",
    "a tag": "a\U000e0041b",
    "too many characters": "a" * 201,
    "a name in use": "alice",
    "a name in use, fullwidth": "\uff41lice",
    "a name in use, in bold": "\U0001d41alice",
}


def cases(house: House) -> Iterator[Case]:
    root = bearer(house.keys["root"])
    one_key = f"/v1/keys/{house.ids['key_id']}"
    for kind, name in NAMES.items():
        wrong = (409,) if "in use" in kind else (422,)
        body = {"name": name, "role": "viewer"}
        yield Case(f"a new key with {kind}", request("POST", "/v1/keys", root, body=body), wrong)
        if name != "alice" and "in use" not in kind:
            yield Case(
                f"a key renamed to {kind}", request("PATCH", one_key, root, body={"name": name}), wrong
            )
    for kind, text in {
        "a lone surrogate": b'{"name": "\\ud800", "role": "viewer"}',
        "no UTF-8": b'{"name": "\xff", "role": "viewer"}',
        "overlong UTF-8": b'{"name": "\xc0\xaf", "role": "viewer"}',
        "a surrogate in UTF-8": b'{"name": "\xed\xa0\x80", "role": "viewer"}',
        "a doubled name": b'{"name": "a", "name": "b", "role": "viewer"}',
        "a number": b'{"name": 1, "role": "viewer"}',
        "an unknown role": b'{"name": "a", "role": "root"}',
        "a role in capitals": b'{"name": "a", "role": ["admin"]}',
        "an id": b'{"name": "a", "role": "viewer", "key_id": "x"}',
        "a digest": b'{"name": "a", "role": "viewer", "digest": "x"}',
        "NaN": b'{"name": "a", "role": "viewer", "weight": NaN}',
        "depth": b'{"name": ' + b"[" * 50_000,
    }.items():
        yield Case(f"a key with {kind}", request("POST", "/v1/keys", root, body=text), (400, 422))
    for kind, text in {
        "a surrogate": b'{"key": "\\ud800"}',
        "NUL": b'{"key": "\\u0000"}',
        "a list": b'{"key": ["spoon"]}',
        "nothing": b"",
        "null": b'{"key": null}',
        "1 kB": b'{"key": "' + b"x" * 1_000 + b'"}',
        "1 MB": b'{"key": "' + b"x" * 1_000_000 + b'"}',
        "a user": b'{"key": "x", "user": "root"}',
        "text": b"key=x",
    }.items():
        yield Case(f"signing in with {kind}", request("POST", "/v1/session", body=text), (400, 401, 413, 422))


def slow(house: House) -> Iterator[tuple[Case, bool]]:
    """Requests that stop in the middle, and whether the refusal has to come before the end of patience."""
    root = bearer(house.keys["root"])
    job = f'{{"engine_id": "{house.ids["engine_id"]}", "prompt": "x"'.encode()
    length = f"Content-Length: {len(job) + 1}"
    for name, path in (
        ("ours", "/v1/jobs"),
        ("OpenAI", "/v1/images/generations"),
        ("A1111", "/sdapi/v1/txt2img"),
    ):
        stranger = request("POST", path, length, body=job)
        yield Case(f"a slow body without a key at {name}", stranger, (401,)), True
        unknown = request("POST", path, length, bearer(house.keys["revoked"]), body=job)
        yield Case(f"a slow body with a revoked key at {name}", unknown, (401,)), True
        yield (
            Case(
                f"a slow body with a key at {name}", request("POST", path, length, root, body=job), (0, 408)
            ),
            False,
        )
    head = request("GET", "/v1/jobs", root)
    for kind, part in {"a head": head[:-2], "a line": head[:9], "a name": head[:-4] + b"\r\nX-Slow"}.items():
        yield Case(f"slow: {kind} with a key", part, (408,)), False
        yield Case(f"slow: {kind} without", part.replace(root.encode(), b"X-A: b"), (408,)), False
    chunks = request("POST", "/v1/jobs", "Transfer-Encoding: chunked", "Content-Type: application/json")
    yield Case("slow chunks without a key", chunks + b"5\r\nab", (401,)), True
