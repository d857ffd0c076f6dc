"""Images: handed out as often as is allowed, and gone when they are due."""

import pytest
from msgspec.structs import replace

from kernel.core import due
from kernel.core.actions import EditImage, ForgetOld, SweepDisk
from kernel.core.events import DiskSwept
from kernel.core.images import downloads
from kernel.core.images.downloads import CLAIM_S
from kernel.protocol import client
from kernel.protocol.enums import GoneReason
from tests.unit.core.samples import image
from tests.unit.core.story import Story, only


def with_image(**fields):
    story = Story()
    story.database.images["image"] = image(**fields)
    return story


def claim(story):
    reply = story.ask(client.ClaimDownload(image_id="image"))
    return reply.ticket if isinstance(reply, client.DownloadGranted) else reply.code


def finish(story, ticket, whole=True, key=None):
    return story.ask(client.FinishDownload(image_id="image", ticket=ticket, whole=whole), key=key)


def test_image_without_a_limit_is_handed_out_for_ever():
    story = with_image()
    reply = story.ask(client.ClaimDownload(image_id="image"))
    assert isinstance(reply, client.DownloadGranted)
    assert (reply.file_name, reply.is_limited) == ("image.png", False)
    for _ in range(5):
        finish(story, claim(story))
    row = story.database.images["image"]
    assert (row.downloads, row.gone_reason) == (5, None)


def test_last_allowed_download_ends_the_image():
    story = with_image(limit=2)
    for _ in range(2):
        finish(story, claim(story))
    row = story.database.images["image"]
    assert (row.downloads, row.gone_reason, row.gone_at_ms) == (2, GoneReason.USED_UP, 1_000_000)
    assert story.database.trash == ["image.png"]
    assert claim(story) == "image_gone"


def test_exactly_as_many_downloads_as_are_allowed_however_they_interleave():
    story = with_image(limit=3)
    tickets = []
    for _ in range(200):
        if (ticket := claim(story)) != "image_busy":
            tickets.append(ticket)
    assert len(tickets) == 3
    for ticket in tickets:
        assert claim(story) == "image_busy"
        finish(story, ticket)
    assert story.database.images["image"].downloads == 3
    assert claim(story) == "image_gone"


def test_download_that_broke_off_can_be_made_again():
    story = with_image(limit=1)
    ticket = claim(story)
    finish(story, ticket, whole=False)
    assert story.database.images["image"].downloads == 0
    finish(story, claim(story))
    assert story.database.images["image"].gone_reason is GoneReason.USED_UP


def test_download_that_is_never_finished_is_given_up_after_an_hour():
    story = with_image(limit=1)
    ticket = claim(story)
    story.wait(3599.0)
    assert claim(story) == "image_busy"
    story.wait(2.0)
    late = claim(story)
    assert late != "image_busy"
    finish(story, ticket)
    assert story.database.images["image"].downloads == 0


def test_ticket_counts_once():
    story = with_image(limit=9)
    ticket = claim(story)
    for _ in range(3):
        assert finish(story, ticket) == client.Done()
    assert story.database.images["image"].downloads == 1


def test_ticket_of_an_image_that_was_deleted_meanwhile_is_worth_nothing():
    story = with_image(limit=2)
    ticket = claim(story)
    story.ask(client.DeleteImage(image_id="image"))
    assert finish(story, ticket) == client.Done()
    row = story.database.images["image"]
    assert (row.downloads, row.gone_reason) == (0, GoneReason.DELETED)


def test_deadlines_of_downloads_go_with_their_image():
    story = with_image()
    story.wait(3.0)
    claim(story)
    story.ask(client.DeleteImage(image_id="image"))
    begun_s = story.now_s
    while story.now_s < begun_s + 4000.0:
        deadline_s = story.broker.next_deadline()
        assert deadline_s is not None
        assert deadline_s != begun_s + CLAIM_S
        story.wait(deadline_s - story.now_s)


def test_deleting_an_image_twice_changes_nothing_more():
    story = with_image()
    for _ in range(2):
        assert story.ask(client.DeleteImage(image_id="image")) == client.Done()
    assert story.database.trash == ["image.png"]


@pytest.mark.parametrize("reason", list(GoneReason))
def test_image_that_is_gone_says_why(reason):
    story = with_image()
    story.tell(DiskSwept(free_bytes=1 << 40, images_due=(("image", reason),)))
    refused = story.refusal(client.ClaimDownload(image_id="image"))
    assert refused.code == "image_gone"
    words = {
        "expired": "expired",
        "used_up": "download limit",
        "quota": "room",
        "deleted": "deleted",
        "lost": "lost",
    }
    assert words[reason] in refused.detail


def test_image_is_not_handed_out_after_its_time_though_its_file_is_still_there():
    story = with_image(expires_at_ms=1_010_000)
    story.wait(9.9)
    assert claim(story) != "image_gone"
    story.wait(0.1)
    assert claim(story) == "image_gone"


def test_stock_is_taken_at_the_start_and_every_ten_seconds():
    story = Story()
    assert SweepDisk() in story.begin()
    story.tell(DiskSwept(free_bytes=1 << 40))
    assert not only(story.wait(9.9), SweepDisk)
    assert len(only(story.wait(100.0), SweepDisk)) == 10


def test_stock_is_taken_again_at_once_while_there_is_more_to_end():
    story = with_image()
    story.tell(DiskSwept(free_bytes=1 << 40, images_due=(("image", GoneReason.EXPIRED),), has_more_due=True))
    assert story.database.images["image"].gone_reason is GoneReason.EXPIRED
    assert only(story.wait(0.0), SweepDisk)


def test_old_answers_and_changes_are_forgotten_once_an_hour():
    story = Story()
    for _ in range(3):
        story.tell(DiskSwept(free_bytes=1 << 40))
        story.wait(10.0)
    assert story.database.forgets == [ForgetOld(1_000_000 - 48 * 3_600_000, 50_000)]
    story.wait(3600.0)
    story.tell(DiskSwept(free_bytes=1 << 40))
    assert len(story.database.forgets) == 2


def test_download_that_went_on_during_a_restart_counts():
    story = with_image(limit=1)
    ticket = claim(story)
    story.begin()
    finish(story, ticket)
    row = story.database.images["image"]
    assert (row.downloads, row.gone_reason) == (1, GoneReason.USED_UP)


def test_downloads_beyond_a_great_many_are_told_to_come_again_and_leave_nothing():
    story = Story()
    story.database.images["image"] = image()
    timers = story.broker.world.timers
    for number in range(downloads.MAX_CLAIMS - len(timers)):
        timers.set(due.Claim("another", str(number)), story.now_s + 60.0)
    reply = story.refusal(client.ClaimDownload(image_id="image"))
    assert (reply.code, reply.retry_after_s) == ("too_many_requests", 5.0)
    assert not story.broker.world.claims


def test_what_people_say_of_an_image_is_saved_each_tag_once():
    story = with_image()
    said = client.EditImage(image_id="image", tags=("best", "zoo", "best"), note="")
    assert isinstance(story.ask(said), client.Done)
    assert story.database.edits == [EditImage("image", ("best", "zoo"), None, "")]
    assert story.ask(client.EditImage(image_id="none", favorite=True)).code == "image_not_found"


def test_of_several_images_those_that_are_there_are_deleted():
    story = with_image()
    ask = client.DeleteImages(image_ids=("image", "none", "image"))
    for count in (1, 0):
        reply = story.ask(ask)
        assert (reply.images, reply.size_bytes) == (count, count * image().size_bytes)
    assert story.database.images["image"].gone_reason is GoneReason.DELETED
    story.database.images["image"] = replace(image(), gone_reason=GoneReason.LOST)
    reply = story.ask(ask)
    assert (reply.images, reply.size_bytes) == (1, 0), "it has no file, and none that comes back revives it"
    assert story.database.images["image"].gone_reason is GoneReason.DELETED
