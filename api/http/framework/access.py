"""Who asks, and whether they may: the caller of a request by its credentials, and the least role of a route.

Without any key in the database everybody may do everything, as on a server for oneself. Once there is a key,
every request has to have one.
"""

from collections.abc import Mapping
from typing import Final

import falcon
from msgspec import Struct

from api.http.contract.caller import ANYBODY, CALLER, Caller
from api.http.contract.credentials import credentials_in
from api.http.framework.browser_sessions import BrowserSessions
from api.key_ring import KeyRing
from api.request_rates import RequestRates
from kernel.protocol.enums import Role
from kernel.protocol.errors import KeyMissing
from kernel.protocol.rows import KeyRow

_OF_HEADERS: Final = {"HTTP_AUTHORIZATION": "AUTHORIZATION", "HTTP_COOKIE": "COOKIE"}


class _Recognized(Struct, frozen=True):
    """The key in an Authorization header."""

    authorization: str
    row: KeyRow


class Access:
    """Finds the callers of requests."""

    def __init__(self, keys: KeyRing, sessions: BrowserSessions) -> None:
        self.keys = keys
        self.sessions = sessions
        self._rates = RequestRates()
        self._last: _Recognized | None = None

    def caller(self, headers: Mapping[str, str]) -> Caller:
        """The caller with these headers, which are named as in `api.http.framework.request_head.Head`.

        A request asks by its head and again when its body is there, with the same object as its Authorization
        header, as do requests with equal heads (`api.http.framework.request_head`): it is recognized once.

        Raises: KeyMissing, KeyUnknown, KeyExpired, KeyRevoked; DatabaseUnusable.
        """
        if not self.keys.has_keys():
            return ANYBODY
        authorization, last = headers.get("AUTHORIZATION"), self._last
        row = None
        if authorization is not None and last is not None and last.authorization is authorization:
            row = self.keys.again(last.row)
        if row is None:
            row = self._key_of(headers)
            if authorization is not None:
                self._last = _Recognized(authorization, row)
        return Caller(row.role, row, self.keys.now_ms)

    def _key_of(self, headers: Mapping[str, str]) -> KeyRow:
        found = credentials_in(headers)
        if found is None:
            raise KeyMissing
        if found.key is not None:
            return self.keys.recognized(found.key)
        return self.sessions.key_of(found.session or "", self.keys)

    def admit(self, req: falcon.Request, least: Role) -> None:
        """Let a request through, with its Caller in its environment.

        Raises: as `caller`; KeyNotAllowed; TooFast.
        """
        env = req.env
        caller = self.caller({name: env[key] for key, name in _OF_HEADERS.items() if key in env})
        is_again = CALLER in env  # a request that waits is admitted again
        env[CALLER] = caller
        caller.check(least)
        if not is_again:
            self._rates.take(caller.key)
