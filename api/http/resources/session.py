"""/v1/session: who asks, and signing in and out for browsers, which have a cookie in place of the key."""

from datetime import UTC, datetime
from typing import Final

import falcon
import msgspec

from api.http.contract.caller import Caller, caller_of
from api.http.contract.credentials import SESSION_COOKIE
from api.http.contract.request_parsing import BodyReader, find_nothing
from api.http.contract.responses import moment, moment_or_none, send, send_nothing
from api.http.framework.access import Access
from kernel.protocol.enums import Role

_PAST: Final = datetime(1970, 1, 1, tzinfo=UTC)


class SignIn(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The key to sign in with."""

    key: str


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """Who asks. On a server without keys everybody is an admin without a key."""

    key_id: str | None
    name: str | None
    role: Role
    expires_at: datetime | None
    """When the key expires; after signing in, when the session does."""


class SessionResource:
    """Show, begin and end sessions."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._body = BodyReader(SignIn, frozenset(), find_nothing)

    def show(self, req: falcon.Request, resp: falcon.Response) -> None:
        caller = caller_of(req)
        send(resp, 200, _shown(caller, moment_or_none(caller.expires_at_ms)))

    def sign_in(self, req: falcon.Request, resp: falcon.Response) -> None:
        row = self._access.keys.recognized(self._body.read(req).key)
        session, end_ms = self._access.sessions.new(row)
        life_s = (end_ms - self._access.sessions.now_ms()) // 1_000
        # Out of reach for scripts, and for requests of other sites.
        resp.set_cookie(
            SESSION_COOKIE,
            session,
            max_age=life_s,
            path="/",
            secure=req.scheme == "https",
            http_only=True,
            same_site="Strict",
        )
        resp.set_header("Cache-Control", "no-store")
        send(resp, 200, _shown(Caller(row.role, row), moment(end_ms)))

    def sign_out(self, req: falcon.Request, resp: falcon.Response) -> None:
        """The cookie is taken back. Sessions that somebody has copied end with their time, or their key."""
        resp.set_cookie(
            SESSION_COOKIE, "", expires=_PAST, path="/", secure=req.scheme == "https", same_site="Strict"
        )
        send_nothing(resp)


def _shown(caller: Caller, expires_at: datetime | None) -> Session:
    key = caller.key
    return Session(
        key_id=None if key is None else key.key_id,
        name=None if key is None else key.name,
        role=caller.role,
        expires_at=expires_at,
    )
