"""Carries out one command on API keys while no Manager runs: the same core decides, the same store saves.

So the first key can be made before the server starts for the first time, which it only does without keys if
nobody else can reach it.
"""

from secrets import token_bytes
from typing import Final

import msgspec

from conf.settings import Settings
from kernel.core import actions
from kernel.core.broker import Broker
from kernel.core.events import Asked, Peer
from kernel.core.ports import Limits
from kernel.process.keys import MASTER_KEY_BYTES
from kernel.process.lock import FolderLock
from kernel.protocol.api_keys import KeyAsk
from kernel.protocol.client import SingleReply
from kernel.protocol.ids import NO_EPOCH
from kernel.protocol.type_info import analyzed
from kernel.shell import access, clock
from kernel.shell.state_reader import StateReader
from kernel.shell.store import Store

NOBODY: Final = Peer(b"")


def answer(settings: Settings, data: bytes) -> bytes:
    """The encoded reply to an encoded command.

    Raises: AlreadyRunning, if a Manager runs, which is to be asked instead; BadConfiguration,
    DatabaseUnusable, apsw.Error; msgspec.DecodeError, if it is no command on keys.
    """
    ask = msgspec.msgpack.decode(data, type=analyzed(KeyAsk))
    lock = FolderLock(settings.database.folder)
    try:
        access.tighten(access.database_place(settings.database.folder, settings.database_file))
        store = Store(settings.database_file)
        try:
            return msgspec.msgpack.encode(_carried_out(store, ask))
        finally:
            store.close()
    finally:
        lock.release()


def _carried_out(store: Store, ask: KeyAsk) -> SingleReply:
    ids = clock.RandomIdSource(
        token_bytes(MASTER_KEY_BYTES)
    )  # no command on keys asks for a webhook's secret
    snapshot = StateReader(store.connection).snapshot(NO_EPOCH)
    broker = Broker(snapshot, Limits(), ids, clock.now())
    found = broker.handle(Asked(NOBODY, b"", f"offline:{ids.id()}", b"", ask), clock.now())
    for save in found:
        if isinstance(save, actions.Save):
            store.save(save)
    store.commit()
    (reply,) = (effect.message for effect in found if isinstance(effect, actions.Reply))
    return reply
