"""Hostile credentials at each entrance, and headers that two parsers could read differently."""

from base64 import b64encode
from collections.abc import Iterator
from typing import Final

from tests.acceptance.hostile.exchange import Case, bearer, cookie, request
from tests.acceptance.hostile.house import House

JOBS: Final = "/v1/jobs"
ENTRANCES: Final = {
    "ours": ("GET", JOBS, None),
    "OpenAI": ("POST", "/v1/images/generations", {"model": "plain", "prompt": "x"}),
    "A1111": ("POST", "/sdapi/v1/txt2img", {"prompt": "x"}),
}
UNKNOWN: Final = f"spoon_{'0' * 32}_{'f' * 64}"


def basic(key: str, user: str = "me") -> str:
    return f"Authorization: Basic {b64encode(f'{user}:{key}'.encode('latin-1')).decode()}"


def cases(house: House) -> Iterator[Case]:
    yield from ended_keys(house)
    yield from sessions(house)
    yield from shapes(house.keys["root"])
    yield from both(house)
    yield from in_other_places(house.keys["root"])


def ended_keys(house: House) -> Iterator[Case]:
    """Each bad key at each entrance."""
    alice = house.keys["alice"]
    flipped = alice[:-1] + ("0" if alice[-1] != "0" else "1")
    bad = {
        "unknown": (UNKNOWN, "key_unknown"),
        "wrong secret": (flipped, "key_unknown"),
        "another's secret": (alice[:39] + house.keys["bob"][39:], "key_unknown"),
        "revoked": (house.keys["revoked"], "key_revoked"),
        "expired": (house.keys["expired"], "key_expired"),
        "rotated": (house.keys["rotated"], "key_unknown"),
    }
    for kind, (key, code) in bad.items():
        for entrance, (method, path, body) in ENTRANCES.items():
            asked = code if entrance == "ours" else None
            yield Case(
                f"{kind} Bearer {entrance}", request(method, path, bearer(key), body=body), (401,), asked
            )
            yield Case(
                f"{kind} Basic {entrance}", request(method, path, basic(key), body=body), (401,), asked
            )
        yield Case(f"{kind} signs in", request("POST", "/v1/session", body={"key": key}), (401,), code)


def sessions(house: House) -> Iterator[Case]:
    codes = {"revoked": "key_revoked", "rotated": "key_unknown", "expired": "key_expired"}
    for kind, code in codes.items():
        yield Case(f"{kind} cookie", request("GET", JOBS, cookie(house.sessions[kind])), (401,), code)
    alice, root = house.sessions["alice"], house.sessions["root"]
    said, _, signature = alice.rpartition(".")
    forged = {
        "the signature of root's": f"{said}.{root.rpartition('.')[2]}",
        "root's words": f"{root.rpartition('.')[0]}.{signature}",
        "no signature": said,
        "an empty one": f"{said}.",
        "a longer life": f"{said}0.{signature}",
        "upper case": alice.upper(),
        "quotes": f'"{alice}"',
        "a blank": f"{alice} x",
        "latin-1": f"{alice}\xe9",
        "a long one": alice + "0" * 3_000,
    }
    for kind, session in forged.items():
        yield Case(f"cookie with {kind}", request("GET", JOBS, cookie(session)), (401,))
    two = f"{cookie(alice)}; spoon_session={root}"
    yield Case("two sessions in a cookie", request("GET", JOBS, two), (401,), "key_missing")
    yield Case("two cookies", request("GET", JOBS, cookie(alice), cookie(root)), (401,))


def shapes(key: str) -> Iterator[Case]:
    """Authorization headers that are nearly right."""
    plain = f"me:{key}".encode()
    coded = b64encode(plain).decode()
    ends = {"NUL": b"\0", "a line end": b"\r\n", "latin-1": b"\xff", "a blank": b" "}
    values: dict[str, str | bytes] = {
        "nothing": "",
        "the key alone": key,
        "no key": "Bearer",
        "a tab": f"Bearer\t{key}",
        "upper case": f"Bearer {key.upper()}",
        "a quote": f'Bearer "{key}"',
        "two keys": f"Bearer {key} {key}",
        "a list": f"Bearer {key}, Bearer {key}",
        "one more digit": f"Bearer {key}0",
        "one digit less": f"Bearer {key[:-1]}",
        "dashes": f"Bearer {key.replace('_', '-')}",
        "latin-1": f"Bearer {key}\xe9",
        "a fullwidth digit": f"Bearer {key[:-1]}".encode() + "\uff10".encode(),
        "an escape": f"Bearer {key[:-1]}%30",
        "8 kB": f"Bearer {'x' * 8_000}",
        "another scheme": f"Token {key}",
        "Basic without a colon": f"Basic {b64encode(key.encode()).decode()}",
        "Basic as the user": f"Basic {b64encode(f'{key}:'.encode()).decode()}",
        "Basic with two colons": f"Basic {b64encode(f'a:b:{key}'.encode()).decode()}",
        "Basic in UTF-16": f"Basic {b64encode(f'me:{key}'.encode('utf-16')).decode()}",
        **{f"Basic with {kind}": f"Basic {b64encode(plain + end).decode()}" for kind, end in ends.items()},
        "Basic of nothing": "Basic",
        "Basic of padding": "Basic ====",
        "Basic of 4 kB": f"Basic {'QUFB' * 1_024}",
        "Basic without the end": f"Basic {coded[:-2]}",
        "Basic with a blank": f"Basic {coded[:8]} {coded[8:]}",
        "Basic for URLs": f"Basic {coded.rstrip('=').replace('c', '-')}",
        "Basic twice": f"Basic {b64encode(coded.encode()).decode()}",
    }
    for kind, value in values.items():
        line = b"Authorization: " + (value if isinstance(value, bytes) else value.encode("latin-1"))
        yield Case(f"Authorization with {kind}", request("GET", JOBS, line), (401,), "key_unknown")
    for kind, line in {
        "NUL": f"Authorization: Bearer {key}\0".encode(),
        "NUL within": f"Authorization: Bearer {key[:50]}\0{key[50:]}".encode(),
        "a line feed": f"Authorization: Bearer {key}\nX-Role: admin".encode(),
        "a carriage return": f"Authorization: Bearer\r {key}".encode(),
        "a blank before the colon": f"Authorization : Bearer {key}".encode(),
        "a folded line": f"Authorization: Bearer\r\n {key}".encode(),
        "a name in latin-1": f"Authorization\xe9: Bearer {key}".encode("latin-1"),
    }.items():
        yield Case(f"a header with {kind}", request("GET", JOBS, line), (400,))


def both(house: House) -> Iterator[Case]:
    """Several credentials in one request: none of them counts that is not alone of its kind."""
    good, session = bearer(house.keys["root"]), cookie(house.sessions["root"])
    bad = bearer(UNKNOWN)
    for kind, lines in {
        "bad, and a good cookie": (bad, session),
        "a good cookie, and bad": (session, bad),
        "empty, and a good cookie": ("Authorization: ", session),
        "good, and bad": (good, bad),
        "bad, and good": (bad, good),
        "good, twice": (good, good),
        "good, and Basic": (good, basic(house.keys["root"])),
        "revoked, and good": (bearer(house.keys["revoked"]), good),
    }.items():
        yield Case(f"Authorization is {kind}", request("GET", JOBS, *lines), (401,), "key_unknown")


def in_other_places(key: str) -> Iterator[Case]:
    """A key counts in the Authorization header alone."""
    for name in ("key", "api_key", "access_token", "token", "Authorization"):
        yield Case(f"?{name}=", request("GET", f"{JOBS}?{name}={key}"), (401,), "key_missing")
    for name in (
        "X-API-Key",
        "Api-Key",
        "Proxy-Authorization",
        "X-Forwarded-User",
        "Authorization_",
        "X_Authorization",
    ):
        line = f"{name}: Bearer {key}"
        yield Case(f"{name}:", request("GET", JOBS, line), (401,), "key_missing")
    for name in ("spoon_key", "Spoon_Session", "spoon-session", "__Host-spoon_session"):
        yield Case(f"Cookie {name}", request("GET", JOBS, f"Cookie: {name}={key}"), (401,), "key_missing")
    yield Case("a key as a session", request("GET", JOBS, cookie(key)), (401,), "key_unknown")
    userinfo = f"http://me:{key}@127.0.0.1{JOBS}"
    yield Case("a key in the target", request("GET", userinfo), (400, 401))
