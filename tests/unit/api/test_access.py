"""Who asks: keys in headers and cookies, the roles of routes, and what a stranger is told."""

import re
from base64 import b64encode
from collections.abc import Callable, Iterator
from typing import Final

import pytest

from api.http.framework.browser_sessions import LIFE_S
from api.http.framework.request_head import parse_head
from api.http.framework.server import is_loopback
from kernel.protocol.api_keys import KeyIssued, RotateKey
from kernel.protocol.enums import Role
from kernel.protocol.errors import BadConfiguration, KeyExpired, KeyUnknown
from tests.unit.api.stage import NOW_MS, Stage

JOBS: Final = "/v1/jobs"
NEVER: Final = "spoon_" + "0" * 32 + "_" + "f" * 64
"""Of the form of a key, and unknown."""


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def basic(key: str, user: str = "me") -> dict[str, str]:
    return {"Authorization": f"Basic {b64encode(f'{user}:{key}'.encode()).decode()}"}


def code_of(stage: Stage, headers: dict[str, str], path: str = JOBS) -> str:
    """`ok`, or the code of the refusal, which is a 401 or a 403 in the right form."""
    result = stage.get(path, headers=headers)
    if result.status_code == 200:
        return "ok"
    assert result.headers["content-type"] == "application/problem+json"
    assert ("www-authenticate" in result.headers) is (result.status_code == 401)
    code: str = result.json["code"]
    return code


def test_without_keys_everybody_may_do_everything_whatever_they_send(stage: Stage) -> None:
    for headers in ({}, bearer("sk-anything"), basic("x"), {"Authorization": "nonsense"}, {"Cookie": "a=b"}):
        assert code_of(stage, headers) == "ok"
    assert stage.get("/v1/session").json == {
        "key_id": None, "name": None, "role": "admin", "expires_at": None
    }  # fmt: skip


@pytest.mark.parametrize("headers_of", [bearer, basic])
def test_once_there_is_a_key_every_request_needs_one(
    stage: Stage, headers_of: Callable[[str], dict[str, str]]
) -> None:
    key = stage.add_key()
    assert code_of(stage, {}) == "key_missing"
    assert code_of(stage, headers_of(key)) == "ok"
    assert code_of(stage, headers_of(NEVER)) == "key_unknown"
    shown = stage.get("/v1/session", headers=headers_of(key)).json
    assert (shown["name"], shown["role"], shown["key_id"]) == ("admin", "admin", stage.keys["admin"])


def shapes(key: str) -> Iterator[tuple[str, str]]:
    """Authorization headers that are nearly right, and the code of each."""
    coded, longer = b64encode(f"me:{key}".encode()).decode(), [f"me:{key}\xff", f"me:{key}\0"]
    yield "", "key_unknown"
    yield "Bearer", "key_unknown"
    yield "Bearer ", "key_unknown"
    yield key, "key_unknown"
    yield f"bearer  {key} ", "ok"
    yield f"BEARER {key}", "ok"
    yield f"Bearer\t{key}", "key_unknown"
    yield f"Bearer {key}, Bearer {key}", "key_unknown"
    yield f'Bearer "{key}"', "key_unknown"
    yield f"Bearer {key[:-1]}", "key_unknown"
    yield f"Bearer {key}0", "key_unknown"
    yield f"Bearer {key.upper()}", "key_unknown"
    yield f"Bearer {key[:-1]}x", "key_unknown"
    yield f"Bearer {key[:-1]}\u00e9", "key_unknown"
    yield f"Bearer {key[:39]}{'0' * 64}1", "key_unknown"
    yield f"Bearer {key.replace('spoon', 'SPOON')}", "key_unknown"
    yield f"Bearer {'x' * 2_000}", "key_unknown"
    yield f"Token {key}", "key_unknown"
    yield f"Digest {key}", "key_unknown"
    yield f"Negotiate {coded}", "key_unknown"
    yield f"Basic {coded}", "ok"
    yield f"basic {coded}", "ok"
    yield f"Basic {b64encode(key.encode()).decode()}", "key_unknown"
    yield f"Basic {b64encode(f'{key}:'.encode()).decode()}", "key_unknown"
    yield f"Basic {b64encode(f':{key}'.encode()).decode()}", "ok"
    yield f"Basic {b64encode(f'a:b:{key}'.encode()).decode()}", "key_unknown"
    for text in longer:
        yield f"Basic {b64encode(text.encode('latin-1')).decode()}", "key_unknown"
    yield f"Basic {coded[:-1]}", "key_unknown"
    yield f"Basic {coded}=", "key_unknown"
    yield f"Basic ={coded}", "key_unknown"
    yield f"Basic {coded[:8]} {coded[8:]}", "key_unknown"
    yield f"Basic {coded.replace('=', '').replace('Z', '-')}", "key_unknown"
    yield "Basic", "key_unknown"
    yield "Basic ====", "key_unknown"
    yield "Basic \u00e9\u00e9\u00e9\u00e9", "key_unknown"
    yield f"Basic {'A' * 4_000}", "key_unknown"


def test_only_the_right_form_of_the_right_key_is_let_in(stage: Stage) -> None:
    key = stage.add_key()
    found = {header: code_of(stage, {"Authorization": header}) for header, _ in shapes(key)}
    assert found == dict(shapes(key))


def test_two_headers_are_no_key(stage: Stage) -> None:
    head = b"GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer a\r\nAuthorization: Bearer b"
    joined = parse_head(head).headers["AUTHORIZATION"]
    stage.add_key()
    assert code_of(stage, {"Authorization": joined}) == "key_unknown"


@pytest.mark.parametrize(
    "path", ["/v1/jobs?key={}", "/v1/jobs?api_key={}", "/v1/jobs?access_token={}", "/v1/jobs?token={}"]
)
def test_a_key_in_a_url_is_no_key(stage: Stage, path: str) -> None:
    key = stage.add_key()
    assert code_of(stage, {}, path.format(key)) == "key_missing"


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ({"expires_at_ms": NOW_MS + 1}, "ok"),
        ({"expires_at_ms": NOW_MS}, "key_expired"),
        ({"revoked_at_ms": 1}, "key_revoked"),
        ({"revoked_at_ms": 1, "expires_at_ms": 1}, "key_revoked"),
    ],
)
def test_only_the_holder_of_the_secret_is_told_of_the_end_of_a_key(
    stage: Stage, values: dict[str, int], code: str
) -> None:
    key = stage.add_key(**values)
    assert code_of(stage, bearer(key)) == code
    assert code_of(stage, bearer(key[:-1] + "f")) == "key_unknown"


def test_a_revoked_key_is_refused_as_soon_as_the_manager_has_said_so(stage: Stage) -> None:
    key = stage.add_key()
    assert code_of(stage, bearer(key)) == "ok"
    stage.database.connection.execute("UPDATE api_key SET revoked_at_ms = 5")
    stage.tell_of_keys()
    assert code_of(stage, bearer(key)) == "key_revoked"
    stage.database.connection.execute("UPDATE api_key SET revoked_at_ms = NULL")
    stage.hub.tell_to_reread()
    assert code_of(stage, bearer(key)) == "ok", "also if the notice itself was missed"


def test_the_very_same_header_is_recognized_once_and_no_longer_than_its_key_is_as_it_was(
    stage: Stage,
) -> None:
    """As those of equal heads are, which are parsed once."""
    headers = {"AUTHORIZATION": f"Bearer {stage.add_key(expires_at_ms=NOW_MS + 1)}"}
    access, execute = stage.app.access, stage.database.connection.execute
    first = access.caller(headers)
    assert access.caller(headers).key is first.key
    for change, code in {
        "role = 'viewer'": None,
        "digest = 'that of another secret'": "key_unknown",
        "revoked_at_ms = 5": "key_unknown",
    }.items():
        execute(f"UPDATE api_key SET {change}")
        stage.tell_of_keys()
        for _ in range(2):
            if code is None:
                assert access.caller(headers).role is Role.VIEWER
            else:
                with pytest.raises(KeyUnknown):
                    access.caller(headers)


def test_the_very_same_header_expires_with_its_key(stage: Stage) -> None:
    headers = {"AUTHORIZATION": f"Bearer {stage.add_key(expires_at_ms=NOW_MS + 1)}"}
    access = stage.app.access
    access.caller(headers)
    access.keys.now_ms = lambda: NOW_MS + 1
    with pytest.raises(KeyExpired):
        access.caller(headers)


def test_a_server_whose_keys_have_all_ended_is_not_open_again(stage: Stage) -> None:
    stage.add_key(revoked_at_ms=1)
    assert code_of(stage, {}) == "key_missing"


PUBLIC = ("/v1/health/live", "/v1/health/ready", "/docs", "/openapi.json")


@pytest.mark.parametrize("path", PUBLIC)
def test_some_pages_need_no_key(stage: Stage, path: str) -> None:
    stage.add_key()
    assert stage.get(path).status_code == 200


def operations(stage: Stage) -> Iterator[tuple[str, str, str | None]]:
    """Each call with its least role, as the description says."""
    for path, methods in stage.get("/openapi.json").json["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), re.sub(r"{\w+}", "x", path), operation.get("x-least-role")


def test_no_call_is_let_through_without_a_key_but_the_public_ones(stage: Stage) -> None:
    stage.add_key()
    open_calls = []
    for method, path, least in operations(stage):
        status = stage.call(method, path).status_code
        assert (status == 401) is (least is not None), (method, path, status)
        if least is None:
            open_calls.append(f"{method} {path}")
    assert sorted(set(open_calls)) == [
        "DELETE /v1/session",
        "GET /",
        "GET /docs",
        "GET /openapi.json",
        "GET /v1/health/live",
        "GET /v1/health/ready",
        "GET /v1/images/x/content",
        "GET /web/x/x",
        "POST /v1/session",
    ]
    assert stage.bus.asked == []


@pytest.mark.parametrize("role", [Role.VIEWER, Role.USER])
def test_a_lesser_role_is_refused_before_anything_is_looked_at(stage: Stage, role: Role) -> None:
    ranks = [Role.VIEWER, Role.USER, Role.ADMIN]
    headers = bearer(stage.add_key("lesser", role))
    for method, path, least in operations(stage):
        if least is not None and ranks.index(Role(least)) > ranks.index(role):
            result = stage.call(method, path, headers=headers)
            assert result.status_code == 403, (method, path)
            assert "needs a key of the role" in result.text
    assert stage.bus.asked == []


def test_scripts_of_a_page_are_not_offered_the_dialog_of_the_browser(stage: Stage) -> None:
    stage.add_key()
    assert "Basic" in stage.get(JOBS).headers["www-authenticate"]
    assert "Basic" not in stage.get(JOBS, headers={"Sec-Fetch-Dest": "empty"}).headers["www-authenticate"]


# Sessions.


def sign_in(stage: Stage, key: str) -> str:
    result = stage.post("/v1/session", {"key": key})
    assert result.status_code == 200, result.json
    return result.headers["set-cookie"]


def test_a_browser_signs_in_and_has_a_cookie_that_scripts_and_other_sites_cannot_use(stage: Stage) -> None:
    set_cookie = sign_in(stage, stage.add_key())
    cookie, *attributes = set_cookie.split("; ")
    assert set(attributes) == {"Path=/", "HttpOnly", "SameSite=Strict", f"Max-Age={LIFE_S}"}
    assert code_of(stage, {"Cookie": f"a=b; {cookie}; c=d"}) == "ok"
    assert stage.get("/v1/session", headers={"Cookie": cookie}).json["name"] == "admin"
    left = stage.call("DELETE", "/v1/session", headers={"Cookie": cookie})
    assert left.status_code == 204
    assert "expires=Thu, 01 Jan 1970" in left.headers["set-cookie"]


def test_behind_tls_the_cookie_is_for_tls_alone(stage: Stage) -> None:
    result = stage.post("/v1/session", {"key": stage.add_key()}, protocol="https")
    assert "; Secure" in result.headers["set-cookie"]


def test_a_session_lasts_no_longer_than_its_key(stage: Stage) -> None:
    set_cookie = sign_in(stage, stage.add_key(expires_at_ms=NOW_MS + 60_000))
    assert "Max-Age=60" in set_cookie.split("; ")


@pytest.mark.parametrize("key", ["", NEVER, "x" * 500])
def test_a_wrong_key_signs_nobody_in(stage: Stage, key: str) -> None:
    stage.add_key()
    result = stage.post("/v1/session", {"key": key})
    assert (result.status_code, result.json["code"]) == (401, "key_unknown")
    assert "set-cookie" not in result.headers


def test_a_session_ends_with_the_secret_and_with_the_key(stage: Stage) -> None:
    cookie = {"Cookie": sign_in(stage, stage.add_key()).split(";")[0]}
    changes = {
        "issued_at_ms = 2": "key_unknown",
        "issued_at_ms = 1000, expires_at_ms = 5": "key_expired",
        "revoked_at_ms = 5": "key_revoked",
    }
    for change, code in changes.items():
        stage.database.connection.execute(f"UPDATE api_key SET {change}")
        stage.tell_of_keys()
        assert code_of(stage, cookie) == code
    stage.database.connection.execute("DELETE FROM api_key")
    stage.add_key("other")
    assert code_of(stage, cookie) == "key_unknown"


def test_a_session_that_was_changed_by_a_character_is_none(stage: Stage) -> None:
    name, _, session = sign_in(stage, stage.add_key()).split(";")[0].partition("=")
    for place in range(len(session)):
        changed = session[:place] + ("0" if session[place] != "0" else "1") + session[place + 1 :]
        assert code_of(stage, {"Cookie": f"{name}={changed}"}) == "key_unknown", place


@pytest.mark.parametrize(
    "cookie",
    [
        "spoon_session=",
        "spoon_session=.",
        "spoon_session=...",
        "spoon_session=a.b.c.d",
        "spoon_session=" + "x" * 5_000,
        "spoon_session=\u00e9",
    ],
)
def test_what_is_no_session_lets_nobody_in(stage: Stage, cookie: str) -> None:
    stage.add_key()
    assert code_of(stage, {"Cookie": cookie}) == "key_unknown"


def test_two_sessions_are_none_and_a_key_goes_before_a_session(stage: Stage) -> None:
    key = stage.add_key()
    cookie = sign_in(stage, key).split(";")[0]
    assert code_of(stage, {"Cookie": f"{cookie}; {cookie}"}) == "key_missing"
    assert code_of(stage, {"Cookie": cookie, **bearer(NEVER)}) == "key_unknown"
    assert code_of(stage, {"Cookie": "spoon_session=x", **bearer(key)}) == "ok"


def test_a_page_of_another_origin_cannot_use_a_session(stage: Stage) -> None:
    cookie = sign_in(stage, stage.add_key()).split(";")[0]
    headers = {"Cookie": cookie, "Host": "localhost:7870", "Origin": "http://localhost:9999"}
    result = stage.post(JOBS, {"engine_id": "e1"}, headers=headers)
    assert (result.status_code, result.json["code"]) == (403, "forbidden_origin")


# What belongs to a key.


def test_idempotency_keys_belong_to_the_api_key_that_they_came_with(stage: Stage) -> None:
    keys = [stage.add_key("one", "admin"), stage.add_key("two", "admin")]
    stage.bus.reactions[RotateKey] = KeyIssued(key_id=stage.keys["one"])
    for key in keys:
        stage.post("/v1/keys/one/rotate", {}, headers=bearer(key) | {"Idempotency-Key": "once"})
    assert len(set(stage.bus.keys)) == 2
    assert all(str(key).endswith(":once") for key in stage.bus.keys)


# Who may listen where.


@pytest.mark.parametrize(
    ("host", "is_only_here"),
    [("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("localhost", True), ("0.0.0.0", False),
     ("::", False), ("192.0.2.1", False)],
)  # fmt: skip
def test_an_address_that_only_this_machine_reaches_is_known(host: str, is_only_here: bool) -> None:
    assert is_loopback(host) is is_only_here


def test_a_host_without_an_address_is_a_mistake_of_the_configuration() -> None:
    with pytest.raises(BadConfiguration, match=r"server\.host nowhere\.invalid"):
        is_loopback("nowhere.invalid")
