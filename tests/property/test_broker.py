"""The broker in a world that does whatever it likes, in any order, and a Manager that dies at any moment."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from msgspec.structs import replace

from kernel.core import due
from kernel.core.events import (
    DiskSwept,
    ModelFilesSeen,
    OutputNotStored,
    Peer,
    PeerLost,
    ReportUnreadable,
    WatchAsked,
)
from kernel.protocol import client
from kernel.protocol.api_keys import ChangeKey, KeyLimits, RevokeKey, RotateKey
from kernel.protocol.enums import (
    CallbackEvent,
    ControlType,
    GoneReason,
    InputKind,
    Phase,
    Role,
    Variant,
    WorkerRole,
)
from kernel.protocol.ids import EngineId
from kernel.protocol.model_refs import LoraUse
from kernel.protocol.presets import DeletePreset, SavePreset
from kernel.protocol.values import ReplicaRange
from kernel.protocol.webhooks import (
    ENDS,
    Callback,
    CreateWebhook,
    DeleteWebhook,
    EditWebhook,
    Redeliver,
    RotateWebhook,
    TestWebhook,
)
from kernel.protocol.worker_tokens import CordonWorker, DrainWorker, RevokeWorker, RevokeWorkerToken
from tests.property.processes import Process
from tests.property.simulation import CRAMPED, FULL, GOODBYE, POOL, TIGHT, WITH_BLOB, Crash, Simulation
from tests.unit.core.samples import CHECKPOINT, create_key, register, spec, submit
from tests.unit.core.story import CORRELATION

which = st.integers(0, 7)
"""Stands for one of what there is, whatever that may be."""
SOON_S = [0.0, 0.3, 1.0, 6.0]
UP_TO_3 = ReplicaRange(max=3)
LATE_S = [11.0, 31.0, 61.0, 100.0]


def pick(found, number):
    """One of these, by a number that need not fit."""
    found = list(found)
    return found[number % len(found)]


class AnyWorld(RuleBasedStateMachine):
    """Each rule is one thing that can happen."""

    def __init__(self):
        super().__init__()
        self.world = Simulation()

    def processes(self, is_right=lambda process: True):
        return [p for p in self.world.processes.values() if is_right(p)]

    def steppers(self):
        return self.processes(lambda p: p.is_loaded and p.gives)

    # The ordinary course of things, without which nothing interesting is ever reached.

    @initialize(engines=st.integers(1, 3), jobs=st.integers(0, 6))
    def engines_are_there(self, engines, jobs):
        for number in range(engines):
            self.world.command(client.CreateEngine(spec=spec(replicas=1 + number % 2), start=False))
            for _ in range(jobs if number == 0 else 1):
                engine_id = list(self.world.database.engines)[-1]
                self.world.command(submit(engine_id, count=2))

    @rule(steps=st.integers(1, 8))
    def world_behaves_for_a_while(self, steps):
        self.behave(steps)

    @rule(steps=st.integers(5, 20))
    def world_behaves_for_longer(self, steps):
        self.behave(steps)

    def behave(self, steps):
        for _ in range(steps):
            if not self.world.behave():
                return

    # Clients.

    @precondition(lambda self: len(self.world.database.engines) < 4)
    @rule(
        start=st.booleans(),
        autostart=st.booleans(),
        replicas=st.sampled_from([1, 2, UP_TO_3]),
        pool=st.sampled_from([None, POOL]),
    )
    def person_creates_an_engine(self, start, autostart, replicas, pool):
        wanted = spec(autostart=autostart, replicas=replicas, pool=pool)
        self.world.command(client.CreateEngine(spec=wanted, start=start))

    @precondition(lambda self: self.world.database.engines)
    @rule(number=which, now=st.booleans(), kind=st.sampled_from(["start", "stop", "delete"]))
    def person_turns_to_an_engine(self, number, now, kind):
        engine_id = pick(self.world.database.engines, number)
        match kind:
            case "start":
                self.world.command(client.StartEngine(engine_id=engine_id))
            case "stop":
                self.world.command(client.StopEngine(engine_id=engine_id, now=now))
            case "delete":
                self.world.command(client.DeleteEngine(engine_id=engine_id, keep_images=now))

    @precondition(lambda self: self.world.database.engines)
    @rule(
        number=which,
        values=st.fixed_dictionaries(
            {},
            optional={
                "steps": st.integers(1, 3),
                "checkpoint": st.sampled_from([CHECKPOINT, "other", "other"]),
                "dtype": st.sampled_from([None, Variant.BF16]),
                "replicas": st.sampled_from([1, 2, 3, UP_TO_3]),
                "max_batch": st.sampled_from([None, 1]),
                "keep_alive_s": st.sampled_from([None, 1.0]),
                "autostart": st.booleans(),
                "pool": st.sampled_from([None, POOL]),
                "loras": st.sampled_from([(), (LoraUse(model_id="lora"),)]),
                "name": st.sampled_from([None, "one", "two"]),
            },
        ),
    )
    def person_edits_an_engine(self, number, values):
        engine_id = pick(self.world.database.engines, number)
        ask = client.EditEngine(engine_id=engine_id, fields=tuple(values), spec=spec(**values))
        self.world.command(ask)

    @precondition(lambda self: self.world.database.engines)
    @rule(
        number=which,
        priority=st.integers(-1, 1),
        jobs=st.integers(1, 4),
        patience_s=st.sampled_from([None, None, 0.0, 5.0, 40.0]),
    )
    def jobs_arrive(self, number, priority, jobs, patience_s):
        for count in range(jobs):
            if self.world.database.engines:
                engine_id = pick(self.world.database.engines, number)
                ask = submit(engine_id, priority, count=1 + count % 2, give_up_after_s=patience_s)
                self.world.command(ask)

    @precondition(lambda self: self.world.database.engines)
    @rule(
        number=which,
        inputs=st.sampled_from([(), (InputKind.REFERENCE,), tuple(InputKind)[:2]]),
        is_bare=st.booleans(),
    )
    def job_with_pictures_and_models_arrives(self, number, inputs, is_bare):
        engine_id = pick(self.world.database.engines, number)
        more = {} if is_bare else {"loras": (LoraUse(model_id="lora"),), "vae": "vae"}
        self.world.command(submit(engine_id, inputs=inputs, **more))

    @rule(
        name=st.sampled_from(["alice", "bob"]),
        role=st.sampled_from([*Role]),
        life_s=st.sampled_from([None, 9.0]),
    )
    def person_creates_a_key(self, name, role, life_s):
        self.world.command(create_key(name, role, expires_in_s=life_s))

    @precondition(lambda self: self.world.database.keys)
    @rule(
        number=which,
        kind=st.sampled_from(["change", "rotate", "revoke"]),
        weight=st.integers(1, 3),
        most=st.sampled_from([None, 1, 2]),
        limit=st.sampled_from(["max_running_jobs", "max_waiting_jobs", "max_images_a_day"]),
    )
    def person_turns_to_a_key(self, number, kind, weight, most, limit):
        key_id = pick(self.world.database.keys, number)
        match kind:
            case "change":
                limits = KeyLimits(**{limit: most})
                self.world.command(ChangeKey(key_id=key_id, weight=weight, fields=(limit,), limits=limits))
            case "rotate":
                self.world.command(RotateKey(key_id=key_id))
            case "revoke":
                self.world.command(RevokeKey(key_id=key_id))

    @precondition(lambda self: self.world.database.engines and self.world.database.keys)
    @rule(
        number=which, key=which, jobs=st.integers(1, 3), inputs=st.sampled_from([(), (InputKind.REFERENCE,)])
    )
    def jobs_of_a_key_arrive(self, number, key, jobs, inputs):
        for _ in range(jobs):
            ask = submit(pick(self.world.database.engines, number), inputs=inputs)
            self.world.command(replace(ask, key_id=pick(self.world.database.keys, key)))

    @precondition(lambda self: self.world.database.engines)
    @rule(number=which, jobs=st.integers(1, 3), host=st.integers(0, 1))
    def jobs_with_a_receiver_arrive(self, number, jobs, host):
        for _ in range(jobs):
            ask = submit(pick(self.world.database.engines, number))
            callback = Callback(url=f"https://host{host}.example/", events=tuple(CallbackEvent))
            self.world.command(replace(ask, callback=callback))

    @rule(
        number=which,
        name=st.sampled_from("ab"),
        shared=st.sampled_from([None, True, False]),
        is_gone=st.booleans(),
    )
    def person_changes_a_preset(self, number, name, shared, is_gone):
        key_id = pick([None, *self.world.database.keys], number)
        if is_gone:
            self.world.command(DeletePreset(name=name, key_id=key_id, is_admin=bool(shared)))
        else:
            ask = SavePreset(name=name, fields="{}", key_id=key_id, shared=shared, is_admin=bool(shared))
            self.world.command(ask)

    @precondition(lambda self: len(self.world.database.webhooks) < 3)
    @rule(number=which, host=st.integers(0, 1), events=st.sampled_from([ENDS, tuple(CallbackEvent)]))
    def person_creates_a_webhook(self, number, host, events):
        keys = [None, *self.world.database.keys]
        ask = CreateWebhook(url=f"https://host{host}.example/", events=events, key_id=pick(keys, number))
        self.world.command(ask)

    @precondition(lambda self: self.world.database.webhooks)
    @rule(number=which, kind=st.sampled_from([EditWebhook, RotateWebhook, TestWebhook, DeleteWebhook]))
    def person_turns_to_a_webhook(self, number, kind):
        self.world.command(kind(webhook_id=pick(self.world.database.webhooks, number)))

    @precondition(lambda self: self.world.database.deliveries)
    @rule(number=which)
    def person_has_something_sent_again(self, number):
        delivery_id = pick(reversed(self.world.database.deliveries), number)
        self.world.command(Redeliver(delivery_id=delivery_id))

    @precondition(lambda self: self.world.answerable())
    @rule(number=which, status=st.sampled_from([200, 200, 410, 302, 503, None]))
    def receiver_answers(self, number, status):
        attempt = pick(self.world.answerable(), number)
        has_tried = attempt.attempt > 2 and status not in (200, 410)
        self.world.answers(attempt, 204 if has_tried else status)

    @rule(is_named=st.booleans(), inputs=st.sampled_from([(), (InputKind.REFERENCE,)]))
    def job_without_an_engine_arrives(self, is_named, inputs):
        ask = submit(EngineId(""), inputs=inputs)
        self.world.command(replace(ask, engine_id=None, checkpoint=CHECKPOINT if is_named else None))

    @precondition(lambda self: self.world.inputs)
    @rule(number=which, end=st.sampled_from(["good", "good", "full", "damaged"]))
    def disk_writes_what_came_with_a_job_or_cannot(self, number, end):
        store = pick(self.world.inputs, number)
        if end == "good":
            self.world.writes_inputs(store)
        else:
            self.world.cannot_write_inputs(store, is_damaged=end == "damaged")

    @precondition(lambda self: self.world.database.jobs)
    @rule(number=which, is_deleted=st.booleans())
    def person_cancels_or_deletes_a_job(self, number, is_deleted):
        job_id = pick(reversed(self.world.database.jobs), number)
        kind = client.DeleteJob if is_deleted else client.CancelJob
        self.world.command(kind(job_id=job_id))

    @precondition(lambda self: self.world.database.jobs)
    @rule(number=which, priority=st.integers(-1, 2))
    def person_changes_a_priority(self, number, priority):
        job_id = pick(reversed(self.world.database.jobs), number)
        self.world.command(client.EditJob(job_id=job_id, priority=priority))

    @rule(number=st.integers(0, 3), is_paused=st.sampled_from([True, False, False]))
    def person_pauses_or_resumes_queues(self, number, is_paused):
        kind = client.PauseQueue if is_paused else client.ResumeQueue
        engines = list(self.world.database.engines)
        self.world.command(kind(engine_id=engines[number] if number < len(engines) else None))

    @precondition(lambda self: self.world.commands)
    @rule(number=which)
    def client_sends_a_command_again(self, number):
        key, ask = pick(reversed(self.world.commands), number)
        self.world.command(ask, key)

    @rule(number=st.integers(0, 3))
    def person_registers_a_model(self, number):
        self.world.command(register(f"model-{number}"))

    @rule(number=which, is_deleted=st.booleans())
    def person_deletes_or_retries_a_model(self, number, is_deleted):
        model_id = pick(self.world.database.models, number) if self.world.database.models else "none"
        kind = client.DeleteModel if is_deleted else client.RetryModel
        if model_id != "checkpoint":
            self.world.command(kind(model_id=model_id))

    @precondition(lambda self: self.world.database.images)
    @rule(number=which, kind=st.sampled_from(["claim", "claim", "delete"]))
    def person_wants_an_image(self, number, kind):
        image_id = pick(self.world.database.images, number)
        self.world.command(
            client.ClaimDownload(image_id=image_id)
            if kind == "claim"
            else client.DeleteImage(image_id=image_id)
        )

    @precondition(lambda self: self.world.tickets)
    @rule(number=which, whole=st.booleans())
    def download_ends(self, number, whole):
        image_id, granted = pick(self.world.tickets, number)
        self.world.command(client.FinishDownload(image_id=image_id, ticket=granted.ticket, whole=whole))

    @rule(kind=st.sampled_from(["on", "off", "lost"]), number=st.integers(0, 1))
    def somebody_watches(self, kind, number):
        peer = Peer(bytes([number]))
        self.world.tell(
            PeerLost(peer) if kind == "lost" else WatchAsked(peer, CORRELATION, is_on=kind == "on")
        )

    # Workers.

    @precondition(lambda self: self.processes(lambda p: not p.is_up))
    @rule(number=which)
    def process_comes_up(self, number):
        self.world.comes_up(pick(self.processes(lambda p: not p.is_up), number))

    def loaders(self):
        return self.processes(lambda p: p.is_up and not p.is_loaded and p.worker_id in self.world.engine_of)

    @precondition(lambda self: self.loaders())
    @rule(number=which, fault=st.sampled_from([None, None, None, "model_unreadable", "out_of_memory"]))
    def engine_is_loaded_or_cannot_be(self, number, fault):
        process = pick(self.loaders(), number)
        if fault is None:
            self.world.loads(process)
        else:
            self.world.fails_to_load(process, fault)

    @precondition(lambda self: self.steppers())
    @rule(number=which, job=which, step=st.integers(1, 20))
    def worker_makes_a_step(self, number, job, step):
        process = pick(self.steppers(), number)
        self.world.steps(process, pick(process.gives.values(), job), step)

    @precondition(lambda self: self.steppers())
    @rule(number=which, job=which, index=which)
    def worker_sends_a_picture(self, number, job, index):
        process = pick(self.steppers(), number)
        give = pick(process.gives.values(), job)
        self.world.sends_picture(process, give, index % len(give.image_ids))

    @precondition(lambda self: self.steppers())
    @rule(number=which, job=which, control_type=st.sampled_from(["canny", "depth"]), is_preview=st.booleans())
    def worker_sends_a_map_or_a_preview(self, number, job, control_type, is_preview):
        process = pick(self.steppers(), number)
        give = pick(process.gives.values(), job)
        if is_preview:
            self.world.shows_preview(process, give)
        else:
            self.world.sends_map(process, give, ControlType(control_type))

    @precondition(lambda self: self.steppers())
    @rule(number=which, job=which, end=st.sampled_from(["made", "made", "claimed", "failed", "unreadable"]))
    def worker_ends_a_job(self, number, job, end):
        process = pick(self.steppers(), number)
        give = pick(process.gives.values(), job)
        if end == "failed":
            self.world.fails(process, give)
            return
        if end == "unreadable":
            self.world.loses_inputs(process, give)
            return
        for index in give.positions if end == "made" else ():
            self.world.sends_picture(process, give, index)
        if process.gives.get(give.job_id) is give:
            self.world.finishes(process, give)

    @precondition(lambda self: self.processes(lambda p: p.to_drop))
    @rule(number=which)
    def worker_drops_a_job(self, number):
        process = pick(self.processes(lambda p: p.to_drop), number)
        self.world.drops(process, pick(process.to_drop.values(), number))

    @precondition(lambda self: self.processes(lambda p: p.model_id is not None))
    @rule(number=which, is_good=st.booleans())
    def model_is_inspected(self, number, is_good):
        process = pick(self.processes(lambda p: p.model_id is not None), number)
        self.world.inspects(process, process.model_id, is_good=is_good)

    @precondition(lambda self: self.processes(lambda p: p.is_up))
    @rule(number=which)
    def worker_says_what_cannot_be_read(self, number):
        worker_id = pick(self.processes(lambda p: p.is_up), number).worker_id
        self.world.tell(ReportUnreadable(worker_id, "nonsense"))

    @precondition(lambda self: self.processes(lambda p: p.is_up))
    @rule(number=which)
    def worker_leaves(self, number):
        self.world.says_goodbye(pick(self.processes(lambda p: p.is_up), number))

    @precondition(lambda self: self.processes(lambda p: p.is_up))
    @rule(number=which)
    def worker_says_goodbye_and_lingers(self, number):
        process = pick(self.processes(lambda p: p.is_up), number)
        self.world.reports(process, GOODBYE)

    @precondition(lambda self: self.processes())
    @rule(number=which)
    def process_dies(self, number):
        self.world.ends(pick(self.processes(), number))

    @precondition(lambda self: self.processes(lambda p: p.is_asked_to_go))
    @rule(number=which)
    def process_goes_as_it_was_asked_to(self, number):
        process: Process = pick(self.processes(lambda p: p.is_asked_to_go), number)
        if process.role is WorkerRole.ENGINE and process.gives:
            self.world.ends(process)
        else:
            self.world.says_goodbye(process)

    @precondition(lambda self: self.processes(lambda p: p.is_up))
    @rule(number=which, is_frozen=st.booleans())
    def worker_freezes_or_thaws(self, number, is_frozen):
        worker_id = pick(self.processes(lambda p: p.is_up), number).worker_id
        if is_frozen:
            self.world.pinging.discard(worker_id)
        else:
            self.world.pinging.add(worker_id)

    @precondition(lambda self: self.world.said)
    @rule(number=st.integers(0, 30))
    def old_report_is_said_again(self, number):
        worker_id, report = pick(reversed(self.world.said), number)
        self.world.say(worker_id, report, isinstance(report, WITH_BLOB))

    # Workers of pools.

    def members(self):
        return self.processes(lambda p: not p.is_local)

    @precondition(lambda self: len(self.world.secrets) < 3)
    @rule(most=st.sampled_from([None, None, 1]), life_s=st.sampled_from([None, None, 60.0]))
    def person_creates_a_token(self, most, life_s):
        self.world.makes_token(max_workers=most, expires_in_s=life_s)

    @precondition(lambda self: self.world.database.worker_tokens)
    @rule(number=which)
    def person_revokes_a_token(self, number):
        token_id = pick(self.world.database.worker_tokens, number)
        self.world.command(RevokeWorkerToken(token_id=token_id))

    @precondition(lambda self: self.world.secrets and len(self.members()) < 4)
    @rule(number=which)
    def host_starts_a_worker(self, number):
        self.world.joins(pick(self.world.secrets, number))

    @precondition(lambda self: self.world.lost)
    @rule(number=which, comes=st.sampled_from([True, True, False]))
    def lost_worker_comes_back_or_dies(self, number, comes):
        process = pick(self.world.lost, number)
        if comes:
            self.world.comes_back(process)
        else:
            self.world.lost.remove(process)

    @precondition(lambda self: self.members())
    @rule(number=which)
    def worker_loses_touch(self, number):
        self.world.loses_touch(pick(self.members(), number))

    @precondition(lambda self: self.processes())
    @rule(number=which, kind=st.sampled_from(["cordon", "uncordon", "drain", "revoke"]))
    def person_turns_to_a_worker(self, number, kind):
        worker_id = pick(self.processes(), number).worker_id
        match kind:
            case "drain":
                self.world.command(DrainWorker(worker_id=worker_id))
            case "revoke":
                self.world.command(RevokeWorker(worker_id=worker_id))
            case _:
                self.world.command(CordonWorker(worker_id=worker_id, is_cordoned=kind == "cordon"))

    # The disk, the clock, and the Manager itself.

    @precondition(lambda self: self.world.writes)
    @rule(number=which, is_good=st.sampled_from([True, True, False]))
    def disk_writes_a_picture_or_cannot(self, number, is_good):
        image_id = pick(self.world.writes, number)
        if is_good:
            self.world.writes_picture(image_id)
        else:
            self.world.writes.remove(image_id)
            self.world.tell(OutputNotStored(image_id, "no space left on device"))

    @rule(free=st.sampled_from([0, 1 << 40, 1 << 40]), expires=st.booleans())
    def stock_is_taken(self, free, expires):
        kept = [i.image_id for i in self.world.database.images.values() if i.gone_reason is None]
        ended = [b.blob_id for b in self.world.database.blobs.values() if b.expires_at_ms is not None]
        due_now = tuple((image_id, GoneReason.EXPIRED) for image_id in kept[:1] if expires)
        blobs_due = tuple(ended[:1]) if expires else ()
        devices = self.world.devices
        self.world.tell(DiskSwept(free_bytes=free, images_due=due_now, blobs_due=blobs_due, devices=devices))

    @rule(number=which, is_absent=st.booleans())
    def files_of_models_go_or_come_back(self, number, is_absent):
        models = list(self.world.database.models)
        absent = {pick(models, number)} if models and is_absent else ()
        self.world.tell(ModelFilesSeen(frozenset(absent)))

    @rule(devices=st.sampled_from([FULL, TIGHT, CRAMPED]))
    def other_programs_take_or_give_memory(self, devices):
        self.world.devices = devices
        self.world.tell(DiskSwept(free_bytes=1 << 40, devices=devices))

    @rule(seconds=st.sampled_from(SOON_S))
    def some_time_passes(self, seconds):
        self.world.wait(seconds)

    @rule(seconds=st.sampled_from(LATE_S))
    def much_time_passes(self, seconds):
        self.world.wait(seconds)

    @rule(end=st.sampled_from(["stop", "stop now", "kill", "kill, and some files are gone", *Crash]))
    def manager_is_stopped_or_dies(self, end):
        match end:
            case "kill":
                self.world.begin()
            case "kill, and some files are gone":
                kept = [i.image_id for i in self.world.database.images.values() if i.gone_reason is None]
                lost = [i for i in self.world.database.images.values() if i.gone_reason is GoneReason.LOST]
                found = tuple(image.image_id for image in lost[:1])
                absent = frozenset(list(self.world.database.models)[:1])
                self.world.begin(lost_images=tuple(kept[-1:]), found_images=found, absent_models=absent)
            case Crash():
                self.world.crash = end
            case _:
                self.world.stop(is_now=end == "stop now")

    def teardown(self):
        """Whatever happened, a world that behaves comes to rest, and nothing is left behind."""
        self.world.close_down()
        memory = self.world.broker.world
        assert not memory.jobs
        assert not memory.pending_outputs
        assert not memory.submissions
        assert not memory.model_jobs
        assert not memory.claims
        assert set(memory.timers._when_s) == {due.Housekeeping()}
        assert memory.phase is Phase.RUNNING
        self.world.stop()
        assert memory.phase is Phase.EXITED


TestAnyWorld = AnyWorld.TestCase
TestAnyWorld.settings = settings(max_examples=2 * settings().max_examples)
