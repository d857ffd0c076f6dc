"""Has deliveries sent by a fetch worker of their own, tries again what failed, and gives up after a day.

The worker knows no secret: the shell signs each attempt as it is sent (`kernel/shell/effects.py`). An attempt
is saved before it is made, so after a crash it is made once more: a receiver hears of everything at least
once, and recognizes repetitions by `webhook-id`.
"""

from typing import Final

from msgspec.structs import replace

from kernel.core import actions, due
from kernel.core.lifecycle import workers
from kernel.core.state import transitions
from kernel.core.state.tables import WorkerState
from kernel.core.state.world import Worker, World
from kernel.core.validation import worker_texts
from kernel.protocol import worker as wire
from kernel.protocol.enums import DeliveryState, Phase, WorkerRole
from kernel.protocol.ids import DeliveryId
from kernel.protocol.rows import DeliveryRow
from kernel.protocol.webhooks import Signer, signer_of, signer_of_jobs

DELAYS_S: Final = (5, 30, 120, 600, 1_800, 3_600, 7_200, 14_400, 21_600, 36_000)
"""Pauses between the attempts: the last attempt is made after about a day."""
JITTER: Final = 0.25
"""Each pause is longer by up to this part, so that a receiver that was down does not get all at once."""
MAX_RETRY_AFTER_S: Final = 86_400
PATIENCE_S: Final = 90.0
"""An attempt takes 15 s at most, and looking up a name not much longer: then the worker hangs."""
IDLE_S: Final = 10.0
FIRST_PAUSE_S: Final = 1.0
MAX_PAUSE_S: Final = 60.0
GONE: Final = 410
REDIRECTS: Final = range(300, 400)
_INTERRUPTED: Final = "the attempt was interrupted"


def start(world: World) -> None:
    """At the start of the Manager: attempts that the last run had begun are made again."""
    for row in list(world.deliveries.rows.values()):
        if row.status is DeliveryState.SENDING:
            _wait(world, replace(row, error=_INTERRUPTED), 0.0)
    tend(world)


def tend(world: World) -> None:
    """Send what may be sent, and set when to look again."""
    world.timers.clear(due.Callbacks())
    if world.phase is not Phase.RUNNING or due.Resume() in world.timers:
        return
    world.touch()
    next_s = world.deliveries.advance(world.now.unix_ms / 1000)
    worker = next((w for w in world.workers.values() if w.is_sending and not w.is_asked_to_leave), None)
    if worker is None and world.deliveries.has_due:
        workers.launch(world, WorkerRole.FETCH).is_sending = True
    elif worker is not None and worker.state is WorkerState.READY:
        _send(world, worker)
    if next_s is not None:
        world.timers.set(due.Callbacks(), world.now.mono_s + next_s - world.now.unix_ms / 1000)


def _send(world: World, worker: Worker) -> None:
    """Give the worker all that there is a place for; without any it leaves after a while."""
    while (row := world.deliveries.take()) is not None:
        row = replace(row, attempts=row.attempts + 1, next_at_ms=None)
        transitions.move_delivery(world, row, DeliveryState.SENDING, worker.worker_id)
        world.timers.set(due.Deliver(row.delivery_id), world.now.mono_s + PATIENCE_S)
        give = actions.GiveDelivery(
            worker_id=worker.worker_id,
            delivery_id=row.delivery_id,
            attempt=row.attempts,
            url=row.url,
            signer=_signer(world, row),
            at_s=world.now.unix_ms // 1000,
        )
        world.act(give)
    idle = due.Idle(worker.worker_id)
    if world.deliveries.held:
        world.timers.clear(idle)
    elif idle not in world.timers:
        world.timers.set(idle, world.now.mono_s + IDLE_S)


def _signer(world: World, row: DeliveryRow) -> Signer:
    if row.webhook_id is None:
        return signer_of_jobs(row.key_id)
    return signer_of(row.webhook_id, world.webhooks[row.webhook_id].generation)


def reported(world: World, worker: Worker, report: wire.CallbackEnded) -> None:
    """An attempt is over. One that is not the worker's present one is ignored."""
    row = world.deliveries.rows.get(report.delivery_id)
    is_held = world.deliveries.held.get(report.delivery_id) == worker.worker_id
    if row is None or not is_held or row.attempts != report.attempt:
        return
    world.touch()
    world.sender_deaths = 0
    world.timers.clear(due.Deliver(row.delivery_id))
    row = replace(row, answered=report.answered, error=_fault(report))
    if row.error is None:
        ended = replace(row, ended_at_ms=world.now.unix_ms)
        transitions.move_delivery(world, ended, DeliveryState.DELIVERED)
    elif report.answered == GONE:
        _gone(world, row)
    else:
        _try_again(world, row, report.retry_after_s)
    tend(world)


def _fault(report: wire.CallbackEnded) -> str | None:
    """Why an attempt has failed; None, if it has not."""
    answered = report.answered
    if answered is None:
        return worker_texts.cut(report.text) or "the receiver did not answer"
    if 200 <= answered < 300:
        return None
    more = ": redirects are not followed" if answered in REDIRECTS else ""
    return f"the receiver answered {answered}{more}"


def _try_again(world: World, row: DeliveryRow, retry_after_s: int | None) -> None:
    """Wait for the next attempt, if there is one: longer each time, and as long as the receiver asks for."""
    if row.attempts > len(DELAYS_S):
        give_up(world, row, f"{row.error}; it was the last of {row.attempts} attempts")
        return
    spread = JITTER * ((world.now.unix_ms + row.seq * 611) % 1000) / 1000
    delay_s = DELAYS_S[row.attempts - 1] * (1 + spread)
    _wait(world, row, max(delay_s, min(retry_after_s or 0, MAX_RETRY_AFTER_S)))


def _wait(world: World, row: DeliveryRow, delay_s: float) -> None:
    next_at_ms = world.now.unix_ms + int(delay_s * 1000)
    transitions.move_delivery(world, replace(row, next_at_ms=next_at_ms), DeliveryState.WAITING)


def give_up(world: World, row: DeliveryRow, why: str) -> None:
    """A delivery is not tried any more."""
    world.timers.clear(due.Deliver(row.delivery_id))
    ended = replace(row, next_at_ms=None, ended_at_ms=world.now.unix_ms, error=why)
    transitions.move_delivery(world, ended, DeliveryState.FAILED)


def _gone(world: World, row: DeliveryRow) -> None:
    """The receiver wants no more: its webhook ends, or what this job has for it, with all that waits."""
    if row.webhook_id is not None:
        webhook = world.webhooks[row.webhook_id]
        transitions.save_webhook(world, replace(webhook, ended_at_ms=world.now.unix_ms))
    for other in list(world.deliveries.rows.values()):
        is_same = other.webhook_id == row.webhook_id and (row.webhook_id or other.job_id == row.job_id)
        if is_same and other.delivery_id not in world.deliveries.held:
            give_up(world, other, "the receiver has answered 410 before: it wants no more")
    give_up(world, row, "the receiver answered 410: it wants no more")


def overdue(world: World, delivery_id: DeliveryId) -> None:
    """An attempt takes longer than any may: its worker hangs."""
    worker = world.workers[world.deliveries.held[delivery_id]]
    if worker.state is not WorkerState.TERMINATING:
        workers.kill(world, worker, "a callback took too long", is_to_blame=True)


def lost(world: World, worker: Worker, *, is_crash: bool) -> None:
    """The worker has exited: what it held is sent again, after a crash a little later."""
    world.touch()
    for delivery_id in [one for one, holder in world.deliveries.held.items() if holder == worker.worker_id]:
        world.timers.clear(due.Deliver(delivery_id))
        row = replace(world.deliveries.rows[delivery_id], answered=None, error=_INTERRUPTED)
        if is_crash:
            _try_again(world, row, None)
        else:
            _wait(world, row, 0.0)
    if is_crash:
        pause_s = min(FIRST_PAUSE_S * 2**world.sender_deaths, MAX_PAUSE_S)
        world.sender_deaths = min(world.sender_deaths + 1, 10)
        world.timers.set(due.Resume(), world.now.mono_s + pause_s)
    tend(world)
