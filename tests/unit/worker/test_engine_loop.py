"""The main thread's loop: tasks before steps, and no engine opens files outside its roots."""

from pathlib import Path
from queue import SimpleQueue
from threading import Thread

from msgspec.structs import replace

from engine_worker.engine_loop import EngineLoop, Memory
from engine_worker.port import NO_INPUTS, Emit, Failed, Inputs, Loaded, Wake
from engine_worker.session.actions import Adjust, Admit, Cancel, Exit, ExitCode, Load
from engine_worker.session.events import EngineEvent
from engine_worker.shell import Inbox, Spoken
from kernel.protocol.enums import InputKind
from kernel.protocol.errors import OutOfMemory
from kernel.protocol.ids import JobId
from kernel.protocol.specs import EngineLoad, JobOrder
from kernel.protocol.worker import EngineFailed, EngineReady
from tests.unit.worker.orders import ENGINE_ID, job, load, source

END = Exit(ExitCode.LEFT, "drained", 0.0, 0.0)


class DiaryEngine:
    """Writes down what it is asked for. Makes a step per admitted job; the last puts END into the inbox."""

    def __init__(self, inbox: Inbox) -> None:
        self.inbox = inbox
        self.diary: list[str] = []
        self.steps_left = 0
        self.uri = ""
        self.model_uris: list[str] = []
        self.inputs: Inputs = NO_INPUTS
        self.is_too_big = False
        self.is_asleep = False
        """Its next step is none, and then it wakes the loop."""

    def build(self, emit: Emit, wake: Wake) -> "DiaryEngine":
        self.wake = wake
        return self

    def load(self, order: EngineLoad) -> Loaded:
        if self.is_too_big:
            raise OutOfMemory("too big")
        self.uri = order.checkpoint.uri
        self.model_uris += [model.uri for model in order.models]
        return Loaded(device="cpu", memory_bytes=5, capacity=2)

    def admit(self, order: JobOrder, inputs: Inputs = NO_INPUTS) -> None:
        self.diary.append(f"admit {order.job_id}")
        self.model_uris += [model.uri for model in order.models]
        self.inputs = inputs
        self.steps_left += 1

    def adjust(self, max_batch: int) -> None:
        self.diary.append(f"adjust {max_batch}")

    def cancel(self, job_id: JobId) -> None:
        self.diary.append(f"cancel {job_id}")

    def step(self) -> bool:
        self.diary.append("step")
        if self.is_asleep:
            self.is_asleep = False
            Thread(target=self.wake).start()
            return False
        self.steps_left -= 1
        if self.steps_left <= 0:
            self.inbox.put(END)
        return self.steps_left > 0

    def close(self) -> None:
        self.diary.append("close")


class Scene:
    """A loop with a diary engine and an inbox that is filled beforehand."""

    def __init__(self, roots: list[Path] | None = None) -> None:
        self.inbox: Inbox = SimpleQueue()
        self.engine = DiaryEngine(self.inbox)
        self.said: list[EngineEvent | Spoken] = []
        memory = Memory(lambda: self.engine.diary.append("release"))
        self.loop = EngineLoop(self.inbox, self.engine.build, self.said.append, roots, memory)

    def load_from(self, uri: str) -> EngineLoad:
        order = load().load
        return replace(order, checkpoint=replace(order.checkpoint, uri=uri))


def test_all_tasks_that_wait_are_done_before_a_step() -> None:
    scene = Scene()
    for task in (Load(load().load), Admit(job("a")), Admit(job("b")), Cancel(JobId("a")), Adjust(3)):
        scene.inbox.put(task)
    assert scene.loop.run() == END
    assert scene.engine.diary == [
        "release",
        "admit a",
        "admit b",
        "cancel a",
        "adjust 3",
        "step",
        "step",
        "close",
    ]
    assert scene.said == [EngineReady(engine_id=ENGINE_ID, device="cpu", memory_bytes=5, capacity=2)]


def test_the_end_comes_before_further_steps() -> None:
    scene = Scene()
    for task in (Load(load().load), Admit(job("a")), END):
        scene.inbox.put(task)
    scene.loop.run()
    assert scene.engine.diary == ["release", "admit a", "close"]


def test_an_engine_that_cannot_be_loaded_is_reported_with_its_code() -> None:
    scene = Scene()
    scene.engine.is_too_big = True
    scene.inbox.put(Load(load().load))
    scene.inbox.put(END)
    scene.loop.run()
    assert scene.said == [EngineFailed(engine_id=ENGINE_ID, code="out_of_memory", text="too big")]


def test_an_engine_is_given_the_resolved_address_of_a_file_inside_its_roots(tmp_path: Path) -> None:
    (tmp_path / "a model.safetensors").touch()
    scene = Scene([tmp_path])
    scene.inbox.put(Load(scene.load_from(f"file://{tmp_path}/./a model.safetensors")))
    scene.inbox.put(END)
    scene.loop.run()
    assert scene.engine.uri == f"file://{tmp_path}/a%20model.safetensors"


def test_an_engine_is_not_even_built_for_a_file_outside_its_roots(tmp_path: Path) -> None:
    (tmp_path / "roots").mkdir()
    (tmp_path / "secret.safetensors").touch()
    scene = Scene([tmp_path / "roots"])
    scene.inbox.put(Load(scene.load_from(f"file://{tmp_path}/secret.safetensors")))
    scene.inbox.put(END)
    scene.loop.run()
    [failed] = scene.said
    assert isinstance(failed, EngineFailed)
    assert failed.code == "model_unreadable"
    assert scene.engine.uri == ""


def test_every_other_model_of_an_engine_and_of_a_job_is_confined_too(tmp_path: Path) -> None:
    for name in ("a.safetensors", "vae.safetensors", "lora.safetensors"):
        (tmp_path / name).touch()
    scene = Scene([tmp_path])
    load_order = scene.load_from(f"file://{tmp_path}/a.safetensors")
    scene.inbox.put(Load(replace(load_order, models=(source(f"file://{tmp_path}/./vae.safetensors"),))))
    lora = source(f"file://{tmp_path}/../{tmp_path.name}/lora.safetensors")
    scene.inbox.put(Admit(replace(job("a"), models=(lora,))))
    scene.inbox.put(END)
    scene.loop.run()
    assert scene.engine.model_uris == [
        f"file://{tmp_path}/vae.safetensors",
        f"file://{tmp_path}/lora.safetensors",
    ]


def test_an_engine_with_a_model_outside_its_roots_cannot_be_loaded(tmp_path: Path) -> None:
    (tmp_path / "roots").mkdir()
    for name in ("roots/a.safetensors", "vae.safetensors"):
        (tmp_path / name).touch()
    scene = Scene([tmp_path / "roots"])
    load_order = scene.load_from(f"file://{tmp_path}/roots/a.safetensors")
    scene.inbox.put(Load(replace(load_order, models=(source(f"file://{tmp_path}/vae.safetensors"),))))
    scene.inbox.put(END)
    scene.loop.run()
    [failed] = scene.said
    assert isinstance(failed, EngineFailed)
    assert failed.code == "model_unreadable"


def test_a_job_with_a_model_outside_the_roots_fails_and_the_engine_never_sees_it(tmp_path: Path) -> None:
    (tmp_path / "roots").mkdir()
    for name in ("roots/a.safetensors", "lora.safetensors"):
        (tmp_path / name).touch()
    scene = Scene([tmp_path / "roots"])
    scene.inbox.put(Load(scene.load_from(f"file://{tmp_path}/roots/a.safetensors")))
    scene.inbox.put(Admit(replace(job("a"), models=(source(f"file://{tmp_path}/lora.safetensors"),))))
    scene.inbox.put(END)
    scene.loop.run()
    assert scene.engine.diary == ["release", "close"]
    failed = scene.said[-1]
    assert isinstance(failed, Failed)
    assert (failed.job_id, failed.code) == ("a", "model_unreadable")


def test_an_engine_gets_the_pictures_that_came_with_a_job() -> None:
    scene = Scene()
    scene.inbox.put(Load(load().load))
    scene.inbox.put(Admit(job("a"), {InputKind.POSE: b"a pose"}))
    scene.loop.run()
    assert scene.engine.inputs == {InputKind.POSE: b"a pose"}


def test_a_loop_that_sleeps_is_woken_by_its_engine() -> None:
    """The engine has nothing to step at first, and wakes the loop from another thread."""
    scene = Scene()
    scene.engine.steps_left = 1
    scene.inbox.put(Load(load().load))
    scene.engine.is_asleep = True
    assert scene.loop.run() == END
    assert scene.engine.diary == ["release", "step", "step", "close"]


class IdleEngine(DiaryEngine):
    """Has nothing to step, ever."""

    def step(self) -> bool:
        self.diary.append("step")
        return False


def test_an_engine_without_work_gives_memory_back_at_each_pause_until_there_is_work_again() -> None:
    inbox: Inbox = SimpleQueue()
    engine = IdleEngine(inbox)
    released = iter([None, Admit(job("a")), None, END])

    def release() -> None:
        engine.diary.append("release")
        if (task := next(released, None)) is not None:
            inbox.put(task)

    inbox.put(Load(load().load))
    loop = EngineLoop(inbox, engine.build, lambda said: None, memory=Memory(release, after_s=(0.001, 0.001)))
    assert loop.run() == END
    after_loading, work = ["release", "step"], ["admit a", "step"]
    assert engine.diary == [*after_loading, "release", *work, "release", "release", "close"]
