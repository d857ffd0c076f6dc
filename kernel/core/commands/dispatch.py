"""Dispatches clients' commands: each is done once and answered durably, or refused without any change."""

from typing import assert_never

from kernel.core import actions
from kernel.core.admission import memory_ledger
from kernel.core.commands import (
    engine_commands,
    engine_edits,
    job_commands,
    key_commands,
    model_commands,
    preset_commands,
    queue_commands,
    submissions,
    webhook_commands,
    worker_commands,
)
from kernel.core.events import Asked, Facts
from kernel.core.handlers import manager_lifecycle
from kernel.core.images import downloads
from kernel.core.state.world import World
from kernel.core.validation import message_bounds
from kernel.protocol import client
from kernel.protocol.api_keys import ChangeKey, CreateKey, KeyAsk, RevokeKey, RotateKey
from kernel.protocol.endpoints import MAX_UNANSWERED
from kernel.protocol.errors import KeyReused, SpoonError, TooManyRequests
from kernel.protocol.presets import DeletePreset, SavePreset
from kernel.protocol.refusals import refusal_of
from kernel.protocol.webhooks import (
    CreateWebhook,
    DeleteWebhook,
    EditWebhook,
    Redeliver,
    RotateWebhook,
    ShowCallbackSecret,
    TestWebhook,
    WebhookAsk,
)
from kernel.protocol.worker_tokens import (
    CordonWorker,
    CreateWorkerToken,
    DrainWorker,
    RevokeWorker,
    RevokeWorkerToken,
    WorkerAsk,
)

RETRY_S = 1.0
_Setup = (
    client.RegisterModel
    | client.RetryModel
    | client.DeleteModel
    | client.PruneModels
    | client.ScanModels
    | client.CreateEngine
    | client.EditEngine
    | client.StartEngine
    | client.StopEngine
    | client.DeleteEngine
    | client.PauseQueue
    | client.ResumeQueue
    | WorkerAsk
)


def asked(world: World, event: Asked) -> None:
    """Answer a command: with the stored reply if its key is known, else by doing it."""
    memory_ledger.look(world, event.facts.devices)
    try:
        message_bounds.check_command(event.key, event.digest)
        message_bounds.check(event.ask)
        reply = _replay(event) or _answer(world, event)
    except SpoonError as error:
        reply = refusal_of(error)
    if reply is not None:
        world.act(actions.Reply(event.peer, event.correlation, reply))


def _replay(event: Asked) -> client.SingleReply | None:
    if event.unanswered > MAX_UNANSWERED:
        raise TooManyRequests(retry_after_s=RETRY_S)
    stored = event.facts.stored_reply
    if stored is None:
        return None
    if stored.digest and stored.digest != event.digest:
        raise KeyReused
    return stored.reply


def _answer(world: World, event: Asked) -> client.SingleReply | None:
    """The reply to a new command. None: it follows later, or the shell sends it."""
    if submissions.join(world, event):
        return None
    match event.ask:
        case client.SubmitJob(validate_only=True) as ask:
            return job_commands.submit(world, ask, event.facts)
        case client.CreateEngine(validate_only=True) as ask:
            return engine_commands.check(world, ask)
        case client.PruneImages(dry_run=True) as ask:
            return downloads.prune(world, ask, event.facts)
        case client.PruneModels(dry_run=True) as ask:
            return model_commands.prune(world, ask, event.facts)
        case ShowCallbackSecret() as ask:
            return _change_webhooks(world, ask, event.facts)
        case client.SubmitJob() as ask if ask.request.inputs:
            submissions.begin(world, event, ask)
            return None
        case ask:
            reply = _change(world, event, ask)
    stored = key_commands.without_secret(reply)
    world.act(actions.SaveReply(event.key, event.digest, stored, world.now.unix_ms))
    return reply


def _change(world: World, event: Asked, ask: client.ApiAsk | client.Shutdown) -> client.SingleReply:
    """What is done most comes first."""
    match ask:
        case client.SubmitJob():
            return job_commands.submit(world, ask, event.facts)
        case client.EditJob():
            return job_commands.edit(world, ask, event.facts)
        case client.CancelJob():
            return job_commands.cancel(world, ask, event.facts)
        case client.DeleteJob():
            return job_commands.delete(world, ask, event.facts)
        case client.ClaimDownload():
            return downloads.claim(world, ask, event.facts)
        case client.FinishDownload():
            return downloads.finish(world, ask, event.facts)
        case client.PruneImages():
            return downloads.prune(world, ask, event.facts)
        case client.DeleteImage() | client.DeleteImages() | client.EditImage():
            return _change_images(world, ask, event.facts)
        case CreateKey() | ChangeKey() | RotateKey() | RevokeKey():
            return _change_keys(world, ask)
        case (
            CreateWebhook()
            | EditWebhook()
            | RotateWebhook()
            | DeleteWebhook()
            | TestWebhook()
            | Redeliver()
            | ShowCallbackSecret()
        ):
            return _change_webhooks(world, ask, event.facts)
        case SavePreset():
            return preset_commands.save(world, ask)
        case DeletePreset():
            return preset_commands.delete(world, ask)
        case client.Shutdown():
            manager_lifecycle.stop(world, is_now=ask.now)
            return client.Done()
        case _:
            return _change_setup(world, ask, event.facts)


def _change_setup(world: World, ask: _Setup, facts: Facts) -> client.SingleReply:
    match ask:
        case client.RegisterModel():
            return model_commands.register(world, ask)
        case client.RetryModel():
            return model_commands.retry(world, ask)
        case client.DeleteModel():
            return model_commands.delete(world, ask)
        case client.PruneModels():
            return model_commands.prune(world, ask, facts)
        case client.ScanModels():
            return model_commands.scan(world, ask)
        case client.CreateEngine():
            return engine_commands.create(world, ask)
        case client.EditEngine():
            return engine_edits.edit(world, ask)
        case client.StartEngine():
            return engine_commands.start(world, ask)
        case client.StopEngine():
            return engine_commands.stop(world, ask)
        case client.DeleteEngine():
            return engine_commands.delete(world, ask)
        case client.PauseQueue():
            return queue_commands.pause(world, ask)
        case client.ResumeQueue():
            return queue_commands.resume(world, ask)
        case CreateWorkerToken() | RevokeWorkerToken() | CordonWorker() | DrainWorker() | RevokeWorker():
            return worker_commands.change(world, ask)
        case _:
            assert_never(ask)


def _change_images(
    world: World, ask: client.DeleteImage | client.DeleteImages | client.EditImage, facts: Facts
) -> client.SingleReply:
    match ask:
        case client.DeleteImage():
            return downloads.delete(world, ask, facts)
        case client.DeleteImages():
            return downloads.delete_all(world, ask, facts)
        case client.EditImage():
            return downloads.edit(world, ask, facts)
        case _:
            assert_never(ask)


def _change_keys(world: World, ask: KeyAsk) -> client.SingleReply:
    match ask:
        case CreateKey():
            return key_commands.create(world, ask)
        case ChangeKey():
            return key_commands.change(world, ask)
        case RotateKey():
            return key_commands.rotate(world, ask)
        case RevokeKey():
            return key_commands.revoke(world, ask)
        case _:
            assert_never(ask)


def _change_webhooks(world: World, ask: WebhookAsk, facts: Facts) -> client.SingleReply:
    match ask:
        case CreateWebhook():
            return webhook_commands.create(world, ask)
        case EditWebhook():
            return webhook_commands.edit(world, ask)
        case RotateWebhook():
            return webhook_commands.rotate(world, ask)
        case DeleteWebhook():
            return webhook_commands.delete(world, ask)
        case TestWebhook():
            return webhook_commands.test(world, ask)
        case Redeliver():
            return webhook_commands.redeliver(world, ask, facts)
        case ShowCallbackSecret():
            return webhook_commands.show_secret(world, ask)
        case _:
            assert_never(ask)
