"""API keys in HTTP requests and responses; the command line prints the latter as well."""

from datetime import datetime
from typing import Any, Final

import msgspec
from msgspec import UNSET, UnsetType
from msgspec.structs import asdict, fields

from api.http.contract.constraints import Limit
from api.http.contract.responses import moment, moment_or_none
from api.http.contract.retention import Expiry, check_expiry, expiry_s
from api.http.contract.validation_errors import ValidationErrors
from kernel.protocol.api_keys import (
    ChangeKey,
    CreateKey,
    KeyLimits,
    RotateKey,
    Weight,
    key_state,
    problem_of_name,
)
from kernel.protocol.enums import KeyState, Role
from kernel.protocol.ids import KeyId
from kernel.protocol.rows import KeyRow
from kernel.protocol.values import Name


class KeyInput(KeyLimits, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A key to be made."""

    name: Name
    role: Role
    expire_after: Expiry | None = None
    """How long it is valid; not given: for good."""
    weight: Weight = 1


class KeyRotation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How long the new secret is valid; not given: as long as the old one was to be."""

    expire_after: Expiry | None = None


class KeyValues(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What changes of a key besides its limits."""

    name: Name | UnsetType = UNSET
    role: Role | UnsetType = UNSET
    weight: Weight | UnsetType = UNSET


KEY_EDIT: Final = msgspec.defstruct(
    "KeyEdit",
    [(limit.name, limit.type | UnsetType, UNSET) for limit in fields(KeyLimits)],
    bases=(KeyValues,),
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    namespace={"__doc__": "What changes of a key: null is no limit, and what is omitted stays."},
)


class KeyListQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A page of the list."""

    limit: Limit = 50
    after: str | None = None


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


class NewKey(Key, frozen=True, kw_only=True):
    """A key that was just made, or has a new secret."""

    key: str | None
    """The key itself, this once; null if the request was sent again: then rotate it."""


class KeyPage(msgspec.Struct, frozen=True, kw_only=True):
    """A page of keys, newest first; `next` is the cursor of the next page."""

    items: tuple[Key, ...]
    next: str | None


def check_key(found: KeyInput, faults: ValidationErrors) -> None:
    """Check a key to be made."""
    _check_name(found.name, faults)
    check_expiry("expire_after", found.expire_after, faults)


def _check_name(name: str, faults: ValidationErrors) -> None:
    if (problem := problem_of_name(name)) is not None:
        faults.wrong("name", problem)


def check_rotation(found: KeyRotation, faults: ValidationErrors) -> None:
    """Check how long a new secret is to be valid."""
    check_expiry("expire_after", found.expire_after, faults)


def check_key_edit(found: msgspec.Struct, faults: ValidationErrors) -> None:
    """Check a change."""
    name = _said(found).get("name")
    if isinstance(name, str):
        _check_name(name, faults)


def create_key(found: KeyInput) -> CreateKey:
    """The command for a checked input."""
    return CreateKey(
        name=found.name,
        role=found.role,
        expires_in_s=expiry_s(found.expire_after),
        weight=found.weight,
        limits=KeyLimits(**{limit.name: getattr(found, limit.name) for limit in fields(KeyLimits)}),
    )


def change_key(found: msgspec.Struct, key_id: KeyId) -> ChangeKey:
    """The command for a checked change."""
    said = _said(found)
    limits = {limit.name: said[limit.name] for limit in fields(KeyLimits) if limit.name in said}
    return ChangeKey(
        key_id=key_id,
        name=said.get("name"),
        role=said.get("role"),
        weight=said.get("weight"),
        fields=tuple(limits),
        limits=KeyLimits(**limits),
    )


def _said(found: msgspec.Struct) -> dict[str, Any]:
    values = {field.name: getattr(found, field.name) for field in fields(found)}
    return {name: value for name, value in values.items() if value is not UNSET}


def rotate_key(found: KeyRotation, key_id: KeyId) -> RotateKey:
    """The command for a checked rotation."""
    return RotateKey(key_id=key_id, expires_in_s=expiry_s(found.expire_after))


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


def new_key(row: KeyRow, now_ms: int, text: str | None) -> NewKey:
    """A row with the key itself."""
    return NewKey(**asdict(key_of(row, now_ms)), key=text)
