"""The real clock and id source behind the core's ports."""

import secrets
import time
from typing import Final

from kernel.core.events import Now
from kernel.protocol.uuid7 import Uuid7
from kernel.protocol.webhooks import Signer, secret_text, signing_key

_SEED_BITS: Final = 32
_SECRET_BYTES: Final = 32


def now() -> Now:
    """The current time."""
    return Now(mono_s=time.monotonic(), unix_ms=time.time_ns() // 1_000_000)


class RandomIdSource:
    """New ids that sort by time; secrets and seeds from the system's randomness."""

    def __init__(self, master_key: bytes) -> None:
        """`master_key`: what the secrets of callbacks are derived from. Secret."""
        self._uuid7 = Uuid7()
        self._master_key = master_key

    def id(self) -> str:
        return self._uuid7.text()

    def secret(self) -> str:
        return secrets.token_hex(_SECRET_BYTES)

    def signing_secret(self, signer: Signer) -> str:
        return secret_text(signing_key(self._master_key, signer))

    def seed(self) -> int:
        return secrets.randbits(_SEED_BITS)
