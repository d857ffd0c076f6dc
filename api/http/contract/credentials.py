"""The credentials of a request: an API key as a bearer token, as the password of HTTP Basic, or in a cookie.

A key in a URL is not accepted: URLs end up in logs, histories and Referer headers.
"""

import re
from base64 import b64decode
from collections.abc import Mapping
from typing import Final

import msgspec

from kernel.protocol.errors import KeyUnknown

SESSION_COOKIE: Final = "spoon_session"
MAX_AUTHORIZATION: Final = 1_000
"""Characters of an Authorization header that can hold a key."""
BEARER: Final = 'Bearer realm="automatic-spoon"'
BASIC: Final = 'Basic realm="automatic-spoon", charset="UTF-8"'
_NO_KEY: Final = "the Authorization header must be `Bearer KEY`, or `Basic` with the key as the password"
_BASE64: Final = re.compile(r"[0-9A-Za-z+/]+={0,2}")


class Credentials(msgspec.Struct, frozen=True):
    """What a request is sent with; the Authorization header counts if both are there."""

    key: str | None
    session: str | None


def credentials_in(headers: Mapping[str, str]) -> Credentials | None:
    """The credentials in the headers, named as in `api.http.framework.request_head.Head`; None without any.

    Raises: KeyUnknown, if the Authorization header cannot hold a key.
    """
    authorization = headers.get("AUTHORIZATION")
    if authorization is not None:
        return Credentials(_key_in(authorization), None)
    session = _session_in(headers.get("COOKIE", ""))
    return None if session is None else Credentials(None, session)


def challenge(headers: Mapping[str, str]) -> str:
    """The WWW-Authenticate header of a 401. Scripts of a page are not offered Basic: browsers would open a
    dialog of their own."""
    return BEARER if headers.get("SEC_FETCH_DEST") == "empty" else f"{BEARER}, {BASIC}"


def _key_in(authorization: str) -> str:
    scheme, _, rest = authorization.partition(" ")
    text = rest.strip()
    if len(authorization) <= MAX_AUTHORIZATION:
        if scheme.lower() == "bearer":
            return text
        if scheme.lower() == "basic" and _BASE64.fullmatch(text) and len(text) % 4 == 0:
            return b64decode(text).decode("latin-1").partition(":")[2]
    raise KeyUnknown(_NO_KEY)


def _session_in(cookies: str) -> str | None:
    """The session of a Cookie header. Several, as other servers of this host may set them, are none."""
    pairs = (cookie.strip().partition("=") for cookie in cookies.split(";"))
    found = [value for name, _, value in pairs if name == SESSION_COOKIE]
    return found[0] if len(found) == 1 else None
