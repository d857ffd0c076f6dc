"""The API keys in this process: a copy that is read again whenever the Manager says that one has changed.

Every request asks for its key, also those that may not wait for the database, so the few keys there are stay
in memory. The Manager pushes each change of a key after its commit (a lost push shows as a gap in the numbers
within 10 s), so a revoked key is refused as soon as the push is here, milliseconds after the command.
"""

import threading
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Final

from msgspec import Struct

from api.hub import Hub, Notice, Reread
from kernel.protocol.api_keys import is_digest_of, key_state, public_part, public_part_of
from kernel.protocol.client import Changed
from kernel.protocol.enums import ChangeKind, KeyState
from kernel.protocol.errors import KeyExpired, KeyRevoked, KeyUnknown
from kernel.protocol.ids import KeyId
from kernel.protocol.rows import KeyRow
from kernel.views.keys import all_keys
from kernel.views.reader import Reader

_NO_DIGEST: Final = "0" * 64
"""Compared with where there is no such key, so that this takes as long."""


class _Keys(Struct, frozen=True):
    """The keys of one reading, by what they are looked for."""

    by_id: Mapping[KeyId, KeyRow]
    by_public_part: Mapping[str, KeyRow]


class KeyRing:
    """Recognizes keys. Thread-safe."""

    ids = None
    """As a listener of the hub: all."""

    def __init__(self, reader: Reader, hub: Hub, now_ms: Callable[[], int]) -> None:
        self._reader = reader
        self.now_ms = now_ms
        self._lock = threading.Lock()
        self._latest: object = object()
        """Stands for the last change that was heard of."""
        self._read: object = None
        """The one that `_keys` has; None: they were never read."""
        self._keys = _Keys(MappingProxyType({}), MappingProxyType({}))
        hub.join(self)

    def put(self, notice: Notice) -> None:
        """A notice of the hub."""
        match notice:
            case Reread() | Changed(kind=ChangeKind.KEY):
                self._latest = object()
            case _:
                pass

    def has_keys(self) -> bool:
        """Whether there are keys, also expired and revoked ones: then every request needs one.

        Raises: DatabaseUnusable.
        """
        return bool(self._present().by_id)

    def recognized(self, text: str) -> KeyRow:
        """The key with this text. Only who has the secret is told that it has expired or was revoked.

        Raises: KeyUnknown, KeyExpired, KeyRevoked; DatabaseUnusable.
        """
        row = self._present().by_public_part.get(public_part(text))
        if not is_digest_of(_NO_DIGEST if row is None else row.digest, text) or row is None:
            raise KeyUnknown
        return self._valid(row)

    def again(self, row: KeyRow) -> KeyRow | None:
        """A key that was recognized before; None, if a key has changed since, so that it has to be recognized
        anew.

        Raises: KeyExpired; DatabaseUnusable.
        """
        return self._valid(row) if self._present().by_id.get(row.key_id) is row else None

    def valid(self, key_id: KeyId) -> KeyRow:
        """The key with this id. Raises: KeyUnknown, KeyExpired, KeyRevoked; DatabaseUnusable."""
        if (row := self._present().by_id.get(key_id)) is None:
            raise KeyUnknown
        return self._valid(row)

    def _valid(self, row: KeyRow) -> KeyRow:
        match key_state(row.expires_at_ms, row.revoked_at_ms, self.now_ms()):
            case KeyState.EXPIRED:
                raise KeyExpired
            case KeyState.REVOKED:
                raise KeyRevoked
            case KeyState.ACTIVE:
                return row

    def _present(self) -> _Keys:
        if self._read is not self._latest:
            with self._lock:  # until they are read, nobody is answered by the old ones
                latest = self._latest  # before reading: what changes meanwhile is read again
                if self._read is not latest:
                    self._keys = _keys_of(all_keys(self._reader))
                    self._read = latest
        return self._keys


def _keys_of(rows: Iterable[KeyRow]) -> _Keys:
    by_id = {row.key_id: row for row in rows}
    return _Keys(by_id, {public_part_of(key_id): row for key_id, row in by_id.items()})
