"""What is saved is what is recalled: every row, whole and bare, and all that can change of it."""

import msgspec
import pytest
from msgspec.structs import replace

from kernel.core import actions
from kernel.core.events import StoredReply
from kernel.core.ports import Folder
from kernel.protocol import client
from kernel.protocol.api_keys import KeyIssued
from kernel.protocol.enums import (
    CallbackEvent,
    ChangeKind,
    DeliveryState,
    EngineState,
    GoneReason,
    JobState,
    ModelState,
    Phase,
    Variant,
)
from kernel.protocol.errors import FieldProblem
from kernel.protocol.ids import (
    DeliveryId,
    EngineId,
    EventSeq,
    ImageId,
    JobId,
    KeyId,
    Lease,
    Ticket,
    TokenId,
    WebhookId,
)
from kernel.protocol.memory import EngineValid
from kernel.protocol.rows import (
    ChangeRow,
    EngineRow,
    ImageRow,
    JobRow,
    KeyRow,
    KeyUseRow,
    ModelRow,
    PresetRow,
    WebhookRow,
    WorkerTokenRow,
)
from kernel.protocol.specs import JobRequest, JobSpec
from kernel.protocol.status import DeviceStatus, Status
from kernel.protocol.webhooks import Callback, CallbackSecret, DeliveryQueued, Redeliver, WebhookIssued
from kernel.protocol.worker_tokens import WorkerTokenIssued
from kernel.shell.state_reader import StateReader
from kernel.shell.storage_audit import ImageFiles
from kernel.shell.store import Store
from tests.integration.kernel.rows import (
    BARE_ENGINE,
    BARE_KEY,
    BARE_MODEL,
    BARE_WEBHOOK,
    CHECKPOINT,
    ENDED_JOB,
    ENGINE,
    FREE_IMAGE,
    FULL_DELIVERY,
    FULL_ENGINE,
    FULL_KEY,
    FULL_MODEL,
    FULL_WEBHOOK,
    IMAGE,
    JOB,
    LIMITED_IMAGE,
    NOW_MS,
    SPEC,
    WAITING_JOB,
)
from tests.integration.kernel.saving import saved, snapshot

DEVICE = DeviceStatus(device="cpu", name="CPU", total_bytes=2, free_bytes=1)
REPLIES: list[client.BrokerReply] = [
    client.Refused(code="c", detail="d", fields=(FieldProblem(field="f", problem="p"),), retry_after_s=0.5),
    client.ModelAccepted(model_id=CHECKPOINT, status=ModelState.READY, created=False),
    client.EngineAccepted(engine_id=ENGINE, status=EngineState.ERROR),
    client.JobAccepted(job_id=JOB, image_ids=(IMAGE,), created_at_ms=NOW_MS),
    client.JobValid(engine_id=ENGINE),
    EngineValid(fits=True),
    client.Done(),
    client.DownloadGranted(ticket=Ticket("t"), file_name="f", is_limited=True),
    KeyIssued(key_id=KeyId("k"), expires_at_ms=1),
    WebhookIssued(webhook_id=WebhookId("w")),
    CallbackSecret(secret="s"),
    DeliveryQueued(delivery_id=DeliveryId("d")),
    WorkerTokenIssued(token_id=TokenId("t"), expires_at_ms=1),
    Status(
        version="1",
        pid=1,
        phase=Phase.RUNNING,
        uptime_s=0.0,
        jobs_waiting=0,
        jobs_processing=0,
        engines_running=0,
        is_disk_low=False,
        devices=(DEVICE,),
    ),
]


@pytest.mark.parametrize("row", [FULL_MODEL, BARE_MODEL], ids=["full", "bare"])
def test_a_model_comes_back_as_it_was_saved(store: Store, state_reader: StateReader, row: ModelRow) -> None:
    saved(store, actions.SaveModel(row))
    assert snapshot(state_reader).models == (row,)


def test_what_inspection_finds_replaces_what_was_there(store: Store, state_reader: StateReader) -> None:
    found = replace(
        BARE_MODEL,
        status=ModelState.READY,
        model_base=FULL_MODEL.model_base,
        variant=Variant.FP32,
        sha256="12" * 32,
        size_bytes=1,
        memory_bytes=2,
        parameters=0,
        prediction_type="epsilon",
        native_size_px=512,
    )
    saved(store, actions.SaveModel(BARE_MODEL), actions.SaveModel(found))
    assert snapshot(state_reader).models == (found,)


def test_a_dropped_model_is_gone(store: Store, state_reader: StateReader) -> None:
    saved(store, actions.SaveModel(FULL_MODEL), actions.DropModel(CHECKPOINT))
    assert snapshot(state_reader).models == ()


@pytest.mark.parametrize("row", [FULL_ENGINE, BARE_ENGINE], ids=["full", "bare"])
def test_an_engine_comes_back_as_it_was_saved(
    store: Store, state_reader: StateReader, row: EngineRow
) -> None:
    saved(store, actions.SaveEngine(row))
    assert snapshot(state_reader).engines == (row,)


def test_an_engines_state_can_change_and_be_forgotten(store: Store, state_reader: StateReader) -> None:
    closed = replace(FULL_ENGINE, status=EngineState.CLOSED, device=None, memory_bytes=None, error=None)
    saved(store, actions.SaveEngine(FULL_ENGINE), actions.SaveEngine(closed))
    assert snapshot(state_reader).engines == (closed,)


def test_what_keys_have_ordered_is_counted_by_the_hour(store: Store, state_reader: StateReader) -> None:
    key_id, other = FULL_KEY.key_id, KeyId("key-2")
    rows = [KeyUseRow(key_id, hour, images=hour, pixels=2**40) for hour in (1, 2, 3)]
    kept = KeyUseRow(other, 1, images=1, pixels=1)
    for row in (*rows, kept):
        saved(store, actions.SaveKeyUse(row, 0))
    last = replace(rows[2], images=9)
    saved(store, actions.SaveKeyUse(last, 2))
    assert snapshot(state_reader).key_uses == (rows[1], last, kept)


@pytest.mark.parametrize("row", [FULL_KEY, BARE_KEY], ids=["full", "bare"])
def test_a_key_comes_back_as_it_was_saved(store: Store, state_reader: StateReader, row: KeyRow) -> None:
    saved(store, actions.SaveKey(replace(BARE_KEY, name="before")), actions.SaveKey(row))
    found = snapshot(state_reader).keys
    assert found == (replace(row, created_at_ms=BARE_KEY.created_at_ms),), "what cannot change stays"


def test_an_enrollment_token_comes_back_as_it_was_saved(store: Store, state_reader: StateReader) -> None:
    row = WorkerTokenRow(TokenId("t"), "lab", "digest", 1, max_workers=3, expires_at_ms=2)
    used = replace(row, used_at_ms=4, revoked_at_ms=5)
    saved(store, actions.SaveWorkerToken(row))
    assert snapshot(state_reader).worker_tokens == (row,)
    saved(store, actions.SaveWorkerToken(used))
    assert snapshot(state_reader).worker_tokens == (used,)


def test_a_job_comes_back_with_the_lease_under_which_it_was_given_out(
    store: Store, state_reader: StateReader
) -> None:
    row = replace(WAITING_JOB, lease=Lease(3 << 32 | 1))
    saved(store, actions.AddJob(WAITING_JOB, SPEC), actions.SaveJob(row))
    assert snapshot(state_reader).open_jobs == (row,)


def test_an_open_job_comes_back_with_its_key(store: Store, state_reader: StateReader) -> None:
    row = replace(WAITING_JOB, key_id=FULL_KEY.key_id)
    saved(store, actions.AddJob(row, SPEC))
    assert snapshot(state_reader).open_jobs == (row,)


@pytest.mark.parametrize("row", [FULL_WEBHOOK, BARE_WEBHOOK], ids=["full", "bare"])
def test_a_webhook_comes_back_as_it_was_saved(
    store: Store, state_reader: StateReader, row: WebhookRow
) -> None:
    saved(store, actions.SaveWebhook(replace(row, url="https://before.example")), actions.SaveWebhook(row))
    assert snapshot(state_reader).webhooks == (row,)


def test_presets_of_two_owners_are_two_and_a_changed_one_keeps_its_creation(
    store: Store, state_reader: StateReader
) -> None:
    rows = [
        PresetRow(name="a", fields="{}", created_at_ms=at_ms, changed_at_ms=at_ms, key_id=owner)
        for at_ms, owner in ((1, None), (2, FULL_KEY.key_id), (3, None))
    ]
    saved(store, *map(actions.SavePreset, rows))
    assert set(snapshot(state_reader).presets) == {(None, "a"), (FULL_KEY.key_id, "a")}
    times = store.connection.execute("SELECT created_at_ms, changed_at_ms FROM preset ORDER BY 1").fetchall()
    assert times == [(1, 3), (2, 2)]
    saved(store, actions.DropPreset(None, "a"))
    assert snapshot(state_reader).presets == ((FULL_KEY.key_id, "a"),)


def test_a_delivery_comes_back_as_it_was_saved(store: Store, state_reader: StateReader) -> None:
    sending = replace(FULL_DELIVERY, status=DeliveryState.SENDING, attempts=4, seq=8, next_at_ms=None)
    saved(store, actions.AddDelivery(FULL_DELIVERY, "{}"))
    assert snapshot(state_reader).deliveries == (FULL_DELIVERY,)
    saved(store, actions.SaveDelivery(sending))
    assert snapshot(state_reader).deliveries == (sending,)
    assert snapshot(state_reader).last_delivery_seq == 8
    assert state_reader.delivery_body(sending.delivery_id) == "{}"
    ask = Redeliver(delivery_id=sending.delivery_id)
    assert state_reader.facts("key", ask).delivery == sending


def test_old_deliveries_are_forgotten_and_open_ones_are_not(store: Store, state_reader: StateReader) -> None:
    rows = [
        replace(FULL_DELIVERY, delivery_id=DeliveryId(f"d{seq}"), seq=seq, ended_at_ms=ended_at_ms)
        for seq, ended_at_ms in enumerate((NOW_MS, None, NOW_MS + 1, NOW_MS + 2), start=1)
    ]
    saved(store, *(actions.AddDelivery(row, "{}") for row in rows))
    saved(store, actions.ForgetDeliveries(NOW_MS + 1, 1))
    kept = [row for row in rows if state_reader.delivery_body(row.delivery_id) is not None]
    assert kept == [rows[1], rows[3]]


def test_with_a_webhook_go_its_deliveries(store: Store, state_reader: StateReader) -> None:
    other = replace(FULL_DELIVERY, delivery_id=DeliveryId("other"), seq=9, webhook_id=None)
    saved(store, actions.SaveWebhook(FULL_WEBHOOK), actions.AddDelivery(FULL_DELIVERY, "{}"))
    saved(store, actions.AddDelivery(other, "{}"), actions.DropWebhook(FULL_WEBHOOK.webhook_id))
    assert (snapshot(state_reader).webhooks, snapshot(state_reader).deliveries) == ((), (other,))


def test_an_open_job_comes_back_with_its_receiver(store: Store, state_reader: StateReader) -> None:
    row = replace(WAITING_JOB, callback=Callback(url="https://a.example", events=(CallbackEvent.JOB_FAILED,)))
    saved(store, actions.AddJob(row, SPEC))
    assert snapshot(state_reader).open_jobs == (row,)


def test_an_open_job_comes_back_with_its_spec(store: Store, state_reader: StateReader) -> None:
    saved(store, actions.AddJob(WAITING_JOB, SPEC))
    assert snapshot(state_reader).open_jobs == (WAITING_JOB,)
    assert state_reader.job_spec(JOB) == SPEC


@pytest.mark.parametrize("seed", [0, 2**32 - 1, 2**53 + 1, 2**63 - 1])
def test_a_seed_comes_back_to_the_last_digit(store: Store, state_reader: StateReader, seed: int) -> None:
    saved(store, actions.AddJob(replace(WAITING_JOB, seed=seed), _spec_with(seed)))
    assert snapshot(state_reader).open_jobs[0].seed == seed
    assert state_reader.job_spec(JOB).seed == seed


@pytest.mark.parametrize("ask", [client.CancelJob(job_id=JOB), client.DeleteJob(job_id=JOB)])
def test_an_ended_job_rides_on_the_asks_about_it(
    store: Store, state_reader: StateReader, ask: client.Ask
) -> None:
    saved(store, actions.AddJob(WAITING_JOB, SPEC), actions.SaveJob(ENDED_JOB))
    assert state_reader.facts("key", ask).ended_job == ENDED_JOB
    assert snapshot(state_reader).open_jobs == ()


def test_open_jobs_come_in_the_order_of_arrival_and_the_last_number_is_known(
    store: Store, state_reader: StateReader
) -> None:
    saved(store, *(actions.AddJob(_job(seq), SPEC) for seq in (3, 1, 2)))
    assert [row.seq for row in snapshot(state_reader).open_jobs] == [1, 2, 3]
    assert snapshot(state_reader).last_job_seq == 3


@pytest.mark.parametrize("row", [LIMITED_IMAGE, FREE_IMAGE], ids=["limited", "free"])
def test_an_image_comes_back_as_it_was_saved(store: Store, state_reader: StateReader, row: ImageRow) -> None:
    saved(store, actions.AddImage(row))
    assert state_reader.image(IMAGE) == row
    assert state_reader.facts("key", client.ClaimDownload(image_id=IMAGE)).image == row
    assert state_reader.image_files() == ImageFiles(kept={row.file_name: IMAGE}, lost={})


def test_the_stored_pictures_of_open_jobs_are_known_and_those_of_ended_ones_are_not(
    store: Store, state_reader: StateReader
) -> None:
    ended = replace(_job(2), status=JobState.FINISHED, finished_at_ms=NOW_MS)
    others = replace(FREE_IMAGE, image_id=ImageId("other"), job_id=ended.job_id)
    second = replace(LIMITED_IMAGE, position=1)
    saved(store, actions.AddJob(WAITING_JOB, SPEC), actions.AddJob(_job(2), SPEC), actions.SaveJob(ended))
    saved(store, actions.AddImage(second), actions.AddImage(others))
    assert snapshot(state_reader).stored_positions == {JOB: frozenset({1})}


def test_downloads_are_counted(store: Store, state_reader: StateReader) -> None:
    saved(store, actions.AddImage(LIMITED_IMAGE), *[actions.CountDownload(IMAGE)] * 2)
    assert state_reader.image(IMAGE) == replace(LIMITED_IMAGE, downloads=2)


def test_an_image_ends_once_and_its_file_goes_to_the_trash(store: Store, state_reader: StateReader) -> None:
    saved(
        store,
        actions.AddImage(LIMITED_IMAGE),
        actions.EndImage(IMAGE, GoneReason.USED_UP, NOW_MS),
        actions.EndImage(IMAGE, GoneReason.DELETED, NOW_MS + 1),
    )
    assert state_reader.image(IMAGE) == replace(
        LIMITED_IMAGE, gone_reason=GoneReason.USED_UP, gone_at_ms=NOW_MS
    )
    assert state_reader.trash(10) == ["images/image-1.png"]
    assert state_reader.image_files() == ImageFiles(kept={}, lost={})


def test_a_lost_image_keeps_its_name_and_may_be_there_again_or_deleted(
    store: Store, state_reader: StateReader
) -> None:
    saved(store, actions.AddImage(FREE_IMAGE), actions.EndImage(IMAGE, GoneReason.LOST, NOW_MS))
    assert state_reader.image(IMAGE) == replace(FREE_IMAGE, gone_reason=GoneReason.LOST, gone_at_ms=NOW_MS)
    assert state_reader.trash(10) == [], "its file may come back"
    of_the_row = (IMAGE, FREE_IMAGE.size_bytes)
    assert state_reader.image_files() == ImageFiles(kept={}, lost={FREE_IMAGE.file_name: of_the_row})
    saved(store, actions.RestoreImage(IMAGE))
    assert state_reader.image(IMAGE) == FREE_IMAGE
    saved(store, *(actions.EndImage(IMAGE, why, NOW_MS) for why in (GoneReason.LOST, GoneReason.DELETED)))
    saved(store, actions.RestoreImage(IMAGE))
    assert state_reader.image(IMAGE) == replace(FREE_IMAGE, gone_reason=GoneReason.DELETED, gone_at_ms=NOW_MS)
    assert state_reader.trash(10) == [f"images/{FREE_IMAGE.file_name}"]


def test_what_people_say_of_an_image_is_kept_until_they_say_otherwise(store: Store) -> None:
    def said() -> list[tuple[object, ...]]:
        return list(store.connection.execute("SELECT tags, favorite, note FROM image"))

    saved(store, actions.AddJob(WAITING_JOB, SPEC), actions.AddImage(FREE_IMAGE))
    saved(store, actions.EditImage(IMAGE, ("b", "a"), True, "for the wall"))
    assert said() == [('["b","a"]', 1, "for the wall")]
    saved(store, actions.EditImage(IMAGE, None, None, None))
    assert said() == [('["b","a"]', 1, "for the wall")]
    saved(store, actions.EditImage(IMAGE, (), False, ""))
    assert said() == [("[]", 0, None)]


def test_the_trash_forgets_what_is_removed_and_only_that(store: Store, state_reader: StateReader) -> None:
    saved(store, *(actions.TrashFile(Folder.IMAGES, name, NOW_MS) for name in ("a.png", "b.png")))
    store.forget_trash(["images/a.png"])
    assert state_reader.trash(10) == ["images/b.png"]


@pytest.mark.parametrize("drop", [actions.DropJob(JOB, NOW_MS), actions.DropEngine(ENGINE, NOW_MS)])
def test_with_a_job_or_its_engine_go_the_images_and_their_files(
    store: Store, state_reader: StateReader, drop: actions.Save
) -> None:
    kept = replace(FREE_IMAGE, image_id=ImageId("kept"), job_id=JobId("j"), engine_id=EngineId("e"))
    saved(store, actions.SaveEngine(BARE_ENGINE), actions.AddJob(WAITING_JOB, SPEC))
    saved(store, actions.AddImage(LIMITED_IMAGE), actions.AddImage(kept))

    saved(store, drop)

    assert snapshot(state_reader).open_jobs == ()
    assert (state_reader.image(IMAGE), state_reader.image(kept.image_id)) == (None, kept)
    assert state_reader.trash(10) == ["images/image-1.png"]


def test_an_engine_leaves_its_images_with_their_jobs_and_its_name(
    store: Store, state_reader: StateReader
) -> None:
    bare = replace(WAITING_JOB, job_id=JobId("bare"), seq=WAITING_JOB.seq + 1)
    saved(
        store, actions.SaveEngine(BARE_ENGINE), actions.AddJob(WAITING_JOB, SPEC), actions.AddJob(bare, SPEC)
    )
    saved(store, actions.AddImage(LIMITED_IMAGE))
    saved(store, actions.DropEngine(ENGINE, NOW_MS, keeps_images=True))
    assert list(store.connection.execute("SELECT job_id FROM job")) == [(JOB,)]
    assert state_reader.image(IMAGE) == LIMITED_IMAGE
    assert state_reader.trash(10) == []
    former = list(store.connection.execute("SELECT * FROM former_engine"))
    assert former == [(ENGINE, BARE_ENGINE.name, NOW_MS)]


def test_no_name_is_kept_of_an_engine_without_images(store: Store) -> None:
    saved(store, actions.SaveEngine(BARE_ENGINE), actions.DropEngine(ENGINE, NOW_MS, keeps_images=True))
    assert not list(store.connection.execute("SELECT * FROM former_engine"))


@pytest.mark.parametrize("reply", REPLIES, ids=lambda reply: type(reply).__name__)
def test_an_answer_comes_back_to_the_command_that_had_it(
    store: Store, state_reader: StateReader, reply: client.BrokerReply
) -> None:
    ask = client.SubmitJob(request=JobRequest())
    assert state_reader.facts("key", ask).stored_reply is None
    saved(store, actions.SaveReply("key", b"digest", reply, NOW_MS))
    assert state_reader.facts("key", ask).stored_reply == StoredReply(b"digest", reply)


def test_the_answer_to_a_job_is_stored_without_its_prompt_and_comes_back_whole(
    store: Store, state_reader: StateReader
) -> None:
    reply = client.JobAccepted(
        job_id=WAITING_JOB.job_id,
        image_ids=(IMAGE,),
        created_at_ms=NOW_MS,
        engine_id=ENGINE,
        jobs_ahead=4,
        spec=SPEC,
    )
    saved(store, actions.SaveEngine(FULL_ENGINE), actions.AddJob(WAITING_JOB, SPEC))
    saved(store, actions.SaveReply("key", b"digest", reply, NOW_MS))
    stored = store.connection.execute("SELECT reply FROM idempotency WHERE key = 'key'").get
    assert SPEC.prompt.encode() not in stored
    ask = client.SubmitJob(request=JobRequest())
    assert state_reader.facts("key", ask).stored_reply == StoredReply(b"digest", reply)


def test_the_answer_to_a_job_that_was_deleted_has_no_spec(store: Store, state_reader: StateReader) -> None:
    reply = client.JobAccepted(job_id=JOB, image_ids=(), created_at_ms=NOW_MS, engine_id=ENGINE, spec=SPEC)
    saved(store, actions.SaveReply("key", b"digest", reply, NOW_MS))
    stored = state_reader.facts("key", client.SubmitJob(request=JobRequest())).stored_reply
    assert stored == StoredReply(b"digest", replace(reply, spec=None))


def test_old_answers_and_changes_are_forgotten_and_new_ones_are_not(
    store: Store, state_reader: StateReader
) -> None:
    ask = client.CancelJob(job_id=JOB)
    saved(store, *(actions.SaveReply(f"key-{n}", b"", client.Done(), n) for n in (1, 2)))
    saved(store, *(actions.RecordChange(_change(n)) for n in range(1, 6)))

    saved(store, actions.ForgetOld(replies_before_ms=2, changes_to_keep=2))

    assert state_reader.facts("key-1", ask).stored_reply is None
    assert state_reader.facts("key-2", ask).stored_reply is not None
    assert list(store.connection.execute("SELECT seq FROM event")) == [(4,), (5,)]
    assert snapshot(state_reader).last_change == 5


def test_expired_images_are_due_then_the_oldest_ones_beyond_the_quota(
    store: Store, state_reader: StateReader
) -> None:
    expired = replace(LIMITED_IMAGE, image_id=ImageId("expired"), created_at_ms=NOW_MS + 9)
    old, new = (
        replace(FREE_IMAGE, image_id=ImageId(name), created_at_ms=NOW_MS + age)
        for age, name in enumerate(("old", "new"))
    )
    saved(store, *map(actions.AddImage, (new, old, expired)))

    assert state_reader.images_due(NOW_MS + 999) == ()
    assert state_reader.images_due(NOW_MS + 1000) == (("expired", GoneReason.EXPIRED),)
    two_files_bytes = 2 * FREE_IMAGE.size_bytes
    assert StateReader(store.connection, two_files_bytes).images_due(NOW_MS) == (("old", GoneReason.QUOTA),)
    assert StateReader(store.connection, two_files_bytes + FREE_IMAGE.size_bytes).images_due(NOW_MS) == ()


def test_the_spec_of_a_job_that_was_deleted_is_none(store: Store, state_reader: StateReader) -> None:
    saved(store, actions.AddJob(WAITING_JOB, SPEC))
    assert state_reader.job_spec(WAITING_JOB.job_id) == SPEC
    saved(store, actions.DropJob(WAITING_JOB.job_id, NOW_MS))
    assert state_reader.job_spec(WAITING_JOB.job_id) is None


def _job(seq: int) -> JobRow:
    return replace(WAITING_JOB, seq=seq, job_id=JobId(f"job-{seq}"))


def _spec_with(seed: int) -> JobSpec:
    return msgspec.structs.replace(SPEC, seed=seed)


def _change(seq: int) -> ChangeRow:
    return ChangeRow(EventSeq(seq), ChangeKind.MODEL, "m", "ready", NOW_MS)


def test_a_change_of_an_image_is_that_of_its_jobs_key(store: Store) -> None:
    row = replace(WAITING_JOB, key_id=FULL_KEY.key_id)
    changes = [
        ChangeRow(EventSeq(1), ChangeKind.JOB, JOB, "waiting", NOW_MS, FULL_KEY.key_id),
        ChangeRow(EventSeq(2), ChangeKind.IMAGE, IMAGE, "stored", NOW_MS),
        ChangeRow(EventSeq(3), ChangeKind.IMAGE, "other", "stored", NOW_MS),
        ChangeRow(EventSeq(4), ChangeKind.ENGINE, ENGINE, "ready", NOW_MS),
    ]
    saved(store, actions.AddJob(row, SPEC), actions.AddImage(FREE_IMAGE), *map(actions.RecordChange, changes))
    found = [key_id for (key_id,) in store.connection.execute("SELECT key_id FROM event ORDER BY seq")]
    assert found == [FULL_KEY.key_id, FULL_KEY.key_id, None, None]
