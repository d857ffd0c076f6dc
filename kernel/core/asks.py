"""Commands of clients: each is done once, answered durably, or refused with nothing changed."""

from typing import assert_never

from kernel.core import actions, ask_engines, ask_jobs, ask_models, bounds, downloads, life, room, submissions
from kernel.core.events import Asked
from kernel.core.refusals import refused
from kernel.core.world import World
from kernel.protocol import client
from kernel.protocol.errors import KeyReused, SpoonError, TooManyRequests
from kernel.protocol.rendezvous import MAX_UNANSWERED

RETRY_S = 1.0


def asked(world: World, event: Asked) -> None:
    """Answer a command: with the stored reply if it came before, else with what it leads to now."""
    room.look(world, event.facts.devices)
    try:
        bounds.check_command(event.key, event.digest)
        bounds.check(event.ask)
        reply = _replay(event) or _answer(world, event)
    except SpoonError as error:
        reply = refused(error)
    if reply is not None:
        world.act(actions.Reply(event.peer, event.correlation, reply))


def _replay(event: Asked) -> client.SingleReply | None:
    if event.unanswered > MAX_UNANSWERED:
        raise TooManyRequests(retry_after_s=RETRY_S)
    stored = event.facts.stored_reply
    if stored is None:
        return None
    if stored.digest != event.digest:
        raise KeyReused
    return stored.reply


def _answer(world: World, event: Asked) -> client.SingleReply | None:
    """The answer to a command that is new. None: it comes later, or from the shell."""
    if submissions.join(world, event):
        return None
    match event.ask:
        case client.InviteWorker() as ask:
            ask_engines.invite(world, event, ask)
            return None
        case client.SubmitJob(validate_only=True) as ask:
            return ask_jobs.submit(world, ask, event.facts)
        case client.PruneImages(dry_run=True) as ask:
            return downloads.prune(world, ask, event.facts)
        case client.PruneModels(dry_run=True) as ask:
            return ask_models.prune(world, ask, event.facts)
        case client.SubmitJob() as ask if ask.request.inputs:
            submissions.begin(world, event, ask)
            return None
        case ask:
            reply = _change(world, event, ask)
    saved = actions.SaveReply(event.key, event.digest, reply, world.now.unix_ms)
    world.act(saved)
    return reply


def _change(world: World, event: Asked, ask: client.ApiAsk | client.Shutdown) -> client.SingleReply:
    match ask:
        case client.SubmitJob():
            return ask_jobs.submit(world, ask, event.facts)
        case client.CancelJob():
            return ask_jobs.cancel(world, ask, event.facts)
        case client.DeleteJob():
            return ask_jobs.delete(world, ask, event.facts)
        case client.ClaimDownload():
            return downloads.claim(world, ask, event.facts)
        case client.FinishDownload():
            return downloads.finish(world, ask, event.facts)
        case client.PruneImages():
            return downloads.prune(world, ask, event.facts)
        case client.DeleteImage():
            return downloads.delete(world, ask, event.facts)
        case client.RegisterModel():
            return ask_models.register(world, ask)
        case client.RetryModel():
            return ask_models.retry(world, ask)
        case client.DeleteModel():
            return ask_models.delete(world, ask)
        case client.PruneModels():
            return ask_models.prune(world, ask, event.facts)
        case client.CreateEngine():
            return ask_engines.create(world, ask)
        case client.StartEngine():
            return ask_engines.start(world, ask)
        case client.StopEngine():
            return ask_engines.stop(world, ask)
        case client.DeleteEngine():
            return ask_engines.delete(world, ask)
        case client.Shutdown():
            life.stop(world, is_now=ask.now)
            return client.Done()
        case _:
            assert_never(ask)
