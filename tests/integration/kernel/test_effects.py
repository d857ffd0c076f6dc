"""What the hands of the Manager do when the world does not obey."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from kernel.core.actions import Folder, LaunchCompanion
from kernel.core.events import CompanionExited
from kernel.protocol.ids import Epoch
from kernel.shell.crew import Crew, JoinTerms
from kernel.shell.effects import Effects
from kernel.shell.file_thread import FileThread
from kernel.shell.launcher import SubprocessLauncher
from kernel.shell.outbox import Outbox
from kernel.shell.recall import Recall
from tests.integration.kernel.small_bus import SmallBus


class AbsentCompanion:
    """A program that cannot be started."""

    def start(self) -> None:
        raise FileNotFoundError("no such program")

    def terminate(self) -> None: ...

    def kill(self) -> None: ...


@pytest.fixture
def effects(bus: SmallBus, recall: Recall, tmp_path: Path) -> Iterator[Effects]:
    (tmp_path / "images").mkdir()
    files = FileThread({Folder.IMAGES: tmp_path / "images"})
    crew = Crew(
        bus.router, bus.gate, SubprocessLauncher(tmp_path), JoinTerms("", "", "", (), True, 1), Epoch(1)
    )
    yield Effects(
        Outbox(bus.router, Epoch(1), set()), crew, files, recall, AbsentCompanion(), [tmp_path / "images"]
    )
    files.close()


def test_an_api_that_cannot_be_started_has_exited(effects: Effects) -> None:
    effects.carry_out(LaunchCompanion())
    assert effects.events == [CompanionExited("it could not be started: no such program")]
