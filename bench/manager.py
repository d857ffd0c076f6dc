"""A Manager to measure: as it ships, or without its database, or with a commit for each command.

python -m bench.manager FOLDER [--no-database] [--commit-each]
"""

import argparse
import logging
import sys
from contextlib import ExitStack
from pathlib import Path

from conf.settings import Blobs, Bus, Database, Images, Models, Settings
from kernel.core import actions
from kernel.core.events import Facts
from kernel.main import Whole, build
from kernel.process.log import start
from kernel.protocol import client
from kernel.protocol.ids import JobId
from kernel.protocol.specs import JobSpec
from kernel.shell.gc_control import put_off_full_collections
from kernel.shell.process_resources import open_resources
from kernel.shell.state_reader import StateReader
from kernel.shell.store import Store


class NoStore(Store):
    """Forgets every save, so that the bus and the core are measured without the database."""

    specs: dict[str, JobSpec]

    def save(self, save: actions.Save) -> None:
        if isinstance(save, actions.AddJob):
            self.specs[save.row.job_id] = save.spec


class NoStateReader(StateReader):
    """Knows the jobs that NoStore was given, and no answers of before."""

    specs: dict[str, JobSpec]

    def facts(self, key: str, ask: client.Ask) -> Facts:
        return Facts()

    def job_spec(self, job_id: JobId) -> JobSpec | None:
        return self.specs.pop(job_id)


def settings_in(folder: Path) -> Settings:
    """All of a Manager's folders below one."""
    return Settings(
        database=Database(folder=folder / "database"),
        images=Images(folder=folder / "images", min_free_bytes=0),
        blobs=Blobs(folder=folder / "blobs"),
        models=Models(folder=folder / "models"),
        bus=Bus(folder=folder / "bus"),
    )


def main() -> int:
    """Run it until it is stopped."""
    parser = argparse.ArgumentParser(prog="python -m bench.manager")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--no-database", action="store_true")
    parser.add_argument("--commit-each", action="store_true")
    chosen = parser.parse_args()
    start("manager", process="manager")
    settings = settings_in(chosen.folder)
    options = argparse.Namespace(config=None, with_api=False, fake_engines=True)
    settings.database.folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        kinds = (NoStore, NoStateReader) if chosen.no_database else (Store, StateReader)
        store = kinds[0](settings.database_file)
        state_reader = kinds[1](store.connection)
        if isinstance(store, NoStore) and isinstance(state_reader, NoStateReader):
            store.specs = state_reader.specs = {}
        process_resources = open_resources(settings, logging.getLogger("manager"), stack, is_fake=True)
        loop = build(Whole(settings, options, process_resources), store, state_reader, stack)
        if chosen.commit_each:
            loop.sources.batch_messages = 1
        put_off_full_collections()
        return loop.run()


if __name__ == "__main__":
    sys.exit(main())
