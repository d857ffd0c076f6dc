"""Saves as the loop makes them: a batch, then its commit; and what a second process would see."""

from pathlib import Path

import apsw

from kernel.core.actions import Save
from kernel.core.events import Snapshot
from kernel.protocol.ids import Epoch
from kernel.shell.rowmap import SqlRow
from kernel.shell.state_reader import StateReader
from kernel.shell.store import Store


def saved(store: Store, *saves: Save) -> None:
    """Put all of them into one transaction, and make it durable."""
    for save in saves:
        store.save(save)
    store.commit()


def snapshot(state_reader: StateReader) -> Snapshot:
    """What a start would find."""
    return state_reader.snapshot(Epoch(1))


def seen_by_others(database: Path, query: str) -> list[SqlRow]:
    """The rows that another connection sees now."""
    other = apsw.Connection(str(database), flags=apsw.SQLITE_OPEN_READONLY, vfs="unix")
    try:
        return list(other.execute(query))
    finally:
        other.close()
