"""Housekeeping: expiry, disk quota, free disk space."""

from typing import Final

from kernel.core import actions, due
from kernel.core.admission import engine_admission, memory_ledger
from kernel.core.events import DiskSwept
from kernel.core.state import transitions
from kernel.core.state.world import World

PERIOD_S: Final = 10.0
FORGET_PERIOD_S: Final = 3600.0
REPLIES_KEPT_MS: Final = 48 * 3_600_000
"""A command that is sent again within two days gets the stored reply."""
CHANGES_KEPT: Final = 50_000
DELIVERIES_KEPT_MS: Final = 7 * 86_400_000
"""For a week, a delivery that has ended can be read, and sent again."""
DELIVERIES_KEPT: Final = 100_000


def start_sweep(world: World) -> None:
    """Ask the shell to measure disk space and to find expired files."""
    world.act(actions.SweepDisk())
    world.timers.set(due.Housekeeping(), world.now.mono_s + PERIOD_S)


def sweep_done(world: World, event: DiskSwept) -> None:
    """End expired images, drop expired blobs, and note whether disks and devices have space."""
    memory_ledger.look(world, event.devices)
    engine_admission.admit(world)
    for image_id, reason in event.images_due:
        transitions.end_image(world, image_id, reason)
    for blob_id in event.blobs_due:
        world.act(actions.DropBlob(blob_id, world.now.unix_ms))
    world.is_disk_low = event.free_bytes < world.limits.min_free_bytes
    if event.models_free_bytes is not None:
        world.is_models_disk_low = event.models_free_bytes < world.limits.min_free_bytes
    if event.has_more_due:
        world.timers.set(due.Housekeeping(), world.now.mono_s)
        return
    if world.now.mono_s >= world.forget_at_s:
        world.forget_at_s = world.now.mono_s + FORGET_PERIOD_S
        world.act(actions.ForgetOld(world.now.unix_ms - REPLIES_KEPT_MS, CHANGES_KEPT))
        world.act(actions.ForgetDeliveries(world.now.unix_ms - DELIVERIES_KEPT_MS, DELIVERIES_KEPT))
