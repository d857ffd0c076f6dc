"""Submits jobs with input images: first the files, then in one commit the job, its blobs and the reply.

A submission exists only in memory. If the Manager dies before the job exists, the next start sweeps the files
away, and the client, which has no reply, sends the command again (adr/0019).
"""

from typing import Final

from kernel.core import actions
from kernel.core.commands import job_commands
from kernel.core.events import Asked
from kernel.core.state import blobs
from kernel.core.state.world import Submission, World
from kernel.protocol import client
from kernel.protocol.errors import BadMessage, DiskFull, KeyReused, SpoonError, TooManyRequests, wrong_field
from kernel.protocol.ids import BlobId
from kernel.protocol.refusals import refusal_of

MAX_SUBMISSIONS: Final = 256
MAX_BYTES: Final = 512 << 20
"""Limit of the images held in memory on their way to the disk; further submissions are refused for a
moment."""
RETRY_S: Final = 1.0


def join(world: World, event: Asked) -> bool:
    """True if this command is being stored already; then it is answered together with the first one.

    Raises: KeyReused, if the key belongs to another command.
    """
    submission = world.submissions.get(event.key)
    if submission is None:
        return False
    if submission.digest != event.digest:
        raise KeyReused
    submission.askers[event.peer, event.correlation] = None
    return True


def begin(world: World, event: Asked, ask: client.SubmitJob) -> None:
    """Check a job, then have its input images stored.

    Raises: as `job_commands.check`; InvalidField, if the images differ from their description;
    TooManyRequests.
    """
    job_commands.check(world, ask, event.facts)
    _check_arrived(ask, event.blob_bytes)
    size_bytes = sum(event.blob_bytes)
    held_bytes = sum(other.size_bytes for other in world.submissions.values())
    if len(world.submissions) >= MAX_SUBMISSIONS or held_bytes + size_bytes > MAX_BYTES:
        raise TooManyRequests("too many input images are waiting to be stored", retry_after_s=RETRY_S)
    blob_ids = tuple(BlobId(world.id_source.id()) for _ in ask.files)
    askers = {(event.peer, event.correlation): None}
    world.submissions[event.key] = Submission(ask, event.digest, blob_ids, askers, size_bytes)
    files = tuple(
        actions.InputToStore(blobs.file_name(blob_id, file.mime), file.sha256)
        for blob_id, file in zip(blob_ids, ask.files, strict=True)
    )
    world.act(actions.StoreInputs(event.key, files))


def _check_arrived(ask: client.SubmitJob, blob_bytes: tuple[int, ...]) -> None:
    if len(blob_bytes) != len(ask.files):
        raise wrong_field("inputs", f"{len(ask.files)} images are described, but {len(blob_bytes)} arrived")
    for kind, file, size_bytes in zip(ask.request.inputs, ask.files, blob_bytes, strict=True):
        if size_bytes != file.size_bytes:
            raise wrong_field(kind, f"size_bytes is {file.size_bytes}, but {size_bytes} bytes arrived")


def stored(world: World, key: str) -> None:
    """The images are durable: create the job, unless something it needs has gone meanwhile."""
    submission = world.submissions.pop(key)
    ask = submission.ask
    try:
        engine, spec = job_commands.check(world, ask)
    except SpoonError as error:
        for blob_id, file in zip(submission.blob_ids, ask.files, strict=True):
            blobs.trash(world, blob_id, file.mime)
        _answer(world, submission, refusal_of(error))
        return
    files = tuple(zip(submission.blob_ids, ask.files, strict=True))
    reply = job_commands.enqueue(world, engine, ask, spec, files)
    world.act(actions.SaveReply(key, submission.digest, reply, world.now.unix_ms))
    _answer(world, submission, reply)


def not_stored(world: World, key: str, reason: str, *, is_damaged: bool) -> None:
    """The images could not be written and none of them is left: nothing has changed."""
    error = BadMessage(reason) if is_damaged else DiskFull(f"the input images could not be stored: {reason}")
    _answer(world, world.submissions.pop(key), refusal_of(error))


def _answer(world: World, submission: Submission, reply: client.SingleReply) -> None:
    for peer, correlation in submission.askers:
        world.act(actions.Reply(peer, correlation, reply))
