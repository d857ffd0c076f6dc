"""The jobs that a worker holds, each under the lease that it was given with.

    running    --cancelled, or given again under a newer lease-->  cancelling
    running    --the engine is done with it-->  ended: JobDone, JobFailed or JobDropped
    cancelling --the engine is done with it-->  ended: JobDropped, or running again under the newer lease

The engine knows jobs by their id alone, so a job that comes back under a newer lease enters the engine only
after the old run has left it. How a job ended is remembered for a while: a repeated order is answered again,
but not carried out again.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from engine_worker.port import Completed, Dropped, Failed, Inputs
from engine_worker.session.actions import Action, Admit, Cancel, Send
from kernel.protocol.enums import ControlType
from kernel.protocol.errors import BadMessage
from kernel.protocol.ids import JobId, Lease
from kernel.protocol.worker import Accepted, CancelJob, JobDone, JobDropped, JobFailed, RunJob

REMEMBERED_ENDS: Final = 64
"""Far more than the jobs that a worker holds, so a repeated order always finds its job's end."""


class HeldState(Enum):
    """The state of a held job in the engine."""

    RUNNING = auto()
    CANCELLING = auto()


@dataclass(frozen=True, slots=True)
class Given:
    """A job as it arrived: the order, and its input images."""

    run: RunJob
    blobs: tuple[bytes, ...] = ()

    @property
    def is_whole(self) -> bool:
        """True if every input image that the job names has arrived."""
        return len(self.blobs) == len(self.run.order.spec.inputs)

    @property
    def inputs(self) -> Inputs:
        return dict(zip(self.run.order.spec.inputs, self.blobs, strict=True))


@dataclass(slots=True)
class _Held:
    """One job in the engine. `lease` is the newest under which the Manager has sent anything about it."""

    lease: Lease
    state: HeldState = HeldState.RUNNING
    successor: Given | None = None
    maps: tuple[ControlType, ...] = ()
    """The control maps that were sent under this lease."""


class HeldJobs:
    """Decides what an order or an outcome means for its job."""

    def __init__(self) -> None:
        self._held: dict[JobId, _Held] = {}
        self._ends: dict[JobId, JobDone | JobFailed | JobDropped] = {}
        self._untold: dict[JobId, Lease] = {}
        """Ends of which it is not known whether the Manager has heard."""
        self._asked: frozenset[JobId] = frozenset()
        """Those of them that were reported before the last Ping."""

    def __len__(self) -> int:
        return len(self._held)

    def claims(self) -> dict[JobId, Lease]:
        """The jobs that run, and those whose end the Manager may not know, with their leases."""
        running = {
            job_id: held.lease for job_id, held in self._held.items() if held.state is HeldState.RUNNING
        }
        return self._untold | running

    def asked(self) -> None:
        """A Ping was sent, after the ends that were reported until now."""
        self._asked = frozenset(self._untold)

    def answered(self) -> None:
        """It was answered: what was reported before it has arrived, too."""
        self._untold = {key: lease for key, lease in self._untold.items() if key not in self._asked}
        self._asked = frozenset()

    def ends_of(self, claims: Mapping[JobId, Lease]) -> list[Action]:
        """The ends of these jobs once more."""
        ends = (self._ends.get(job_id) for job_id in claims)
        return [Send(end) for end in ends if end is not None and claims[end.job_id] == end.lease]

    def running_lease(self, job_id: JobId) -> Lease | None:
        """The lease under which this job's outcomes are reported; None, if they are not wanted."""
        held = self._held.get(job_id)
        return held.lease if held is not None and held.state is HeldState.RUNNING else None

    def sends_map(self, job_id: JobId, control_type: ControlType) -> None:
        """Note that a control map of this running job is being sent: its JobDone names it."""
        held = self._held[job_id]
        held.maps = (*held.maps, control_type)

    def run(self, given: Given) -> list[Action]:
        """Start the job, unless this order was carried out before."""
        order, job_id = given.run, given.run.order.job_id
        held = self._held.get(job_id)
        if held is None:
            return self._run_unheld(given)
        if order.lease < held.lease:
            return []
        if order.lease == held.lease:
            return [_accepted(order)] if held.state is HeldState.RUNNING else []
        held.lease, held.successor = order.lease, given
        return self._start_cancelling(job_id, held)

    def cancel(self, order: CancelJob) -> list[Action]:
        """Drop the job, unless it was given again since this order."""
        held = self._held.get(order.job_id)
        self._untold.pop(order.job_id, None)
        if held is None:
            return self._cancel_unheld(order)
        if order.lease < held.lease:
            return []
        held.lease, held.successor = order.lease, None
        return self._start_cancelling(order.job_id, held)

    def end(self, outcome: Completed | Failed | Dropped) -> list[Action]:
        """The engine is done with the job."""
        held = self._held.pop(outcome.job_id, None)
        if held is None:
            return []
        if held.successor is not None:
            return self._start(held.successor)
        report = _report_of_end(outcome, held)
        self._remember(report)
        if not isinstance(report, JobDropped):
            self._untold[report.job_id] = report.lease
        return [Send(report)]

    def _run_unheld(self, given: Given) -> list[Action]:
        order = given.run
        end = self._ends.get(order.order.job_id)
        if end is not None and order.lease < end.lease:
            return []
        if end is not None and order.lease == end.lease:
            return [_accepted(order), Send(end)]
        return self._start(given)

    def _cancel_unheld(self, order: CancelJob) -> list[Action]:
        """Report it once only: a Manager that answers a stale report with a cancel would be answered for
        ever."""
        end = self._ends.get(order.job_id)
        is_said = end is not None and isinstance(end, JobDropped) and order.lease == end.lease
        if is_said or (end is not None and order.lease < end.lease):
            return []
        report = JobDropped(job_id=order.job_id, lease=order.lease)
        self._remember(report)
        return [Send(report)]

    def _start(self, given: Given) -> list[Action]:
        order = given.run
        if not given.is_whole:
            return self._refuse(order, len(given.blobs))
        self._held[order.order.job_id] = _Held(order.lease)
        return [_accepted(order), Admit(order.order, given.inputs)]

    def _refuse(self, order: RunJob, came: int) -> list[Action]:
        text = f"{len(order.order.spec.inputs)} input images expected with the job, but {came} arrived"
        failed = JobFailed(job_id=order.order.job_id, lease=order.lease, code=BadMessage.code, text=text)
        self._remember(failed)
        return [_accepted(order), Send(failed)]

    def _start_cancelling(self, job_id: JobId, held: _Held) -> list[Action]:
        if held.state is HeldState.CANCELLING:
            return []
        held.state = HeldState.CANCELLING
        return [Cancel(job_id)]

    def _remember(self, end: JobDone | JobFailed | JobDropped) -> None:
        self._ends.pop(end.job_id, None)
        self._ends[end.job_id] = end
        if len(self._ends) > REMEMBERED_ENDS:
            del self._ends[next(iter(self._ends))]


def _accepted(order: RunJob) -> Send:
    return Send(Accepted(job_id=order.order.job_id, lease=order.lease))


def _report_of_end(outcome: Completed | Failed | Dropped, held: _Held) -> JobDone | JobFailed | JobDropped:
    """The report for the Manager. A cancelled job was dropped, even if it finished before the cancel."""
    job_id, lease = outcome.job_id, held.lease
    if held.state is HeldState.CANCELLING or isinstance(outcome, Dropped):
        return JobDropped(job_id=job_id, lease=lease)
    if isinstance(outcome, Failed):
        return JobFailed(job_id=job_id, lease=lease, code=outcome.code, text=outcome.text)
    return JobDone(job_id=job_id, lease=lease, warnings=outcome.warnings, maps=held.maps)
