"""Signed links that were changed, and paths that two parsers could read differently."""

from collections.abc import Iterator
from typing import Final
from urllib.parse import parse_qs, urlsplit

from api.http.app import LINKS_KEY
from api.http.compat.openai.signed_links import LIFE_S, SignedLinks
from tests.acceptance.hostile.exchange import Case, bearer, cookie, request
from tests.acceptance.hostile.house import House

NO_PATHS: Final = (
    "//v1/keys",
    "/v1//keys",
    "/v1/keys//",
    "/./v1/keys",
    "/v1/./keys",
    "/v1/x/../keys",
    "/v1/%2e%2e/v1/keys",
    "/v1/x/%2e%2e/keys",
    "/v1/..%2fkeys",
    "/v1/%2fkeys",
    "/v1%2fkeys",
    "/v1%2Fkeys",
    "/v1/keys%00",
    "/v1/keys%0a",
    "/v1/keys%20",
    "/v1/keys;x=1",
    "/V1/KEYS",
    "/v1/k%c0%a5ys",
    "/v1/%c0%ae%c0%ae/keys",
    "/v1/ke%e2%80%8bys",
    "/v1/%ef%bd%8beys",
    "/v1/keys%3f",
    "/v1/keys/%2e",
    "/v1/keys.json",
    "/v1\\keys",
    "/v1/jobs/..;/keys",
    "/v1/jobs/%2e%2e/keys",
    "/v1/jobs/%252e%252e/keys",
)
"""None of them is the list of keys, to anybody."""
ORIGINS: Final = (
    "null",
    "http://evil.example",
    "http://127.0.0.1:1",
    "http://127.0.0.1.evil.example",
    "http://evil.example/127.0.0.1",
    "file://",
    "",
    "http://127.0.0.1@evil.example",
)
"""Of pages of others."""
MEDIA_TYPES: Final = (
    "text/plain",
    "application/x-www-form-urlencoded",
    "multipart/form-data; boundary=x",
    "text/plain; x=application/json",
    "application/jsonp",
    "application/json; charset=utf-7",
)
"""Those of forms, and some that are nearly JSON."""


def cases(house: House) -> Iterator[Case]:
    yield from links(house)
    yield from paths(house)


def links(house: House) -> Iterator[Case]:
    """Each byte of a link changed, and parameters that are no longer those of the link."""
    whole = urlsplit(house.link)
    query = {name: values[0] for name, values in parse_qs(whole.query).items()}
    expires, signature = query["expires"], query["signature"]
    for place, byte in enumerate(signature):
        changed = signature[:place] + ("A" if byte != "A" else "B") + signature[place + 1 :]
        target = f"{whole.path}?expires={expires}&signature={changed}"
        yield Case(f"byte {place} of a signature", request("GET", target), (403,), "bad_signature")
    for place, byte in enumerate(expires):
        later = expires[:place] + str((int(byte) + 1) % 10) + expires[place + 1 :]
        target = f"{whole.path}?expires={later}&signature={signature}"
        yield Case(f"digit {place} of the expiry", request("GET", target), (403,), "bad_signature")
    image_id = whole.path.split("/")[3]
    for place in range(0, len(image_id), 3):
        other = image_id[:place] + ("0" if image_id[place] != "0" else "1") + image_id[place + 1 :]
        target = f"/v1/images/{other}/content?{whole.query}"
        yield Case(f"byte {place} of the image", request("GET", target), (403,), "bad_signature")
    other = f"/v1/images/{house.ids['image_id']}/content?{whole.query}"
    yield Case("another image", request("GET", other), (403,), "bad_signature")
    yield Case(
        "another image for bob", request("GET", other, bearer(house.keys["bob"])), (403,), "bad_signature"
    )
    past = SignedLinks(house.server.folder / "bus" / LINKS_KEY).link_to(
        image_id, (int(expires) - 2 * LIFE_S) * 1_000
    )
    yield Case("an expired link", request("GET", past), (410,), "link_expired")
    signed, until = f"signature={signature}", f"expires={expires}"
    for kind, said in {
        "no query": "",
        "no signature": until,
        "no expiry": signed,
        "an empty signature": f"{until}&signature=",
        "a doubled signature": f"{until}&{signed}&{signed}",
        "a doubled expiry": f"{until}&{until}&{signed}",
        "a good and a bad signature": f"{until}&{signed}&signature=A",
        "another parameter": f"{until}&{signed}&download=1",
        "a negative expiry": f"expires=-1&{signed}",
        "a huge expiry": f"expires={'9' * 400}&{signed}",
        "a fraction": f"{until}.0&{signed}",
        "an exponent": f"expires=1e12&{signed}",
        "fullwidth digits": f"expires=%ef%bc%91&{signed}",
        "a null": f"expires=null&{signed}",
        "a long signature": f"{until}&signature={'A' * 5_000}",
        "a signature with NUL": f"{until}&{signed}%00",
        "a signature with padding": f"{until}&{signed}=",
        "a signature with a blank": f"{until}&{signed}%20",
        "overlong UTF-8": f"{until}&signature=%c0%81{signature[1:]}",
        "no UTF-8": f"{until}&signature=%ff{signature[1:]}",
        "a lone surrogate": f"{until}&signature=%ed%a0%80{signature[1:]}",
        "semicolons": f"{until};{signed}",
    }.items():
        yield Case(f"a link with {kind}", request("GET", f"{whole.path}?{said}"), (400, 403, 422))
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        yield Case(f"{method} of a link", request(method, house.link), (401, 404, 405))
    for path in ("download", "reference", "mask", "content/", "content%2f", "Content", "content/x"):
        target = f"/v1/images/{image_id}/{path}?{whole.query}&x=1"
        yield Case(f"a link to {path}", request("GET", target), (401, 404, 422))


def paths(house: House) -> Iterator[Case]:
    viewer, root = bearer(house.keys["viewer"]), bearer(house.keys["root"])
    for path in NO_PATHS:
        yield Case(f"{path} by a stranger", request("GET", path), (400, 401, 404))
        yield Case(f"{path} by a viewer", request("GET", path, viewer), (400, 403, 404))
        body = {"name": "new", "role": "admin"}
        yield Case(f"a key by {path}", request("POST", path, viewer, body=body), (400, 403, 404, 405))
        yield Case(f"{path} by root", request("DELETE", path, root), (400, 404, 405))
    for path in (
        "/v1/keys/",
        "/v1/%6beys",
        "/v1/%6B%65ys",
        "http://127.0.0.1/v1/keys",
        "/v1/keys?x",
        "/v1/keys?%00",
    ):
        yield Case(f"{path} by a stranger", request("GET", path), (401,))
        yield Case(f"{path} by a viewer", request("GET", path, viewer), (403,))
    for path in (
        "*",
        "v1/keys",
        "",
        "127.0.0.1:80",
        "/v1/keys#x",
        "/v1/k eys",
        "/v1/k\u00e9ys",
        "ftp://127.0.0.1/v1/keys",
    ):
        yield Case(f"target {path!r}", request("GET", "").replace(b"GET  ", f"GET {path} ".encode()), (400,))
    for method in ("HEAD", "TRACE", "CONNECT", "PROPFIND", "get", "GET\t"):
        yield Case(f"{method} by a viewer", request(method, "/v1/keys", viewer), (400, 403, 404, 405, 501))
    for name in ("X-HTTP-Method-Override", "X-Method-Override", "X-Original-URL", "X-Rewrite-URL"):
        value = "DELETE" if "Method" in name else f"/v1/keys/{house.ids['key_id']}"
        path = f"/v1/keys/{house.ids['key_id']}"
        yield Case(f"{name} by a viewer", request("POST", path, viewer, f"{name}: {value}"), (403, 405))
        yield Case(f"{name} by a stranger", request("POST", path, f"{name}: {value}"), (401, 405))
    yield from foreign_pages(house)


def foreign_pages(house: House) -> Iterator[Case]:
    """What a page of somebody else makes a browser send that is signed in."""
    session, path = cookie(house.sessions["root"]), "/v1/keys"
    body = {"name": "csrf", "role": "admin"}
    for origin in ORIGINS:
        sent = request("POST", path, session, f"Origin: {origin}", body=body)
        yield Case(f"a page of {origin!r}", sent, (403,), "forbidden_origin")
    for mode in ("no-cors", "cors", "navigate", "websocket"):
        for target in (path, f"/v1/jobs/{house.ids['job_id']}/retry"):
            sent = request("POST", target, session, "Sec-Fetch-Site: cross-site", f"Sec-Fetch-Mode: {mode}")
            yield Case(f"cross-site {mode} at {target}", sent, (403,), "forbidden_origin")
    for media in MEDIA_TYPES:
        sent = request("POST", path, session, f"Content-Type: {media}", body=body)
        yield Case(f"JSON as {media}", sent, (415,))
    for host in ("evil.example", "127.0.0.1.evil.example", "evil.example:80", "2130706433"):
        sent = request("POST", path, session, body=body, host=host)
        yield Case(f"Host {host}", sent, (403,), "forbidden_host")
    for host in ("127.0.0.1@evil.example", "127.0.0.1, evil.example", "127.0.0.1:99999", "", "127.0.0.1/x"):
        yield Case(f"Host {host!r}", request("POST", path, session, body=body, host=host), (400,))
    yield Case("no Host", request("POST", path, session, body=body, host=None), (400,))
    yield Case("two Hosts", request("POST", path, session, "Host: evil.example", body=body), (400,))
    absolute = "http://evil.example/v1/keys"
    yield Case("a foreign target", request("POST", absolute, session, body=body), (403,), "forbidden_host")
