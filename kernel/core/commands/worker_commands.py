"""Commands on enrollment tokens and on workers of pools."""

from typing import assert_never

from msgspec.structs import replace

from kernel.core import actions
from kernel.core.admission import reconcile
from kernel.core.handlers import worker_exit
from kernel.core.lifecycle import workers
from kernel.core.state import transitions
from kernel.core.state.world import Enrolled, Worker, World
from kernel.protocol import client
from kernel.protocol import worker as wire
from kernel.protocol.api_keys import digest_of
from kernel.protocol.enrollment import TokenRevoked, WorkerRevoked
from kernel.protocol.enums import ChangeKind, WorkerChange
from kernel.protocol.errors import IllegalMove, SpoonError, TokenNotFound, WorkerNotFound
from kernel.protocol.ids import TokenId, WorkerId
from kernel.protocol.rows import WorkerTokenRow
from kernel.protocol.worker_tokens import (
    CordonWorker,
    CreateWorkerToken,
    DrainWorker,
    RevokeWorker,
    RevokeWorkerToken,
    WorkerAsk,
    WorkerTokenIssued,
    token_text,
)


def change(world: World, ask: WorkerAsk) -> client.SingleReply:
    """Carry out one of these commands. Raises: as the function for it."""
    match ask:
        case CreateWorkerToken():
            return create_token(world, ask)
        case RevokeWorkerToken():
            return revoke_token(world, ask)
        case CordonWorker():
            return cordon(world, ask)
        case DrainWorker():
            return drain(world, ask)
        case RevokeWorker():
            return revoke(world, ask)
        case _:
            assert_never(ask)


def create_token(world: World, ask: CreateWorkerToken) -> WorkerTokenIssued:
    """Create an enrollment token of a pool."""
    token_id = TokenId(world.id_source.id())
    text = token_text(token_id, world.limits.server_key, world.id_source.secret())
    life_s, now_ms = ask.expires_in_s, world.now.unix_ms
    row = WorkerTokenRow(
        token_id=token_id,
        pool=ask.pool,
        digest=digest_of(text),
        created_at_ms=now_ms,
        max_workers=ask.max_workers,
        expires_at_ms=None if life_s is None else now_ms + int(life_s * 1000),
    )
    transitions.save_worker_token(world, row)
    return WorkerTokenIssued(token_id=token_id, expires_at_ms=row.expires_at_ms, text=text)


def revoke_token(world: World, ask: RevokeWorkerToken) -> client.Done:
    """Make a token invalid, and cut off its workers; a revoked one stays revoked.

    Raises: TokenNotFound.
    """
    if (row := world.worker_tokens.get(ask.token_id)) is None:
        raise TokenNotFound
    if row.revoked_at_ms is None:
        transitions.save_worker_token(world, replace(row, revoked_at_ms=world.now.unix_ms))
    for worker in list(world.workers.values()):
        if worker.enrolled is not None and worker.enrolled.token_id == ask.token_id:
            cut_off(world, worker, TokenRevoked())
    return client.Done()


def revoke(world: World, ask: RevokeWorker) -> client.Done:
    """Cut off a worker now.

    Raises: WorkerNotFound; IllegalMove, for one that this host's Manager has started.
    """
    worker, _ = _worker(world, ask.worker_id)
    cut_off(world, worker, WorkerRevoked())
    return client.Done()


def cut_off(world: World, worker: Worker, reason: SpoonError) -> None:
    """Tell a worker to leave for good, requeue its jobs and know its key no more."""
    world.touch()
    worker.is_to_blame = False
    world.act(actions.Order(worker.worker_id, wire.Refuse(code=reason.code, text=reason.detail)))
    worker_exit.worker_gone(world, worker, "revoked")


def drain(world: World, ask: DrainWorker) -> client.Done:
    """Let a worker finish its jobs and leave for good; one that leaves already is not told again.

    Raises: WorkerNotFound; IllegalMove, for one that this host's Manager has started.
    """
    worker, _ = _worker(world, ask.worker_id)
    if not worker.is_asked_to_leave:
        transitions.change(world, ChangeKind.WORKER, worker.worker_id, WorkerChange.DRAINING)
        workers.drain(world, worker, for_good=True)
        reconcile.assign_jobs(world, worker)
    return client.Done()


def cordon(world: World, ask: CordonWorker) -> client.Done:
    """Give a worker nothing more, or work again.

    Raises: WorkerNotFound; IllegalMove, for one that this host's Manager has started.
    """
    _, enrolled = _worker(world, ask.worker_id)
    if enrolled.is_cordoned is ask.is_cordoned:
        return client.Done()
    state = WorkerChange.CORDONED if ask.is_cordoned else WorkerChange.UNCORDONED
    transitions.change(world, ChangeKind.WORKER, ask.worker_id, state)
    enrolled.is_cordoned = ask.is_cordoned
    for engine in [one for one in world.engines.values() if one.pool == enrolled.pool]:
        reconcile.reconcile_engine(world, engine)
    return client.Done()


def _worker(world: World, worker_id: WorkerId) -> tuple[Worker, Enrolled]:
    """Raises: WorkerNotFound; IllegalMove, for one that this host's Manager has started."""
    if (worker := world.workers.get(worker_id)) is None:
        raise WorkerNotFound(f"no worker {worker_id}: see `spoon workers list`")
    if worker.enrolled is None:
        raise IllegalMove("the worker belongs to this server, not to a pool: stop its engine instead")
    return worker, worker.enrolled
