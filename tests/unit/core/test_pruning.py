"""Deleting many images at once, disks that fill up, and clocks that jump."""

import pytest
from msgspec.structs import replace

from kernel.core import actions
from kernel.core.events import Asked, DiskSwept, Prunable
from kernel.core.images.downloads import MOST_NAMED
from kernel.protocol import client
from kernel.protocol.enums import GoneReason, JobState
from tests.unit.core.samples import image, register, submit
from tests.unit.core.story import CORRELATION, PEER, Story, only

DUE = Prunable(images=(("a", GoneReason.EXPIRED), ("b", GoneReason.DELETED)), size_bytes=7, has_more=True)
FULL, ROOMY = DiskSwept(free_bytes=0), DiskSwept(free_bytes=1 << 40)


def with_images():
    story = Story()
    for name in ("a", "b"):
        story.database.images[name] = replace(image(name), file_name=f"{name}.png")
    return story


def prune(story, key="key", due=DUE, **fields):
    facts = replace(story.database.facts(key, client.PruneImages()), prunable=due)
    event = Asked(PEER, CORRELATION, key, b"digest", client.PruneImages(**fields), facts)
    (reply,) = only(story.tell(event), actions.Reply)
    return reply.message


def test_pruned_images_are_gone_each_for_its_reason_and_their_files_go_to_the_trash():
    story = with_images()
    assert prune(story) == client.ImagesPruned(images=2, size_bytes=7, has_more=True)
    reasons = [row.gone_reason for row in story.database.images.values()]
    assert reasons == [GoneReason.EXPIRED, GoneReason.DELETED]
    assert story.database.trash == ["a.png", "b.png"]


def test_dry_run_counts_and_changes_nothing_and_is_not_remembered():
    story = with_images()
    assert prune(story, dry_run=True) == client.ImagesPruned(images=2, size_bytes=7)
    assert not story.database.trash
    assert not story.database.replies


def test_pruning_for_an_engine_that_there_is_not_is_refused():
    assert (
        prune(with_images(), engine_id="none", due=Prunable(images=(), size_bytes=0)).code
        == "engine_not_found"
    )
    assert prune(with_images(), engine_id="none", due=None).code == "engine_not_found"


def test_pruning_for_a_deleted_engine_ends_the_images_that_were_kept():
    assert prune(with_images(), engine_id="deleted").images == 2


def test_pruned_images_without_a_file_are_lost_and_the_first_of_their_files_are_named():
    story = with_images()
    files = tuple(f"{n}.png" for n in range(MOST_NAMED + 1))
    due = Prunable(images=(("a", GoneReason.LOST),), size_bytes=0, missing_files=files)
    found = prune(story, missing=True, due=due)
    assert (found.images, found.missing, found.missing_files) == (1, MOST_NAMED + 1, files[:MOST_NAMED])
    assert story.database.images["a"].gone_reason is GoneReason.LOST
    assert story.database.trash == [], "its file may come back"


def test_nothing_is_lost_as_long_as_nobody_can_see_what_is_there():
    story = with_images()
    found = prune(story, missing=True, due=Prunable((), 0, unreadable="Input/output error"))
    assert (found.code, found.detail) == ("unavailable", "images.folder cannot be read: Input/output error")


def test_start_ends_what_is_lost_and_restores_what_is_there_again():
    story = with_images()
    lost = {"gone_reason": GoneReason.LOST, "gone_at_ms": 5}
    story.database.images["b"] = replace(story.database.images["b"], **lost)
    story.begin(lost_images=("a",), found_images=("b",))
    reasons = {name: row.gone_reason for name, row in story.database.images.items()}
    assert reasons == {"a": GoneReason.LOST, "b": None}
    assert [(change.id, change.state) for change in story.database.changes[-2:]] == [
        ("a", "lost"),
        ("b", "stored"),
    ]
    assert story.refusal(client.ClaimDownload(image_id="a")).code == "image_gone"
    assert isinstance(story.ask(client.ClaimDownload(image_id="b")), client.DownloadGranted)


def test_lost_image_that_is_deleted_does_not_come_back():
    story = with_images()
    story.begin(lost_images=("a",))
    story.ask(client.DeleteImage(image_id="a"))
    assert story.database.images["a"].gone_reason is GoneReason.DELETED
    assert story.database.trash == ["a.png"]


@pytest.mark.parametrize("wish", [register("new", uri="https://a.org/new"), submit("00000001")])
def test_full_disk_refuses_new_work_until_there_is_room_again(wish):
    story = Story()
    engine_id = story.engine(start=True)
    story.up()
    running = story.submit(engine_id)
    story.tell(FULL)
    assert story.refusal(wish).code == "disk_full"
    story.make(running)
    assert story.job_state(running) is JobState.FINISHED, "what runs goes on"
    story.tell(ROOMY)
    assert not isinstance(story.ask(wish), client.Refused)


def test_full_disk_stops_neither_downloads_of_images_nor_deleting_them():
    story = with_images()
    story.tell(FULL)
    assert isinstance(story.ask(client.ClaimDownload(image_id="a")), client.DownloadGranted)
    assert isinstance(story.ask(client.DeleteImage(image_id="b")), client.Done)


@pytest.mark.parametrize("jump_s", [-3600.0, 3600.0])
def test_picture_is_handed_out_until_its_time_by_the_calendar_whatever_the_calendar_did(jump_s):
    """It is lost early by no more than the clock was put forward."""
    story = Story()
    expires_at_ms = int(story.now_s * 1000) + 7_200_000
    story.database.images["a"] = image("a", expires_at_ms=expires_at_ms)
    story.now_s += jump_s if jump_s > 0 else 0.0
    story.now_s += 3_599.0
    assert isinstance(story.ask(client.ClaimDownload(image_id="a")), client.DownloadGranted)
