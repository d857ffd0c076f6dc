"""Removes files whose rows are gone, after the commit; those that cannot be removed are tried again."""

from dataclasses import dataclass, field
from typing import Final, Protocol

from kernel.core.actions import DropBlob, DropEngine, DropJob, EndImage, Save, TrashFile
from kernel.shell.file_thread import Removed
from kernel.shell.state_reader import StateReader
from kernel.shell.store import Store

TRASH_AT_ONCE: Final = 200
_TRASHING: Final = (DropEngine, DropJob, DropBlob, EndImage, TrashFile)


class Remover(Protocol):
    """The part of the file thread that is used here."""

    def remove(self, file_names: tuple[str, ...]) -> None: ...


@dataclass(slots=True)
class Trash:
    """The files in the table `trash`, without those being removed now."""

    store: Store
    state_reader: StateReader
    files: Remover
    has_more: bool = True
    """True if it may contain files that have not been tried, as after a start."""
    has_stuck: bool = False
    """True if it contains files that could not be removed."""
    _under_way: frozenset[str] = frozenset()
    _put_again: set[str] = field(default_factory=set)
    """Files being removed that were restored and trashed once more: they are removed twice."""

    def note(self, save: Save) -> None:
        """Note a save, which may put files in."""
        if isinstance(save, _TRASHING):
            self.has_more = True
        if isinstance(save, TrashFile):
            self._put_again |= self._under_way & {f"{save.folder}/{save.file_name}"}

    def look_again(self) -> None:
        """Time has passed: try the stuck files again."""
        self.has_more = self.has_more or self.has_stuck
        self.has_stuck = False

    def strike_off(self, removed: Removed) -> None:
        """Forget removed files. The others are tried again later, not at once."""
        gone = set(removed.file_names)
        self.store.forget_trash(sorted(gone - self._put_again))
        self.has_stuck = self.has_stuck or bool(self._under_way - gone)
        self.has_more = self.has_more or bool(gone)
        self._under_way, self._put_again = frozenset(), set()

    def empty(self) -> None:
        """Remove the next files, if there are any and no removal is in progress."""
        if not self.has_more or self._under_way:
            return
        names = tuple(self.state_reader.trash(TRASH_AT_ONCE))
        self.has_more, self._under_way = False, frozenset(names)
        if names:
            self.files.remove(names)
