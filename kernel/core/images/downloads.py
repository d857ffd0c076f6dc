"""Finished images: claims of downloads, counts, expiry, and edits by people."""

from typing import Final

from kernel.core import actions, due
from kernel.core.events import Facts
from kernel.core.state import transitions
from kernel.core.state.world import World
from kernel.protocol import client
from kernel.protocol.enums import GONE_TEXTS, GoneReason
from kernel.protocol.errors import (
    EngineNotFound,
    ImageBusy,
    ImageGone,
    ImageNotFound,
    TooManyRequests,
    Unavailable,
)
from kernel.protocol.ids import ImageId, Ticket
from kernel.protocol.rows import ImageRow

CLAIM_S: Final = 3600.0
"""A download that takes longer than this is taken for abandoned."""
MAX_CLAIMS: Final = 100_000
"""Limit of open claims: each one has a deadline in the core."""
RETRY_S: Final = 5.0
MOST_NAMED: Final = 200
"""This many missing files are named, the rest is counted."""


def claim(world: World, ask: client.ClaimDownload, facts: Facts) -> client.SingleReply:
    """Grant one download of an image file.

    Raises: ImageNotFound; ImageGone, with the reason; ImageBusy, if every remaining download is in progress;
    TooManyRequests.
    """
    row = _present_image(world, facts)
    claims = world.claims.get(row.image_id, set())
    if row.download_limit is not None and row.downloads + len(claims) >= row.download_limit:
        raise ImageBusy
    if len(world.timers) >= MAX_CLAIMS:
        raise TooManyRequests("too many downloads are in progress", retry_after_s=RETRY_S)
    ticket = Ticket(f"{world.epoch}.{world.id_source.id()}")
    world.claims.setdefault(row.image_id, set()).add(ticket)
    world.timers.set(due.Claim(row.image_id, ticket), world.now.mono_s + CLAIM_S)
    return client.DownloadGranted(
        ticket=ticket, file_name=row.file_name, is_limited=row.download_limit is not None
    )


def _present_image(world: World, facts: Facts) -> ImageRow:
    if facts.image is None:
        raise ImageNotFound
    row = facts.image
    if row.gone_reason is not None:
        raise ImageGone(GONE_TEXTS[row.gone_reason])
    if row.expires_at_ms is not None and row.expires_at_ms <= world.now.unix_ms:
        raise ImageGone(GONE_TEXTS[GoneReason.EXPIRED])
    return row


def finish(world: World, ask: client.FinishDownload, facts: Facts) -> client.SingleReply:
    """End a claim; a complete download is counted, and the last allowed one ends the image.

    A claim counts once. One from before a restart is unknown, yet its file was sent, so it counts too.
    """
    is_known = drop_claim(world, ask.image_id, ask.ticket)
    is_former = not ask.ticket.startswith(f"{world.epoch}.")
    row = facts.image
    if row is None or not ask.whole or row.gone_reason is not None or not (is_known or is_former):
        return client.Done()
    world.act(actions.CountDownload(row.image_id))
    if row.download_limit is not None and row.downloads + 1 >= row.download_limit:
        transitions.end_image(world, row.image_id, GoneReason.USED_UP)
    return client.Done()


def drop_claim(world: World, image_id: ImageId, ticket: Ticket) -> bool:
    """Forget a claim. False, if there is no such claim (any more)."""
    claims = world.claims.get(image_id, set())
    if ticket not in claims:
        return False
    claims.remove(ticket)
    if not claims:
        del world.claims[image_id]
    world.timers.clear(due.Claim(image_id, ticket))
    return True


def prune(world: World, ask: client.PruneImages, facts: Facts) -> client.SingleReply:
    """Delete the images that the shell selected, or only count them.

    Raises: EngineNotFound, unless a deleted engine has such images; Unavailable, if the images folder cannot
    be read.
    """
    found = facts.prunable
    is_known = ask.engine_id is None or ask.engine_id in world.engines
    if not is_known and not (found and (found.images or found.counted)):
        raise EngineNotFound
    if found is None:
        return client.ImagesPruned(images=0, size_bytes=0)
    if found.unreadable is not None:
        raise Unavailable(f"images.folder cannot be read: {found.unreadable}")
    if not ask.dry_run:
        for image_id, reason in found.images:
            transitions.end_image(world, image_id, reason)
    return client.ImagesPruned(
        images=len(found.images) + found.counted,
        size_bytes=found.size_bytes,
        has_more=found.has_more and not ask.dry_run,
        missing=len(found.missing_files),
        missing_files=found.missing_files[:MOST_NAMED],
    )


def edit(world: World, ask: client.EditImage, facts: Facts) -> client.SingleReply:
    """Save what people say of an image.

    Raises: ImageNotFound.
    """
    if facts.image is None:
        raise ImageNotFound
    tags = None if ask.tags is None else tuple(dict.fromkeys(ask.tags))
    world.act(actions.EditImage(ask.image_id, tags, ask.favorite, ask.note))
    return client.Done()


def delete_all(world: World, ask: client.DeleteImages, facts: Facts) -> client.SingleReply:
    """Delete those of the images that are still there, and those that are lost: see `delete`."""
    named = frozenset(ask.image_ids)
    found = [row for row in facts.images if row.image_id in named]
    deleted = [row for row in found if row.gone_reason in (None, GoneReason.LOST)]
    for row in deleted:
        transitions.end_image(world, row.image_id, GoneReason.DELETED)
    size_bytes = sum(row.size_bytes for row in deleted if row.gone_reason is None)
    return client.ImagesPruned(images=len(deleted), size_bytes=size_bytes)


def delete(world: World, ask: client.DeleteImage, facts: Facts) -> client.SingleReply:
    """Delete an image now. Deleting one that is gone changes nothing, unless it is lost: then its file will
    not bring it back.

    Raises: ImageNotFound.
    """
    if facts.image is None:
        raise ImageNotFound
    if facts.image.gone_reason in (None, GoneReason.LOST):
        transitions.end_image(world, facts.image.image_id, GoneReason.DELETED)
    return client.Done()
