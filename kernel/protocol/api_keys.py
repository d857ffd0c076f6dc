"""API keys: their text and digest, their limits, whether they are valid, and the messages about them.

A key is `spoon_ID_SECRET`: its public id without the dashes, by which it is looked up, and 256 random bits,
all in hexadecimal digits. So its digest is a plain SHA-256: a slow hash protects passwords, which can be
guessed, and this cannot (adr/0058). The prefix is for programs that look for secrets in files.
"""

import hashlib
import hmac
import unicodedata
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from kernel.protocol.enums import KeyState, Role
from kernel.protocol.ids import MAX_INTEGER, KeyId
from kernel.protocol.values import LifeS, Name

PREFIX: Final = "spoon"
_PUBLIC: Final = slice(len(PREFIX) + 1, len(PREFIX) + 33)

_UNSEEN: Final = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Categories of characters that change a line or do not show: controls, marks of direction, zero widths."""

Weight = Annotated[int, Meta(ge=1, le=1_000)]
"""The share of the turns that a key's waiting jobs get, beside those of other keys."""
AtMost = Annotated[int, Meta(ge=1, le=MAX_INTEGER)]


class KeyLimits(msgspec.Struct, frozen=True, kw_only=True):
    """The limits of one key; None: only those of the server."""

    max_waiting_jobs: AtMost | None = None
    max_running_jobs: AtMost | None = None
    max_images_a_day: AtMost | None = None
    max_pixels: AtMost | None = None
    """Of one image: width x height."""
    max_pixels_a_day: AtMost | None = None
    """Of all its images together."""
    max_requests_a_minute: AtMost | None = None
    """On average: as many may come at once."""


class CreateKey(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Create an API key. Its secret is in the first reply alone."""

    name: Name
    role: Role
    expires_in_s: LifeS | None = None
    """None: it does not expire."""
    weight: Weight = 1
    limits: KeyLimits | None = None


class ChangeKey(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Change an API key that is not revoked; None leaves a value as it is."""

    key_id: KeyId
    name: Name | None = None
    role: Role | None = None
    weight: Weight | None = None
    fields: Annotated[tuple[Name, ...], Meta(max_length=64)] = ()
    """The names of the limits to change; of the others `limits` says nothing."""
    limits: KeyLimits | None = None


class RotateKey(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Replace the secret of an API key that is not revoked. The old one is invalid from then on."""

    key_id: KeyId
    expires_in_s: LifeS | None = None
    """None: the new one lives as long as the old one was to live."""


class RevokeKey(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Make an API key invalid, for good. Its jobs and images stay, its presets go."""

    key_id: KeyId


KeyAsk = CreateKey | ChangeKey | RotateKey | RevokeKey


class KeyIssued(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """An API key was created, or has a new secret."""

    key_id: KeyId
    expires_at_ms: int | None = None
    text: str | None = None
    """The key. It is secret, and the Manager does not store it: None, if the command was sent again."""


def problem_of_name(name: str) -> str | None:
    """Why a key must not be called so: people tell keys apart by what they see. None: it may."""
    if not name.strip():
        return "must not be blank"
    if any(unicodedata.category(one) in _UNSEEN for one in name):
        return "must not contain control characters, or characters that are not seen"
    return None


def look_of(name: str) -> str:
    """The same for all names that look the same: composed or not, fullwidth or not (Unicode's NFKC)."""
    return unicodedata.normalize("NFKC", name)


def key_text(key_id: KeyId, secret: str) -> str:
    """The key as its holder keeps it. Secret."""
    return f"{PREFIX}_{public_part_of(key_id)}_{secret}"


def public_part_of(key_id: KeyId) -> str:
    """The id of a key as it is in its text."""
    return key_id.replace("-", "")


def public_part(text: str) -> str:
    """What is the public id in the text, if that is a key; whether it is one shows its digest alone."""
    return text[_PUBLIC]


def digest_of(text: str) -> str:
    """The digest that is stored of a key: 64 hexadecimal digits."""
    return hashlib.sha256(text.encode()).hexdigest()


def is_digest_of(digest: str, text: str) -> bool:
    """True if the digest is that of the text; takes the same time wherever they differ."""
    return hmac.compare_digest(digest, digest_of(text))


def key_state(expires_at_ms: int | None, revoked_at_ms: int | None, now_ms: int) -> KeyState:
    """Whether a key is valid now."""
    if revoked_at_ms is not None:
        return KeyState.REVOKED
    if expires_at_ms is not None and expires_at_ms <= now_ms:
        return KeyState.EXPIRED
    return KeyState.ACTIVE
