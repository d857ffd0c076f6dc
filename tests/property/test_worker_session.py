"""Whatever a Manager, an engine and the time do in whatever order, a worker's session keeps its promises."""

from itertools import pairwise

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from engine_worker.port import Completed, Dropped, Failed, Previewed, Stepped
from engine_worker.session.actions import Action, Admit, Cancel, Exit, ExitCode, Send
from engine_worker.session.events import StopAsked
from engine_worker.session.states import Phase
from engine_worker.session.unstored_images import Place
from kernel.protocol.enums import ControlType
from kernel.protocol.ids import Epoch, JobId, Lease
from kernel.protocol.worker import (
    Accepted,
    CancelJob,
    ControlMap,
    Drain,
    ImageReady,
    ImageStored,
    JobDone,
    JobDropped,
    JobFailed,
    MapStored,
    Pong,
    Preview,
    Progress,
    RunJob,
    ScanFolders,
)
from tests.unit.worker.orders import EPOCH, job
from tests.unit.worker.story import Story, control_map, picture

JOBS = st.sampled_from([JobId(f"job-{number}") for number in range(3)])
SECONDS = st.floats(min_value=0.0, max_value=3.0)
STEPS = 100
JOBS_BEFORE_LEAVING = 8
"""So that most lives are not over before they have begun."""

JobEnd = JobDone | JobFailed | JobDropped


class WorkerLife(RuleBasedStateMachine):
    """Plays the Manager and the engine, and believes nothing that the session does."""

    def __init__(self) -> None:
        super().__init__()
        self.story = Story()
        self.counter = 0
        self.newest: dict[JobId, Lease] = {}
        """The newest lease under which the Manager said anything about a job."""
        self.wanted: set[JobId] = set()
        """Jobs of which the Manager said last that they are to be run."""
        self.in_engine: dict[JobId, int] = {}
        """Jobs in the engine, and the steps that they took."""
        self.cancelled_in_engine: set[JobId] = set()
        self.admitted: set[tuple[JobId, Lease]] = set()
        self.ends: dict[tuple[JobId, Lease], JobEnd] = {}
        self.unstored: set[tuple[JobId, Lease, Place]] = set()
        self.maps: dict[tuple[JobId, Lease], set[ControlType]] = {}
        """The control maps that were sent under a lease."""
        self.exit: Exit | None = None

    @initialize()
    def join(self) -> None:
        self.story.load()

    # What the Manager does.

    @rule(job_id=JOBS)
    def give_job(self, job_id: JobId) -> None:
        self.counter += 1
        lease = Lease(self.counter)
        is_taken = self.story.session.phase is Phase.JOINED
        if is_taken:
            self._ask(job_id, lease)
            self.wanted.add(job_id)
        actions = self._order(RunJob(attempt=1, lease=lease, order=job(job_id, steps=STEPS)))
        if is_taken:
            assert _has(actions, Accepted) or job_id in self.in_engine
        else:
            assert actions == []

    @precondition(lambda self: self.newest)
    @rule(job_id=JOBS, age=st.integers(min_value=0, max_value=3))
    def repeat_job(self, job_id: JobId, age: int) -> None:
        """An order that arrives twice or late. The newest lease may be one that was only cancelled."""
        lease = Lease(self.newest.get(job_id, 0) - age)
        if lease > 0 and (age > 0 or (job_id, lease) in self.admitted):
            actions = self._order(RunJob(attempt=1, lease=lease, order=job(job_id, steps=STEPS)))
            assert not any(isinstance(action, Admit | Cancel) for action in actions)

    @precondition(lambda self: self.exit is None)
    @rule(job_id=JOBS, is_new=st.booleans())
    def cancel(self, job_id: JobId, is_new: bool) -> None:
        self.counter += is_new
        lease = Lease(self.counter) if is_new else self.newest.get(job_id)
        if lease is not None:
            self._ask(job_id, lease)
            self._order(CancelJob(job_id=job_id, lease=lease))
            assert job_id in self.in_engine or isinstance(self.ends.get((job_id, lease)), JobDropped)

    @precondition(lambda self: any(lease > 1 for lease in self.newest.values()))
    @rule(job_id=JOBS)
    def cancel_late(self, job_id: JobId) -> None:
        if self.newest.get(job_id, 0) > 1:
            assert self._order(CancelJob(job_id=job_id, lease=Lease(self.newest[job_id] - 1))) == []

    @precondition(lambda self: self.unstored)
    @rule(data=st.data())
    def store(self, data: st.DataObject) -> None:
        self._store(data.draw(st.sampled_from(sorted(self.unstored, key=repr))))

    @rule(epoch=st.sampled_from([0, EPOCH - 1, EPOCH + 1]), job_id=JOBS)
    def speak_as_another_manager(self, epoch: int, job_id: JobId) -> None:
        self.counter += 1
        order = RunJob(attempt=1, lease=Lease(self.counter), order=job(job_id))
        assert self.story.order(order, Epoch(epoch)) == []

    @rule()
    def order_what_only_fetch_workers_do(self) -> None:
        assert self.story.order(ScanFolders(folders=("/models",))) == []

    @precondition(lambda self: self.counter >= JOBS_BEFORE_LEAVING)
    @rule()
    def drain(self) -> None:
        self._order(Drain())

    @precondition(lambda self: self.counter >= JOBS_BEFORE_LEAVING)
    @rule()
    def stop_once(self) -> None:
        if self.story.session.phase in (Phase.JOINED, Phase.DRAINING):
            self._note(self.story.tell(StopAsked()))

    # What the engine does.

    @precondition(lambda self: self.in_engine)
    @rule(data=st.data(), count=st.integers(min_value=1, max_value=40))
    def step(self, data: st.DataObject, count: int) -> None:
        job_id = data.draw(st.sampled_from(sorted(self.in_engine)))
        step = self.in_engine[job_id] = min(self.in_engine[job_id] + count, STEPS)
        actions = self.story.tell(Stepped(job_id, step, STEPS))
        self._note(actions)
        if step == STEPS and job_id not in self.cancelled_in_engine:
            assert _has(actions, Progress)

    @precondition(lambda self: self.in_engine)
    @rule(data=st.data(), index=st.integers(min_value=0, max_value=2))
    def make_picture(self, data: st.DataObject, index: int) -> None:
        job_id = data.draw(st.sampled_from(sorted(self.in_engine)))
        actions = self.story.tell(picture(job_id, index))
        assert _has(actions, ImageReady) == (job_id not in self.cancelled_in_engine)
        self._note(actions)

    @precondition(lambda self: self.in_engine)
    @rule(data=st.data(), control_type=st.sampled_from([ControlType.CANNY, ControlType.DEPTH]))
    def make_map(self, data: st.DataObject, control_type: ControlType) -> None:
        job_id = data.draw(st.sampled_from(sorted(self.in_engine)))
        actions = self.story.tell(control_map(job_id, control_type))
        assert _has(actions, ControlMap) == (job_id not in self.cancelled_in_engine)
        self._note(actions)

    @precondition(lambda self: self.in_engine)
    @rule(data=st.data(), step=st.integers(min_value=1, max_value=STEPS))
    def show_preview(self, data: st.DataObject, step: int) -> None:
        job_id = data.draw(st.sampled_from(sorted(self.in_engine)))
        self._note(self.story.tell(Previewed(job_id, 0, step, b"a preview")))

    @precondition(lambda self: self.in_engine)
    @rule(data=st.data(), kind=st.sampled_from(["completed", "failed", "dropped"]))
    def end_job(self, data: st.DataObject, kind: str) -> None:
        self._end(data.draw(st.sampled_from(sorted(self.in_engine))), kind)

    # What the time does.

    @rule(seconds=SECONDS)
    def let_time_pass(self, seconds: float) -> None:
        self._note(self.story.wait(seconds))
        self._order(Pong())

    # What is always true.

    @invariant()
    def no_deadline_has_passed(self) -> None:
        deadline = self.story.session.next_deadline()
        assert deadline is None or deadline >= self.story.now
        assert (deadline is None) == (self.story.session.phase in (Phase.NEW, Phase.LEFT))

    @invariant()
    def it_leaves_exactly_when_it_was_asked_to_and_holds_nothing(self) -> None:
        phase = self.story.session.phase
        assert (phase is Phase.LEFT) == (self.exit is not None)
        if self.exit is not None:
            assert self.exit.exit_code is ExitCode.LEFT
            assert not self.in_engine
            assert not self.unstored
        elif phase is not Phase.JOINED:
            assert self.in_engine or self.unstored

    @invariant()
    def progress_is_reported_at_most_four_times_a_second(self) -> None:
        times: dict[Lease, list[float]] = {}
        for now, report in self.story.spoken:
            if isinstance(report, Progress) and report.step < report.steps:
                times.setdefault(report.lease, []).append(now)
        for of_job in times.values():
            assert all(later - earlier > 0.249 for earlier, later in pairwise(of_job))

    @invariant()
    def previews_are_shown_at_most_twice_a_second(self) -> None:
        times: dict[Lease, list[float]] = {}
        for now, report in self.story.spoken:
            if isinstance(report, Preview):
                times.setdefault(report.lease, []).append(now)
        for of_job in times.values():
            assert all(later - earlier > 0.499 for earlier, later in pairwise(of_job))

    def teardown(self) -> None:
        """Let everything come to its end: every job is answered for, then the worker leaves."""
        self._order(Drain())
        while self.in_engine:
            self._end(min(self.in_engine), "completed")
        for job_id, lease in self.newest.items():
            assert (job_id, lease) in self.ends
            assert ((job_id, lease) in self.admitted) or job_id not in self.wanted
        for key in sorted(self.unstored, key=repr):
            self._store(key)
        if self.story.session.phase is not Phase.NEW:
            assert self.story.session.phase is Phase.LEFT

    def _end(self, job_id: JobId, kind: str) -> None:
        outcomes: dict[str, Completed | Failed | Dropped] = {
            "completed": Completed(job_id),
            "failed": Failed(job_id, "c", "t"),
            "dropped": Dropped(job_id),
        }
        is_cancelled = job_id in self.cancelled_in_engine
        self.cancelled_in_engine.discard(job_id)
        del self.in_engine[job_id]
        actions = self.story.tell(outcomes[kind])
        self._note(actions)
        if is_cancelled:
            assert _has(actions, Accepted) == (job_id in self.in_engine)
            assert not _has(actions, JobDone)
            assert not _has(actions, JobFailed)

    def _ask(self, job_id: JobId, lease: Lease) -> None:
        """The Manager wants nothing to do any more with what it asked for under older leases."""
        if self.exit is None:
            self.newest[job_id] = lease
            self.wanted.discard(job_id)
            self.unstored = {key for key in self.unstored if key[0] != job_id}

    def _store(self, key: tuple[JobId, Lease, Place]) -> None:
        """The Manager has a picture, or a map."""
        self.unstored.discard(key)
        job_id, lease, place = key
        if isinstance(place, ControlType):
            self._order(MapStored(job_id=job_id, lease=lease, control_type=place))
        else:
            self._order(ImageStored(job_id=job_id, lease=lease, index=place))

    def _order(self, order: RunJob | CancelJob | ImageStored | MapStored | Drain | Pong) -> list[Action]:
        actions = self.story.order(order)
        self._note(actions)
        return actions

    def _note(self, actions: list[Action]) -> None:
        for action in actions:
            assert self.exit is None, "nothing follows the exit"
            match action:
                case Admit():
                    self._note_admitted(action)
                case Cancel():
                    assert action.job_id in self.in_engine
                    self.cancelled_in_engine.add(action.job_id)
                case Exit():
                    self.exit = action
                case Send():
                    self._note_report(action)
                case _:
                    raise AssertionError(f"{action} was not asked for")

    def _note_admitted(self, action: Admit) -> None:
        job_id = action.order.job_id
        key = (job_id, self.newest[job_id])
        assert job_id not in self.in_engine, "a job is in the engine once"
        assert key not in self.admitted, "a lease is obeyed once"
        self.admitted.add(key)
        self.in_engine[job_id] = 0

    def _note_report(self, action: Send) -> None:
        report = action.report
        if isinstance(report, Accepted | Progress | Preview | ControlMap | ImageReady | JobEnd):
            assert report.lease == self.newest[report.job_id], "a report bears the newest lease"
        match report:
            case ImageReady():
                assert action.blob is not None
                self.unstored.add((report.job_id, report.lease, report.index))
            case ControlMap():
                assert action.blob is not None
                self.unstored.add((report.job_id, report.lease, report.control_type))
                self.maps.setdefault((report.job_id, report.lease), set()).add(report.control_type)
            case JobDone() | JobFailed() | JobDropped():
                if isinstance(report, JobDone):
                    assert set(report.maps) == self.maps.get((report.job_id, report.lease), set())
                self.ends[report.job_id, report.lease] = report
            case _:
                pass


def _has(actions: list[Action], kind: type[Accepted | Progress | ControlMap | ImageReady | JobEnd]) -> bool:
    return any(isinstance(action, Send) and isinstance(action.report, kind) for action in actions)


TestWorkerLife = WorkerLife.TestCase
TestWorkerLife.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
