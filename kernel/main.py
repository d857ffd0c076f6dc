"""The Manager process: reads the configuration, builds every object once, and runs the loop.

Exit codes: 0 stopped as asked; 65 the database cannot be used; 69 another Manager is running; 74 the disk
failed under the database; 78 the configuration cannot be used. The last four are sysexits(3).
"""

import argparse
import logging
import os
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import apsw
import zmq
from msgspec.structs import replace
from zmq.utils import z85

from conf.installation import locate
from conf.load import KEY_VARIABLE, settings_of
from conf.settings import Settings
from kernel.core.broker import Broker
from kernel.core.events import DeviceFact, Snapshot
from kernel.core.ports import Folder
from kernel.process.keys import ensure_all, ensure_master_key
from kernel.process.lock import FolderLock
from kernel.process.log import line, start
from kernel.process.startup import forget_variable, hide_memory, make_files_private, raise_file_limit
from kernel.protocol.endpoints import back_endpoint, front_endpoint
from kernel.protocol.errors import AlreadyRunning, BadConfiguration, DatabaseUnusable
from kernel.protocol.join import FetchTerms
from kernel.protocol.rows import ModelRow
from kernel.protocol.version import VERSION
from kernel.shell import access, api_process, clock
from kernel.shell.api_process import ApiProcess
from kernel.shell.bus import Gate, Router, Strangers, back_allowance, front_allowance, private_folder
from kernel.shell.decode import BackDoor, FrontDoor
from kernel.shell.devices.host_devices import Devices
from kernel.shell.disk_usage import DiskUsage
from kernel.shell.effects import Effects
from kernel.shell.file_thread import FileThread
from kernel.shell.files import claim_folder, sweep
from kernel.shell.fs_ops import FileSystem
from kernel.shell.gc_control import put_off_full_collections
from kernel.shell.loop import Loop
from kernel.shell.model_files import prepare_models
from kernel.shell.offline import answer
from kernel.shell.outbox import Outbox
from kernel.shell.process_resources import ProcessResources, open_resources
from kernel.shell.sources import Sources
from kernel.shell.state_reader import StateReader
from kernel.shell.storage_audit import StorageAudit, audit_storage
from kernel.shell.storage_folders import StorageFolders, absent_detectors, none_absent
from kernel.shell.store import Store
from kernel.shell.terms import limits_of
from kernel.shell.unexpected_errors import LifeOver
from kernel.shell.worker_registry import BACK, JoinTerms, WorkerRegistry

FRONT: Final = "front"
BUS_LOCK: Final = "bus.lock"
EXIT_DATABASE: Final = 65
EXIT_TAKEN: Final = 69
EXIT_DISK: Final = 74
EXIT_CONFIGURATION: Final = 78


log = logging.getLogger("manager")


@dataclass(frozen=True, slots=True)
class Whole:
    """The objects that outlive an unexpected error: each run of the Manager in this process is built from
    them."""

    settings: Settings
    options: argparse.Namespace
    process_resources: ProcessResources


def main() -> int:
    """Run a Manager until it is asked to stop. Returns: the exit code."""
    parser = argparse.ArgumentParser(prog="python -m kernel.main", description="Run the Manager.")
    parser.add_argument("--config", type=Path, help="configuration file (default: as `spoon` finds it)")
    parser.add_argument("--with-api", action="store_true", help="also run the REST API")
    parser.add_argument("--verbose", action="store_true", help="log every event and action")
    parser.add_argument("--answer", action="store_true", help="carry out one command on keys from stdin")
    parser.add_argument("--fake-engines", action="store_true", help="run simulated engines (for tests)")
    options = parser.parse_args()
    start("manager", logging.DEBUG if options.verbose else logging.INFO, process="manager")
    make_files_private()
    hide_memory()
    try:
        installation = locate(options.config, os.environ)
        settings = settings_of(installation, os.environ)
        forget_variable(KEY_VARIABLE)  # of the command line that started this; no process of ours needs it
        if options.answer:
            sys.stdout.buffer.write(answer(settings, sys.stdin.buffer.read()))
            return 0
        if (notice := installation.notice()) is not None:
            log.info(line("installation_found", notice=notice))
        raise_file_limit()  # clients of bus.endpoint are connections too
        return run(settings, options)
    except BadConfiguration as error:
        return _complain(error.detail, EXIT_CONFIGURATION)
    except AlreadyRunning as error:
        return _complain(error.detail, EXIT_TAKEN)
    except DatabaseUnusable as error:
        return _complain(error.detail, EXIT_DATABASE)
    except apsw.Error as error:
        return _complain(f"the database failed: {error}", EXIT_DISK)


def _complain(text: str, exit_code: int) -> int:
    print(f"manager: {text}", file=sys.stderr)
    return exit_code


def run(settings: Settings, options: argparse.Namespace) -> int:
    """Build the Manager and run it.

    Raises: BadConfiguration, AlreadyRunning, DatabaseUnusable, apsw.Error.
    """
    with ExitStack() as stack:
        stack.callback(FolderLock(settings.database.folder).release)
        access.tighten(access.database_place(settings.database_file, settings.logs_folder))
        whole = Whole(settings, options, open_resources(settings, log, stack, is_fake=options.fake_engines))
        while True:
            loop = _live(whole)
            if loop.effects.exit_code is not None:
                return loop.effects.exit_code
            whole.process_resources.launchers.end_workers()
            time.sleep(loop.pause_s)


def _live(whole: Whole) -> Loop:
    """One run: until the Manager is stopped, or an unexpected error makes it start over.

    Raises: BadConfiguration, DatabaseUnusable, apsw.Error.
    """
    with ExitStack() as stack:
        store = Store(whole.settings.database_file)
        stack.callback(store.close)
        state_reader = StateReader(store.connection, whole.settings.images.disk_quota_bytes)
        loop = build(whole, store, state_reader, stack)
        put_off_full_collections()
        with suppress(LifeOver):
            loop.run()
        return loop


def build(whole: Whole, store: Store, state_reader: StateReader, stack: ExitStack) -> Loop:
    """Build and wire every object of one run; the stack closes them. Raises: BadConfiguration."""
    settings, options, launcher = whole.settings, whole.options, whole.process_resources.launcher
    epoch = store.next_epoch()
    devices = Devices(launcher.pids, launcher.standbys.pids)
    snapshot = state_reader.snapshot(epoch)
    files, found = open_files(settings, store, state_reader, snapshot.models, FileSystem())
    stack.callback(files.close)
    storage_folders = StorageFolders(settings.images.folder, settings.models.folder)
    snapshot = as_found(_with_past(snapshot, whole.process_resources), found, storage_folders, devices.read())
    master_key = ensure_master_key(private_folder(settings.bus_folder))
    ids = clock.RandomIdSource(master_key)
    front, back, gate, terms = _open_bus(settings, options, whole.process_resources.fetch, stack)
    server_key = z85.decode(terms.server_public_key).hex()
    limits = limits_of(settings, server_key, with_api=options.with_api)
    broker = Broker(snapshot, limits, ids, clock.now())
    gate.let_strangers_in(Strangers(BACK, lambda: bool(broker.world.worker_tokens)))
    launchers = whole.process_resources.launchers
    registry = WorkerRegistry(back, gate, launchers, terms, epoch)
    takers: set[bytes] = set()
    signals = whole.process_resources.signals
    front_door = FrontDoor(epoch, VERSION, os.getpid(), takers)
    sources = Sources(front, back, gate, registry, launchers, files, signals, front_door, BackDoor())
    sources.open()
    effects = Effects(
        outbox=Outbox(front, epoch, takers),
        registry=registry,
        files=files,
        state_reader=state_reader,
        api_process=ApiProcess(launcher, options.config),
        disks=_disks(settings),
        master_key=master_key,
    )
    absent = none_absent if options.fake_engines else partial(absent_detectors, settings.detectors_folder)
    looks = (clock.now, devices.read, storage_folders, absent)
    unexpected, standbys = whole.process_resources.unexpected, launcher.standbys
    return Loop(broker, store, state_reader, sources, effects, *looks, unexpected, standbys)


def _with_past(snapshot: Snapshot, process_resources: ProcessResources) -> Snapshot:
    """The snapshot with the facts that previous runs in this process left behind."""
    return replace(
        snapshot,
        has_api_process=process_resources.launcher.is_there(api_process.NAME),
        blamed=dict(process_resources.unexpected.blamed),
        is_stopping=process_resources.unexpected.is_stopping,
    )


def as_found(
    snapshot: Snapshot,
    audit: StorageAudit,
    storage_folders: StorageFolders,
    devices: tuple[DeviceFact, ...],
) -> Snapshot:
    """The content of the database, and the state of devices and files when the Manager starts."""
    return replace(
        snapshot,
        devices=devices,
        lost_images=audit.lost,
        found_images=audit.found,
        absent_models=storage_folders.absent_models(snapshot.models),
    )


def _disks(settings: Settings) -> DiskUsage:
    work = (settings.database.folder, settings.images.folder, settings.blobs.folder)
    return DiskUsage(work, settings.models.folder)


def open_files(
    settings: Settings, store: Store, state_reader: StateReader, models: Sequence[ModelRow], disk: FileSystem
) -> tuple[FileThread, StorageAudit]:
    """The storage folders without the leftovers of the last run, and an audit of the image files.

    Raises: BadConfiguration.
    """
    folders = {
        Folder.IMAGES: settings.images.folder,
        Folder.BLOBS: settings.blobs.folder,
        Folder.MODELS: settings.models.folder,
    }
    installation = store.installation()
    were_ours = access.marked(folders)
    numbers = {name: claim_folder(path, installation, disk) for name, path in folders.items()}
    is_shared = settings.images.group_readable
    access.settle(store, folders, were_ours, are_images_shared=is_shared)
    image_files = state_reader.image_files()
    inventory = audit_storage(folders[Folder.IMAGES], numbers[Folder.IMAGES], image_files, store)
    sweep(folders[Folder.IMAGES], image_files.kept.keys() | image_files.lost.keys(), disk)
    sweep(folders[Folder.BLOBS], state_reader.kept_blobs(), disk)
    prepare_models(settings.models.folder, models, time.time(), disk)
    return FileThread(
        folders, disk, are_images_shared=is_shared, model_roots=settings.models.roots
    ), inventory


def _open_bus(
    settings: Settings, options: argparse.Namespace, fetch: FetchTerms, stack: ExitStack
) -> tuple[Router, Router, Gate, JoinTerms]:
    folder = private_folder(settings.bus_folder)
    stack.callback(FolderLock(folder, BUS_LOCK).release)
    (server_public, server_secret), client_keys = ensure_all(folder)
    context = zmq.Context()
    stack.callback(context.term)
    gate = Gate(context)
    stack.callback(gate.socket.close)
    allowed = front_allowance(settings.server.max_body_bytes), back_allowance(settings.server.max_pixels)
    front = Router(context, FRONT, server_secret, [front_endpoint(folder)], allowed[0])
    stack.callback(front.close)
    others = [] if settings.bus.workers_endpoint is None else [settings.bus.workers_endpoint]
    back = Router(context, BACK, server_secret, [back_endpoint(folder), *others], allowed[1])
    stack.callback(back.close)
    for role, public_key in client_keys.items():
        gate.allow(FRONT, public_key, role.value)
    terms = JoinTerms(
        local_endpoint=back.endpoints[0],
        server_public_key=server_public.decode(),
        file_roots=tuple(map(str, settings.models.roots)),
        is_fake=options.fake_engines,
        manager_pid=os.getpid(),
        fetch=fetch,
        detectors_folder=str(settings.detectors_folder),
    )
    return front, back, gate, terms


if __name__ == "__main__":
    sys.exit(main())
