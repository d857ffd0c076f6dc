"""The limits of an API key on what it submits: waiting jobs, pixels of an image, and images by the day.

A day is the present hour and the 24 before it, so at least 24 hours: what was ordered counts by the hour, and
is free again when its hour has left the day. What was cancelled or failed counts, too. The numbers are saved
in the commit of the job (adr/0067); the limit of running jobs is the queue's (adr/0063).
"""

from typing import Final

from msgspec.structs import replace

from kernel.core.state import transitions
from kernel.core.state.world import World
from kernel.protocol.api_keys import KeyLimits
from kernel.protocol.errors import TooManyImages, TooManyPixels, TooManyWaiting, wrong_field
from kernel.protocol.ids import KeyId
from kernel.protocol.rows import KeyUseRow
from kernel.protocol.specs import JobSpec

HOUR_MS: Final = 3_600_000
HOURS: Final = 25
WAITING_RETRY_S: Final = 5.0


def check(world: World, key_id: KeyId | None, spec: JobSpec) -> None:
    """Check that a job keeps the limits of its key; None: it has none.

    Raises: TooManyWaiting, TooManyImages, TooManyPixels; InvalidField, if it can never keep them.
    """
    if key_id is None:
        return
    limits = world.keys[key_id].limits
    if limits.max_pixels is not None and spec.width_px * spec.height_px > limits.max_pixels:
        raise wrong_field("width", f"width x height must be at most {limits.max_pixels} with this API key")
    if limits.max_waiting_jobs is not None:
        waiting = world.open_by_key[key_id] - world.running_by_key[key_id]
        if waiting >= limits.max_waiting_jobs:
            raise TooManyWaiting(retry_after_s=WAITING_RETRY_S)
    if _has_day_limit(limits):
        _check_day(world, key_id, limits, spec)


def _check_day(world: World, key_id: KeyId, limits: KeyLimits, spec: JobSpec) -> None:
    """Raises: TooManyImages, TooManyPixels; InvalidField."""
    pixels = spec.width_px * spec.height_px
    uses = _uses(world, key_id)
    images = {use.hour: use.images for use in uses}
    wait_s = _wait_s(world, images, spec.count, limits.max_images_a_day, "images")
    if wait_s is not None:
        raise TooManyImages(retry_after_s=wait_s)
    ordered = {use.hour: use.pixels for use in uses}
    wait_s = _wait_s(world, ordered, spec.count * pixels, limits.max_pixels_a_day, "pixels")
    if wait_s is not None:
        raise TooManyPixels(retry_after_s=wait_s)


def count(world: World, key_id: KeyId | None, spec: JobSpec) -> None:
    """Count a job that is accepted, if its key has a limit by the day."""
    if key_id is None:
        return
    limits = world.keys[key_id].limits
    if not _has_day_limit(limits):
        return
    hour = world.now.unix_ms // HOUR_MS
    row = world.key_uses.get(key_id, {}).get(hour, KeyUseRow(key_id, hour))
    pixels = row.pixels + spec.count * spec.width_px * spec.height_px
    row = replace(row, images=row.images + spec.count, pixels=pixels)
    transitions.count_use(world, row, hour - HOURS + 1)


def _has_day_limit(limits: KeyLimits) -> bool:
    return limits.max_images_a_day is not None or limits.max_pixels_a_day is not None


def _uses(world: World, key_id: KeyId) -> list[KeyUseRow]:
    """What counts now. Hours in the future count, too, if the clock was set back."""
    first = world.now.unix_ms // HOUR_MS - HOURS + 1
    return [use for hour, use in world.key_uses.get(key_id, {}).items() if hour >= first]


def _wait_s(world: World, used: dict[int, int], wanted: int, most: int | None, what: str) -> float | None:
    """How long until so much more is within the limit; None: it is now.

    Raises: InvalidField, if it never will be.
    """
    if most is None:
        return None
    if wanted > most:
        raise wrong_field("count", f"this is {wanted} {what}; the API key may have {most} within 24 hours")
    excess = sum(used.values()) + wanted - most
    if excess <= 0:
        return None
    for hour, amount in sorted(used.items()):
        excess -= amount
        if excess <= 0:
            return ((hour + HOURS) * HOUR_MS - world.now.unix_ms) / 1000
    raise AssertionError("without what is used, the job is within the limit")
