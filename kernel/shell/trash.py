"""Files whose rows are gone: removed after the commit, tried again where the disk does not let go of one."""

from dataclasses import dataclass, field
from typing import Final, Protocol

from kernel.core.actions import DropBlob, DropEngine, DropJob, EndImage, Save, TrashFile
from kernel.shell.file_thread import Removed
from kernel.shell.state_reader import StateReader
from kernel.shell.store import Store

TRASH_AT_ONCE: Final = 200
_TRASHING: Final = (DropEngine, DropJob, DropBlob, EndImage, TrashFile)


class Remover(Protocol):
    """The part of the file thread that is needed here."""

    def remove(self, file_names: tuple[str, ...]) -> None: ...


@dataclass(slots=True)
class Trash:
    """What the table of that name is, less what is being removed just now."""

    store: Store
    state_reader: StateReader
    files: Remover
    has_more: bool = True
    """There may be files in it that have not been tried. A start does not know."""
    has_stuck: bool = False
    """There are files in it that could not be removed."""
    _under_way: frozenset[str] = frozenset()
    _put_again: set[str] = field(default_factory=set)
    """Those under way that were taken out, and were put in once more: they are to be removed twice."""

    def note(self, save: Save) -> None:
        """A save may put files in."""
        if isinstance(save, _TRASHING):
            self.has_more = True
        if isinstance(save, TrashFile):
            self._put_again |= self._under_way & {f"{save.folder}/{save.file_name}"}

    def look_again(self) -> None:
        """Some time has passed: what could not be removed may be by now."""
        self.has_more = self.has_more or self.has_stuck
        self.has_stuck = False

    def strike_off(self, removed: Removed) -> None:
        """These files are no more. The others are tried again later, so as not to be tried all the time."""
        gone = set(removed.file_names)
        self.store.forget_trash(sorted(gone - self._put_again))
        self.has_stuck = self.has_stuck or bool(self._under_way - gone)
        self.has_more = self.has_more or bool(gone)
        self._under_way, self._put_again = frozenset(), set()

    def empty(self) -> None:
        """Have the next files removed, if there are any and none are under way."""
        if not self.has_more or self._under_way:
            return
        names = tuple(self.state_reader.trash(TRASH_AT_ONCE))
        self.has_more, self._under_way = False, frozenset(names)
        if names:
            self.files.remove(names)
