"""Links to images that work for a while and without a key: signed with a secret in a file (HMAC-SHA256).

They are for what cannot send a key along: a browser, a chat program. The secret outlives restarts, and so do
the links.
"""

import hmac
import os
import secrets
import threading
from base64 import urlsafe_b64encode
from contextlib import suppress
from pathlib import Path
from typing import Final

from api.http.contract.errors import BadSignature, LinkExpired

LIFE_S: Final = 3_600
"""As OpenAI's."""
SECRET_BYTES: Final = 32
_PRIVATE: Final = 0o600


class SignedLinks:
    """Makes and checks links."""

    def __init__(self, secret_file: Path) -> None:
        """The file is made when it is first needed."""
        self._file = secret_file
        self._lock = threading.Lock()
        self._secret: bytes | None = None

    def link_to(self, image_id: str, now_ms: int) -> str:
        """The path and query of a link that expires LIFE_S from now."""
        expires = now_ms // 1_000 + LIFE_S
        signature = self._signature(image_id, expires)
        return f"/v1/images/{image_id}/content?expires={expires}&signature={signature}"

    def check(self, image_id: str, expires: int, signature: str, now_ms: int) -> None:
        """Check a link. Raises: BadSignature; LinkExpired."""
        expected = self._signature(image_id, expires).encode()
        if not hmac.compare_digest(expected, signature.encode(errors="replace")):
            raise BadSignature
        if expires * 1_000 <= now_ms:
            raise LinkExpired

    def _signature(self, image_id: str, expires: int) -> str:
        digest = hmac.digest(self._key(), f"{expires}/{image_id}".encode(), "sha256")
        return urlsafe_b64encode(digest).decode().rstrip("=")

    def _key(self) -> bytes:
        with self._lock:
            if self._secret is None:
                self._secret = _secret_in(self._file)
            return self._secret


def _secret_in(file: Path) -> bytes:
    """The secret of an installation. Whoever needs it first makes it; other processes never see a part."""
    with suppress(FileNotFoundError):
        return file.read_bytes()
    part = file.with_name(f"{file.name}.{secrets.token_hex(8)}.part")
    handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _PRIVATE)
    try:
        with os.fdopen(handle, "wb") as made:
            made.write(secrets.token_bytes(SECRET_BYTES))
            made.flush()
            os.fsync(made.fileno())
        with suppress(FileExistsError):
            os.link(part, file)
    finally:
        part.unlink()
    return file.read_bytes()
