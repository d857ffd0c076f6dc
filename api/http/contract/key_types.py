"""API keys in HTTP responses, which the command line prints as well, without secrets and digests."""

from datetime import datetime

from msgspec.structs import asdict

from api.http.contract.responses import moment, moment_or_none
from kernel.protocol.api_keys import KeyLimits, key_state
from kernel.protocol.enums import KeyState, Role
from kernel.protocol.rows import KeyRow


class Key(KeyLimits, frozen=True, kw_only=True):
    """An API key. Its secret is shown once, when it is made."""

    key_id: str
    name: str
    role: Role
    status: KeyState
    created_at: datetime
    issued_at: datetime
    """When its present secret was made."""
    expires_at: datetime | None
    revoked_at: datetime | None
    weight: int
    """Its share of the turns, beside those of other keys."""


def key_of(row: KeyRow, now_ms: int) -> Key:
    """A row as it is shown."""
    return Key(
        key_id=row.key_id,
        name=row.name,
        role=row.role,
        status=key_state(row.expires_at_ms, row.revoked_at_ms, now_ms),
        created_at=moment(row.created_at_ms),
        issued_at=moment(row.issued_at_ms),
        expires_at=moment_or_none(row.expires_at_ms),
        revoked_at=moment_or_none(row.revoked_at_ms),
        weight=row.weight,
        **asdict(row.limits),
    )
