"""Commands on API keys: create, change, rotate, revoke; and whether a key may submit a job.

The text of a key is made here and leaves in one reply; only its digest is saved, and the reply that is kept
for a command that is sent again is without it.
"""

from msgspec.structs import asdict, replace

from kernel.core.state import transitions
from kernel.core.state.world import World
from kernel.protocol import client
from kernel.protocol.api_keys import (
    ChangeKey,
    CreateKey,
    KeyIssued,
    KeyLimits,
    RevokeKey,
    RotateKey,
    digest_of,
    key_state,
    key_text,
    look_of,
)
from kernel.protocol.enums import KeyState, Role
from kernel.protocol.errors import (
    IllegalMove,
    KeyExpired,
    KeyNotAllowed,
    KeyNotFound,
    KeyRevoked,
    KeyUnknown,
    NameTaken,
    wrong_field,
)
from kernel.protocol.ids import KeyId
from kernel.protocol.rows import KeyRow
from kernel.protocol.webhooks import WebhookIssued
from kernel.protocol.worker_tokens import WorkerTokenIssued


def create(world: World, ask: CreateKey) -> KeyIssued:
    """Create an API key.

    Raises: NameTaken, by a key that is not revoked.
    """
    _check_name(world, ask.name)
    key_id = KeyId(world.id_source.id())
    text = key_text(key_id, world.id_source.secret())
    now_ms = world.now.unix_ms
    row = KeyRow(
        key_id=key_id,
        name=ask.name,
        role=ask.role,
        digest=digest_of(text),
        created_at_ms=now_ms,
        issued_at_ms=now_ms,
        weight=ask.weight,
        limits=ask.limits or KeyLimits(),
        expires_at_ms=_after(now_ms, ask.expires_in_s),
    )
    transitions.save_key(world, row)
    return KeyIssued(key_id=key_id, expires_at_ms=row.expires_at_ms, text=text)


def change(world: World, ask: ChangeKey) -> client.Done:
    """Change some values of a key.

    Raises: KeyNotFound; IllegalMove, if it was revoked; NameTaken; InvalidField, for an unknown limit.
    """
    row = _key_in_use(world, ask.key_id)
    if ask.name not in (None, row.name):
        _check_name(world, ask.name, row.key_id)
    changed = replace(
        row,
        name=ask.name or row.name,
        role=ask.role or row.role,
        weight=ask.weight or row.weight,
        limits=_changed_limits(row.limits, ask),
    )
    if changed != row:
        transitions.save_key(world, changed)
    return client.Done()


def rotate(world: World, ask: RotateKey) -> KeyIssued:
    """Give a key a new secret, and without another wish as long a life as the old one had.

    Raises: KeyNotFound; IllegalMove, if it was revoked.
    """
    row = _key_in_use(world, ask.key_id)
    text = key_text(row.key_id, world.id_source.secret())
    now_ms = world.now.unix_ms
    expires_at_ms = _after(now_ms, ask.expires_in_s)
    if expires_at_ms is None and row.expires_at_ms is not None:
        expires_at_ms = now_ms + row.expires_at_ms - row.issued_at_ms
    rotated = replace(row, digest=digest_of(text), issued_at_ms=now_ms, expires_at_ms=expires_at_ms)
    transitions.save_key(world, rotated)
    return KeyIssued(key_id=row.key_id, expires_at_ms=expires_at_ms, text=text)


def revoke(world: World, ask: RevokeKey) -> client.Done:
    """Make a key invalid; a revoked one stays revoked. Nobody could see its presets any more: they go.

    Raises: KeyNotFound.
    """
    row = _key(world, ask.key_id)
    if row.revoked_at_ms is None:
        transitions.save_key(world, replace(row, revoked_at_ms=world.now.unix_ms))
        for name in sorted(world.presets.get(row.key_id, ())):
            transitions.drop_preset(world, row.key_id, name)
    return client.Done()


def without_secret(reply: client.SingleReply) -> client.SingleReply:
    """The reply as it may be stored."""
    match reply:
        case KeyIssued() | WorkerTokenIssued():
            return replace(reply, text=None)
        case WebhookIssued():
            return replace(reply, secret=None)
        case _:
            return reply


def check_may_submit(world: World, key_id: KeyId | None) -> None:
    """Check that a job may be submitted with this key; None: without one.

    Raises: KeyUnknown, KeyExpired, KeyRevoked; KeyNotAllowed, if its role is to look on.
    """
    if key_id is None:
        return
    if (row := world.keys.get(key_id)) is None:
        raise KeyUnknown
    match key_state(row.expires_at_ms, row.revoked_at_ms, world.now.unix_ms):
        case KeyState.EXPIRED:
            raise KeyExpired
        case KeyState.REVOKED:
            raise KeyRevoked
        case KeyState.ACTIVE if row.role is Role.VIEWER:
            raise KeyNotAllowed("a key of the role viewer cannot submit jobs")
        case _:
            pass


def _check_name(world: World, name: str | None, own: KeyId | None = None) -> None:
    """Check that no other key has this name, or one that looks the same. Raises: NameTaken."""
    look = look_of(name or "")
    for row in world.keys.values():
        if row.revoked_at_ms is None and row.key_id != own and look_of(row.name) == look:
            raise NameTaken(f"an API key named {row.name} exists: choose another name, or rotate that key")


def _changed_limits(limits: KeyLimits, ask: ChangeKey) -> KeyLimits:
    wanted = asdict(ask.limits or KeyLimits())
    for name in ask.fields:
        if name not in wanted:
            raise wrong_field("fields", f"{name} is not a limit; there are {', '.join(wanted)}")
    return replace(limits, **{name: wanted[name] for name in ask.fields})


def _after(now_ms: int, life_s: float | None) -> int | None:
    return None if life_s is None else now_ms + int(life_s * 1000)


def _key(world: World, key_id: KeyId) -> KeyRow:
    if (row := world.keys.get(key_id)) is None:
        raise KeyNotFound
    return row


def _key_in_use(world: World, key_id: KeyId) -> KeyRow:
    row = _key(world, key_id)
    if row.revoked_at_ms is not None:
        raise IllegalMove("the API key was revoked, for good: create another one, which may have its name")
    return row
