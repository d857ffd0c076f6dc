"""The only functions that change a row: check the table, change memory, save, notify watchers.

Each function does all four together, so that memory, database and watchers cannot disagree: a row is replaced
in memory, its save becomes an action of the batch's transaction, and its change gets the next number in the
same transaction, so a watcher that missed some can ask for them by number. The moves that the tables in
`tables.py` lack raise IllegalMove before anything is changed. Indexes (names, jobs by model, counts) are kept
here as well, because a handler that changed a row itself would forget them. Nothing is sent from here: the
shell sends after the commit (adr/0002).
"""

from msgspec.structs import replace

from kernel.core import actions, due
from kernel.core.state import callback_log
from kernel.core.state.tables import (
    DELIVERY_MOVES,
    ENGINE_MOVES,
    JOB_MOVES,
    MODEL_MOVES,
    OPEN_JOB_STATES,
    check_move,
)
from kernel.core.state.world import Engine, Job, World
from kernel.protocol import client
from kernel.protocol.api_keys import key_state
from kernel.protocol.enums import (
    ENDED_JOB_STATES,
    CallbackEvent,
    ChangeKind,
    DeliveryState,
    EngineState,
    GoneReason,
    JobState,
    ModelState,
    WebhookState,
)
from kernel.protocol.ids import EventSeq, ImageId, KeyId, WebhookId, WorkerId
from kernel.protocol.rows import (
    BlobRow,
    ChangeRow,
    DeliveryRow,
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
from kernel.protocol.specs import JobSpec


def change(world: World, kind: ChangeKind, subject: str, state: str, key_id: KeyId | None = None) -> None:
    """Number a change, record it, and push it to all watchers. `key_id`: that of the job that it is about."""
    world.last_change = EventSeq(world.last_change + 1)
    at_ms = world.now.unix_ms
    world.act(actions.RecordChange(ChangeRow(world.last_change, kind, subject, state, at_ms, key_id)))
    if world.watchers:
        message = client.Changed(seq=world.last_change, kind=kind, id=subject, state=state, at_ms=at_ms)
        world.act(actions.Push(tuple(world.watchers), message))


def add_model(world: World, row: ModelRow) -> None:
    world.models[row.model_id] = row
    world.act(actions.SaveModel(row))
    change(world, ChangeKind.MODEL, row.model_id, row.status)


def move_model(world: World, row: ModelRow, status: ModelState) -> None:
    """Save a model in its next state; its other columns are already those of `row`.

    Raises: IllegalMove, if the table has no such move.
    """
    check_move(MODEL_MOVES, row.status, status)
    world.models_to_review.pop(row.model_id, None)
    row = replace(row, status=status)
    world.models[row.model_id] = row
    world.act(actions.SaveModel(row))
    change(world, ChangeKind.MODEL, row.model_id, status)


def note_model(world: World, row: ModelRow) -> None:
    """Save changed columns of a model without a change of state."""
    world.models[row.model_id] = row
    world.act(actions.SaveModel(row))
    change(world, ChangeKind.MODEL, row.model_id, row.status)


def drop_model(world: World, row: ModelRow) -> None:
    del world.models[row.model_id]
    world.models_to_inspect.pop(row.model_id, None)
    world.models_to_digest.pop(row.model_id, None)
    world.models_to_review.pop(row.model_id, None)
    world.act(actions.DropModel(row.model_id))
    change(world, ChangeKind.MODEL, row.model_id, "deleted")


def add_engine(world: World, engine: Engine) -> None:
    row = engine.row
    world.engines[row.engine_id] = engine
    if row.name is not None:
        world.engine_names[row.name] = row.engine_id
    world.act(actions.SaveEngine(row))
    change(world, ChangeKind.ENGINE, row.engine_id, row.status)


def move_engine(world: World, engine: Engine, row: EngineRow, status: EngineState) -> None:
    """Save an engine in its next state; its other columns are already those of `row`.

    Raises: IllegalMove, if the table has no such move.
    """
    check_move(ENGINE_MOVES, engine.row.status, status)
    engine.row = replace(row, status=status)
    world.act(actions.SaveEngine(engine.row))
    change(world, ChangeKind.ENGINE, row.engine_id, status)


def note_engine(world: World, engine: Engine, row: EngineRow) -> None:
    """Save changed columns of an engine without a change of state."""
    engine.row = row
    world.act(actions.SaveEngine(row))
    change(world, ChangeKind.ENGINE, row.engine_id, row.status)


def edit_engine(world: World, engine: Engine, edited: Engine) -> None:
    """Give an engine the values of another one that stands for it as edited."""
    world.touch()
    old, row = engine.row, edited.row
    if old.name is not None:
        del world.engine_names[old.name]
    if row.name is not None:
        world.engine_names[row.name] = row.engine_id
    engine.needs = edited.needs
    note_engine(world, engine, row)


def drop_engine(world: World, engine: Engine, *, keeps_images: bool = False) -> None:
    """Delete an engine and its jobs; with `keeps_images` only jobs without images. One that waits, but has
    images already, is canceled then."""
    row = engine.row
    for job_id in list(engine.queue):
        engine.queue.remove(job_id)
        job = world.jobs[job_id]
        if keeps_images and job.stored:
            move_job(world, job, job.row, JobState.CANCELLED)
        else:
            _forget_job(world, job)
            change(world, ChangeKind.JOB, job_id, "deleted", job.row.key_id)
            callback_log.job_happened(world, job, CallbackEvent.JOB_CANCELLED)
    del world.engines[row.engine_id]
    if row.name is not None:
        del world.engine_names[row.name]
    world.act(actions.DropEngine(row.engine_id, world.now.unix_ms, keeps_images))
    change(world, ChangeKind.ENGINE, row.engine_id, "deleted")


def add_job(world: World, row: JobRow, spec: JobSpec, blobs: tuple[BlobRow, ...]) -> None:
    """Add a new job with its input files."""
    job = Job(row, blobs=frozenset(blob.kind for blob in blobs))
    keep_job(world, job)
    world.act(actions.AddJob(row, spec))
    for blob in blobs:
        world.act(actions.AddBlob(blob))
    change(world, ChangeKind.JOB, row.job_id, row.status, row.key_id)
    callback_log.job_happened(world, job, CallbackEvent.JOB_CREATED)


def keep_job(world: World, job: Job) -> None:
    """Keep an open job in memory, and index it by the models that it names."""
    world.jobs[job.row.job_id] = job
    if job.row.key_id is not None:
        world.open_by_key[job.row.key_id] += 1
    _watch_give_up_time(world, job.row)
    for model_id in job.row.models:
        world.model_jobs.setdefault(model_id, {})[job.row.job_id] = None


def _forget_job(world: World, job: Job) -> None:
    del world.jobs[job.row.job_id]
    if job.row.key_id is not None:
        world.open_by_key[job.row.key_id] -= 1
    for model_id in job.row.models:
        users = world.model_jobs[model_id]
        del users[job.row.job_id]
        if not users:
            del world.model_jobs[model_id]


def _watch_give_up_time(world: World, row: JobRow) -> None:
    """Set when a waiting job may give up on an engine in error; the exact time is computed when it comes
    up."""
    if row.give_up_after_s is None:
        return
    patience = world.engines[row.engine_id].patience
    if row.status is JobState.WAITING:
        patience.set(row.job_id, row.created_at_ms / 1000 + row.give_up_after_s)
        world.timers.clear(due.GiveUp(row.engine_id))
    else:
        patience.clear(row.job_id)


def move_job(world: World, job: Job, row: JobRow, status: JobState) -> None:
    """Save a job in its next state; its other columns are already those of `row`.

    An ended job leaves the memory, and the retention of its blobs begins. Only this function counts processed
    jobs, and notes the checkpoint that a job is made with, which an edit of its engine may change.

    Raises: IllegalMove, if the table has no such move.
    """
    check_move(JOB_MOVES, job.row.status, status)
    if change_of_count := (status is JobState.PROCESSING) - (job.row.status is JobState.PROCESSING):
        count_running(world, row, change_of_count)
    if status is JobState.PROCESSING or (status in ENDED_JOB_STATES and row.checkpoint is None):
        row = replace(row, checkpoint=world.engines[row.engine_id].row.spec.checkpoint)
    job.row = replace(row, status=status)
    _watch_give_up_time(world, job.row)
    if status not in OPEN_JOB_STATES:
        job.row = replace(job.row, finished_at_ms=world.now.unix_ms)
        _forget_job(world, job)
        if job.blobs:
            expires_at_ms = world.now.unix_ms + int(world.limits.blobs_expire_after_s * 1000)
            world.act(actions.ExpireBlobs(row.job_id, expires_at_ms))
    world.act(actions.SaveJob(job.row))
    change(world, ChangeKind.JOB, row.job_id, status, row.key_id)
    callback_log.job_moved(world, job)


def count_running(world: World, row: JobRow, by: int) -> None:
    """Count a job that begins (1) or no longer runs (-1), for all and for its key."""
    world.processing += by
    if row.key_id is not None:
        world.running_by_key[row.key_id] += by
        _note_running_limit(world, row.key_id)


def _note_running_limit(world: World, key_id: KeyId) -> None:
    """Note whether the key may have another running job."""
    most, running = world.keys[key_id].limits.max_running_jobs, world.running_by_key[key_id]
    is_at_limit = most is not None and running >= most
    if is_at_limit is not (key_id in world.keys_at_limit):
        world.keys_at_limit ^= {key_id}
        world.keys_to_serve[key_id] = None


def queue_job(world: World, row: JobRow) -> None:
    """Put a waiting job at its place in the queue of its engine, or move it there."""
    weight = 1 if row.key_id is None else world.keys[row.key_id].weight
    world.engines[row.engine_id].queue.put(row.job_id, row.priority, row.seq, row.key_id, weight)


def note_job(world: World, job: Job, row: JobRow) -> None:
    """Save changed columns of an open job without a change of state."""
    job.row = row
    world.act(actions.SaveJob(row))
    change(world, ChangeKind.JOB, row.job_id, row.status, row.key_id)


def drop_job(world: World, row: JobRow) -> None:
    """Delete an ended job with its images and blobs."""
    world.act(actions.DropJob(row.job_id, world.now.unix_ms))
    change(world, ChangeKind.JOB, row.job_id, "deleted", row.key_id)


def add_image(world: World, row: ImageRow) -> None:
    world.act(actions.AddImage(row))
    change(world, ChangeKind.IMAGE, row.image_id, "stored")
    if (job := world.jobs.get(row.job_id)) is not None:
        callback_log.job_happened(world, job, CallbackEvent.IMAGE_CREATED, row.image_id)


def add_map(world: World, job: Job, row: BlobRow) -> None:
    """Record a control map of an open job that is on the disk."""
    job.maps_coming -= {row.kind}
    job.blobs |= {row.kind}
    world.act(actions.AddBlob(row))


def end_image(world: World, image_id: ImageId, reason: GoneReason) -> None:
    """Mark an image as gone and move its file to the trash, unless the file itself is lost."""
    for ticket in world.claims.pop(image_id, ()):
        world.timers.clear(due.Claim(image_id, ticket))
    world.act(actions.EndImage(image_id, reason, world.now.unix_ms))
    change(world, ChangeKind.IMAGE, image_id, reason)


def restore_image(world: World, image_id: ImageId) -> None:
    """Mark a lost image as present: its file is back."""
    world.act(actions.RestoreImage(image_id))
    change(world, ChangeKind.IMAGE, image_id, "stored")


def count_use(world: World, row: KeyUseRow, first_hour: int) -> None:
    """Save what a key has ordered in the hour, and forget its hours before the first that counts."""
    hours = world.key_uses.get(row.key_id, {})
    world.key_uses[row.key_id] = {hour: use for hour, use in hours.items() if hour >= first_hour}
    world.key_uses[row.key_id][row.hour] = row
    world.act(actions.SaveKeyUse(row, first_hour))


def save_key(world: World, row: KeyRow) -> None:
    """Save an API key, new or changed. Its share and its limit of running jobs count from now on."""
    world.act(actions.SaveKey(row))
    world.keys[row.key_id] = row
    for engine in world.engines.values():
        engine.queue.set_weight(row.key_id, row.weight)
    _note_running_limit(world, row.key_id)
    state = key_state(row.expires_at_ms, row.revoked_at_ms, world.now.unix_ms)
    change(world, ChangeKind.KEY, row.key_id, state)


def save_worker_token(world: World, row: WorkerTokenRow) -> None:
    """Save an enrollment token, new or changed."""
    world.touch()
    world.act(actions.SaveWorkerToken(row))
    world.worker_tokens[row.token_id] = row


def save_webhook(world: World, row: WebhookRow) -> None:
    """Save a webhook, new or changed."""
    world.act(actions.SaveWebhook(row))
    world.webhooks[row.webhook_id] = row
    state = WebhookState.ACTIVE if row.ended_at_ms is None else WebhookState.ENDED
    change(world, ChangeKind.WEBHOOK, row.webhook_id, state, row.key_id)


def drop_webhook(world: World, webhook_id: WebhookId) -> None:
    """Delete a webhook with its deliveries; what is said later of one that is on its way is ignored."""
    webhook = world.webhooks.pop(webhook_id)
    for row in [one for one in world.deliveries.rows.values() if one.webhook_id == webhook_id]:
        world.timers.clear(due.Deliver(row.delivery_id))
        world.deliveries.end(row, has_failed=False)
    world.act(actions.DropWebhook(webhook_id))
    change(world, ChangeKind.WEBHOOK, webhook_id, "deleted", webhook.key_id)


def save_preset(world: World, row: PresetRow) -> None:
    """Save a preset, new or changed."""
    world.act(actions.SavePreset(row))
    world.presets.setdefault(row.key_id, set()).add(row.name)


def drop_preset(world: World, owner: KeyId | None, name: str) -> None:
    """Delete a preset."""
    world.act(actions.DropPreset(owner, name))
    world.presets[owner].discard(name)


def move_delivery(
    world: World, row: DeliveryRow, status: DeliveryState, worker_id: WorkerId | None = None
) -> None:
    """Save a delivery in its next state; its other columns are already those of `row`. `worker_id`: the
    worker that sends it.

    Raises: IllegalMove, if the table has no such move.
    """
    check_move(DELIVERY_MOVES, row.status, status)
    row = replace(row, status=status)
    world.act(actions.SaveDelivery(row))
    match status:
        case DeliveryState.SENDING:
            assert worker_id is not None, "it is on its way by a worker"
            world.deliveries.hold(row, worker_id)
        case DeliveryState.WAITING if row.delivery_id in world.deliveries.rows:
            world.deliveries.retry(row)
        case DeliveryState.WAITING:
            world.deliveries.put(row)
        case DeliveryState.DELIVERED | DeliveryState.FAILED:
            world.deliveries.end(row, has_failed=status is DeliveryState.FAILED)
