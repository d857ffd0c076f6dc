"""The trash: files whose rows are gone are removed, however many they are and whatever resists."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from kernel.core import actions
from kernel.core.broker import Broker
from kernel.core.events import Event, Now, StopAsked
from kernel.core.ports import Folder, Limits
from kernel.protocol.ids import Epoch
from kernel.protocol.status import DeviceStatus
from kernel.shell import clock
from kernel.shell.decode import Arrival
from kernel.shell.file_thread import InputsRead, Removed
from kernel.shell.loop import Loop
from kernel.shell.state_reader import StateReader
from kernel.shell.storage_folders import StorageFolders, none_absent
from kernel.shell.store import Store
from kernel.shell.trash import TRASH_AT_ONCE, Trash
from tests.integration.kernel.rows import NOW_MS
from tests.integration.kernel.saving import saved
from tests.integration.kernel.surprised import nothing_unexpected

MOST_TURNS = 20
SHELVES = StorageFolders(Path("/nonexistent"), Path("/nonexistent"))


@dataclass
class Remover:
    """Removes everything at once, except what resists."""

    resists: frozenset[str] = frozenset()
    tries: int = 0
    asked: list[Sequence[str]] = field(default_factory=list)

    def remove(self, file_names: Sequence[str]) -> None:
        self.tries += 1
        self.asked.append(file_names)

    def done(self) -> list[Removed]:
        """What has been removed since the last call."""
        asked, self.asked = self.asked, []
        return [Removed(tuple(name for name in names if name not in self.resists)) for names in asked]


@dataclass
class QuietSources:
    """Nothing comes but the outcomes of removals; after some turns the Manager is asked to stop."""

    remover: Remover
    removals: list[Removed] = field(default_factory=list)
    readings: list[InputsRead] = field(default_factory=list)
    turns: int = 0
    is_drained: bool = True

    def wait(self, timeout_s: float | None) -> list[Arrival]:
        self.turns += 1
        self.removals += self.remover.done()
        return [Arrival(StopAsked())] if self.turns > MOST_TURNS else []


@dataclass
class TrashEffects:
    """Only files can be removed."""

    files: Remover
    events: list[Event] = field(default_factory=list)
    exit_code: int | None = None

    def carry_out(self, effect: actions.Effect) -> None:
        if isinstance(effect, actions.Exit):
            self.exit_code = effect.code

    def finish(self) -> None:
        """Nothing was held back."""


def no_devices() -> tuple[DeviceStatus, ...]:
    return ()


def left_after_a_while(store: Store, state_reader: StateReader, remover: Remover) -> list[str]:
    """Run the loop over this trash for some turns. Returns: what is still in it."""
    broker = Broker(state_reader.snapshot(Epoch(1)), Limits(), clock.RandomIdSource(bytes(32)), Now(0.0, 0))
    sources, effects = QuietSources(remover), TrashEffects(remover)
    looks = (clock.now, no_devices, SHELVES, none_absent)
    loop = Loop(broker, store, state_reader, sources, effects, *looks, nothing_unexpected())
    assert loop.run() == 0
    return state_reader.trash(10_000)


def fill(store: Store, count: int) -> None:
    saved(store, *(actions.TrashFile(Folder.IMAGES, f"{number:04}.png", NOW_MS) for number in range(count)))


def test_a_full_trash_is_emptied_to_the_last_file(store: Store, state_reader: StateReader) -> None:
    fill(store, 2 * TRASH_AT_ONCE + 1)
    assert left_after_a_while(store, state_reader, Remover()) == []


def test_files_that_resist_hold_up_no_others(store: Store, state_reader: StateReader) -> None:
    fill(store, 2 * TRASH_AT_ONCE + 1)
    resists = frozenset({"images/0000.png", "images/0007.png"})
    assert set(left_after_a_while(store, state_reader, Remover(resists))) == resists


def test_a_file_that_resists_is_not_tried_over_and_over(store: Store, state_reader: StateReader) -> None:
    fill(store, 1)
    remover = Remover(frozenset({"images/0000.png"}))
    left_after_a_while(store, state_reader, remover)
    assert remover.tries == 1


def test_a_file_that_was_stuck_is_tried_again_after_a_while(store: Store, state_reader: StateReader) -> None:
    fill(store, 2)
    remover = Remover(frozenset({"images/0000.png"}))
    trash = Trash(store, state_reader, remover)
    trash.empty()
    trash.strike_off(remover.done()[0])
    turn(trash, remover)
    assert remover.tries == 2, "the others were tried in between, and then nothing is"

    remover.resists = frozenset()
    trash.look_again()
    turn(trash, remover)
    assert state_reader.trash(10) == []


def test_a_file_that_comes_back_while_it_is_removed_and_is_thrown_away_again_is_removed_again(
    store: Store, state_reader: StateReader
) -> None:
    """A model is deleted; before its file is gone, another one is made of the same, and deleted, too."""
    again = actions.TrashFile(Folder.MODELS, "files/the same", NOW_MS)
    remover = Remover()
    trash = Trash(store, state_reader, remover)
    throw_away(store, trash, again)
    trash.empty()
    (removed,) = remover.done()
    store.connection.execute("DELETE FROM trash")  # what NoteModel does
    throw_away(store, trash, again)

    trash.strike_off(removed)

    assert state_reader.trash(10) == ["models/files/the same"]
    turn(trash, remover)
    assert (state_reader.trash(10), remover.tries) == ([], 2)


def throw_away(store: Store, trash: Trash, save: actions.TrashFile) -> None:
    """As the loop does it."""
    saved(store, save)
    trash.note(save)


def turn(trash: Trash, remover: Remover) -> None:
    """Let be removed what can be."""
    for _ in range(MOST_TURNS):
        trash.empty()
        for removed in remover.done():
            trash.strike_off(removed)
