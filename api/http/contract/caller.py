"""The caller of a request: with which API key, and what its role allows."""

from collections.abc import Callable
from math import inf
from typing import Final

import falcon
from msgspec import Struct

from kernel.protocol.enums import Role
from kernel.protocol.errors import KeyNotAllowed
from kernel.protocol.ids import KeyId
from kernel.protocol.rows import KeyRow

CALLER: Final = "spoon.caller"
"""The key in a request's environment for its Caller."""
_RANKS: Final = (Role.VIEWER, Role.USER, Role.ADMIN)


class Caller(Struct, frozen=True):
    """Who asks. `key` is None on a server without keys."""

    role: Role
    key: KeyRow | None = None
    now_ms: Callable[[], int] = lambda: 0
    """Milliseconds since 1970 UTC; with a key that expires."""

    @property
    def key_id(self) -> KeyId | None:
        """The key to which what the caller makes belongs."""
        return None if self.key is None else self.key.key_id

    @property
    def expires_at_ms(self) -> int | None:
        """When the caller's key expires, in ms since 1970 UTC; None: never."""
        return None if self.key is None else self.key.expires_at_ms

    def left_s(self) -> float:
        """For how many seconds the caller's key is valid."""
        return inf if self.expires_at_ms is None else (self.expires_at_ms - self.now_ms()) / 1_000

    @property
    def has_rate(self) -> bool:
        """Whether the caller's requests are counted."""
        return self.key is not None and self.key.limits.max_requests_a_minute is not None

    @property
    def sees_only(self) -> KeyId | None:
        """The key whose jobs and images the caller sees alone; None: those of all."""
        return self.key_id if self.role is Role.USER else None

    def sees(self, key_id: KeyId | None) -> bool:
        """Whether the caller sees the jobs and images of this key; None: those without a key."""
        return self.sees_only in (None, key_id)

    def check(self, least: Role) -> None:
        """Raises: KeyNotAllowed, if the role is a lesser one."""
        if _RANKS.index(self.role) < _RANKS.index(least):
            raise KeyNotAllowed(f"this needs a key of the role {least}; yours has the role {self.role}")


ANYBODY: Final = Caller(Role.ADMIN)
"""The caller on a server without keys."""


def caller_of(req: falcon.Request) -> Caller:
    """The caller of a request that was admitted."""
    found: Caller = req.env[CALLER]
    return found
