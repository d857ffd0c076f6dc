"""Sessions for browsers, which cannot keep a key: a signed cookie that stands for a key until it expires.

Nothing is stored. A session names its key and when that key's secret was made, so that it ends with a
rotation as with a revocation; its signature is made with a secret of this installation that is in no backup.
"""

import hashlib
import hmac
from collections.abc import Callable
from typing import Final

from api.key_ring import KeyRing
from kernel.protocol.errors import KeyExpired, KeyUnknown
from kernel.protocol.ids import KeyId
from kernel.protocol.rows import KeyRow

LIFE_S: Final = 7 * 86_400
MAX_SESSION: Final = 250
"""Characters; ours have about 140."""


class BrowserSessions:
    """Makes sessions and recognizes them."""

    def __init__(self, secret: bytes, now_ms: Callable[[], int]) -> None:
        self._secret = secret
        self.now_ms = now_ms

    def new(self, row: KeyRow) -> tuple[str, int]:
        """A session for a key, and until when it is valid, in ms since 1970 UTC: as long as the key at
        most."""
        end_ms = self.now_ms() + LIFE_S * 1_000
        if row.expires_at_ms is not None:
            end_ms = min(end_ms, row.expires_at_ms)
        said = f"{row.key_id}.{row.issued_at_ms}.{end_ms}"
        return f"{said}.{self._signature(said)}", end_ms

    def key_of(self, session: str, keys: KeyRing) -> KeyRow:
        """The key of a session.

        Raises: KeyUnknown, if the session was not made here, or its key has another secret since; KeyExpired,
        also of the session; KeyRevoked; DatabaseUnusable.
        """
        said, _, signature = session[:MAX_SESSION].rpartition(".")
        expected = self._signature(said)
        if not hmac.compare_digest(signature.encode(), expected.encode()):
            raise KeyUnknown("the session is not valid: sign in again")
        key_id, issued_at_ms, end_ms = said.split(".")
        if int(end_ms) <= self.now_ms():
            raise KeyExpired("the session has expired: sign in again")
        row = keys.valid(KeyId(key_id))
        if row.issued_at_ms != int(issued_at_ms):
            raise KeyUnknown("the key has another secret since: sign in again")
        return row

    def _signature(self, said: str) -> str:
        return hmac.new(self._secret, said.encode(), hashlib.sha256).hexdigest()
