"""A fetch worker dies by kill -9 at each step of a model's way: it comes whole, once, and leaves nothing.

The steps are those of a worker that nothing happens to. The suite tries the most telling ones; `STEPS=all`
in the environment tries every single one, with the Manager alive and killed as well; `-s` shows them.
"""

import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from uuid import uuid4

import pytest

from kernel.protocol.client import DeleteModel, Done, ModelAccepted, RegisterModel
from kernel.protocol.enums import ModelState, ModelType
from kernel.protocol.ids import ModelId
from kernel.protocol.rows import ModelRow
from tests.acceptance.orders import write_checkpoint
from tests.acceptance.patience import wait_for
from tests.acceptance.server import Server
from tests.acceptance.worker_steps import Plan
from tests.integration.fetch.site import Handler, Script, Site, file, serve
from tests.integration.fetch.small_hub import OLD, SmallHub

tries_all = os.environ.get("STEPS") == "all"


@dataclass
class Stage:
    """A server whose workers' steps are counted, and the sites that it may ask."""

    server: Server
    plan: Plan
    site: Site
    data: bytes
    sha256: str = field(init=False)

    def __post_init__(self) -> None:
        self.sha256 = hashlib.sha256(self.data).hexdigest()

    def holds(self, kept: dict[str, bytes]) -> bool:
        """Are these the files of the models folder, but for its mark, and is nothing on its way?"""
        models = self.server.models
        try:
            found = {
                str(path.relative_to(models)): path.read_bytes()
                for path in models.rglob("*")
                if path.is_file() and not path.name.startswith(".")
            }
            return found == kept and not any((models / "incoming").iterdir())
        except FileNotFoundError:
            return False  # something is being removed just now


@dataclass(frozen=True)
class Way:
    """How a model comes, and what becomes of it."""

    name: str
    ask: Callable[[Stage], RegisterModel]
    tried: tuple[str, ...] = ()
    """Steps that every run of the suite tries."""
    is_good: bool = True


def in_one_piece(script: Script, *, hangs_up: bool) -> Script:
    """Head and body leave together, so that they come in the same pieces each time.

    Where the server hangs up, the next model is asked for over a connection of its own, whether its worker is
    a new one or not.
    """

    def run(handler: Handler) -> None:
        wire, whole = handler.wfile, BytesIO()
        handler.wfile = whole
        try:
            script(handler)
        finally:
            handler.wfile = wire
        wire.write(whole.getvalue())
        if hangs_up:
            handler.break_off()

    return run


def from_the_web(stage: Stage) -> RegisterModel:
    return RegisterModel(name="web", uri=_url(stage), model_type=ModelType.CHECKPOINT, sha256=stage.sha256)


def of_another_digest(stage: Stage) -> RegisterModel:
    return RegisterModel(name="other", uri=_url(stage), model_type=ModelType.CHECKPOINT, sha256="0" * 64)


def from_the_hub(stage: Stage) -> RegisterModel:
    return RegisterModel(name="hub", uri="hf://owner/dreams", model_type=ModelType.CHECKPOINT)


def from_an_upload(stage: Stage) -> RegisterModel:
    upload = uuid4().hex
    (stage.server.models / "uploads" / upload).write_bytes(stage.data)
    uri = f"upload:{upload}/dreams.safetensors"
    return RegisterModel(name="upload", uri=uri, model_type=ModelType.CHECKPOINT)


def _url(stage: Stage) -> str:
    return f"http://127.0.0.1:{stage.site.port}/dreams.safetensors"


WEB = Way(
    "from the web",
    from_the_web,
    (
        "connect",
        "receive",
        "write",
        "verify",
        "sync",
        "inspect",
        "rename incoming/ID/part to incoming/ID/ready",
        "report",
        "be done",
    ),
)
WRONG = Way("of another digest", of_another_digest, ("remove incoming/ID/part",), is_good=False)
UPLOAD = Way("from an upload", from_an_upload, ("rename uploads/ID to incoming/ID/uploaded", "inspect"))
HUB = Way("from the hub", from_the_hub)
WAYS = (WEB, WRONG, UPLOAD, HUB)


@pytest.fixture
def stage(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    write_checkpoint(tmp_path / "sample.safetensors")
    data = (tmp_path / "sample.safetensors").read_bytes()
    plan = Plan(tmp_path)
    plan.begin(None)
    with serve() as site:
        site.scripts["/dreams.safetensors"] = in_one_piece(file(data), hangs_up=True)
        hub = SmallHub(site)
        hub.put(OLD, {"README.md": b"# Dreams", "dreams.safetensors": data})
        site.scripts[f"/owner/dreams/resolve/{OLD}/dreams.safetensors"] = in_one_piece(
            file(data), hangs_up=True
        )
        for path in [path for path in site.scripts if path.startswith("/api/")]:
            site.scripts[path] = in_one_piece(site.scripts[path], hangs_up=False)
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{site.port}")
        for name, value in plan.environment(server.models).items():
            monkeypatch.setenv(name, value)
        server.configure(models='allow_hosts = ["127.0.0.1"]')
        server.start()
        yield Stage(server, plan, site, data)


def begin(stage: Stage, way: Way, at: int | None) -> ModelId:
    stage.plan.begin(at)
    return stage.server.line.ask(way.ask(stage), ModelAccepted).model_id


def end(stage: Stage, way: Way, model_id: ModelId) -> None:
    """Wait until it is known what becomes of the model; it is what it should be. Then delete it."""

    def look() -> ModelRow | None:
        (row,) = [row for row in stage.server.records.models() if row.model_id == model_id]
        return None if row.status is ModelState.DOWNLOADING else row

    row = wait_for("the end of the model's way", look)
    kept = {f"files/{stage.sha256}.safetensors": stage.data} if way.is_good else {}
    if way.is_good:
        assert (row.status, row.sha256, row.error) == (ModelState.READY, stage.sha256, None)
    else:
        assert (row.status, row.error_code) == (ModelState.ERROR, "download_failed")
        assert row.error is not None
        assert "sha256" in row.error
    wait_for("nothing but the model", lambda: stage.holds(kept))
    stage.server.line.ask(DeleteModel(model_id=model_id, files=True), Done)
    wait_for("an empty folder", lambda: stage.holds({}))


def dry_run(stage: Stage, way: Way) -> list[str]:
    """The steps of a worker that nothing happens to."""
    model_id = begin(stage, way, None)
    wait_for("the last step", lambda: stage.plan.labels[-1:] == ["be done"])
    labels = stage.plan.labels
    end(stage, way, model_id)
    return labels


def chosen(labels: list[str], way: Way) -> list[int]:
    """The numbers of the steps to try: all of them, or the last one of each kind that the way names."""
    last = {label: number for number, label in enumerate(labels, start=1)}
    assert set(way.tried) <= set(last), "a step that there is none of any more"
    return list(range(1, len(labels) + 1)) if tries_all else [last[label] for label in way.tried]


def try_step(stage: Stage, way: Way, labels: list[str], at: int, *, kills_manager: bool = False) -> None:
    """The worker dies before this step is done, and so may the Manager; those after them go on from there."""
    step = f"step {at}, {labels[at - 1]}"
    model_id = begin(stage, way, at)
    wait_for(f"the death at {step}", lambda: stage.plan.is_over)
    assert stage.plan.labels[at - 1] == labels[at - 1]
    if kills_manager:
        stage.server.kill()
        stage.server.start()
    try:
        end(stage, way, model_id)
    except AssertionError as error:
        raise AssertionError(f"{way.name}, {step}: {error}") from error


@pytest.mark.timeout(0)
def test_whatever_step_is_the_last_of_a_fetch_worker_the_next_one_brings_its_model_to_an_end(
    stage: Stage,
) -> None:
    for way in WAYS:
        if not way.tried and not tries_all:
            continue
        labels = dry_run(stage, way)
        for at in chosen(labels, way):
            try_step(stage, way, labels, at)
            print(f"{way.name}: {at} of {len(labels)}, {labels[at - 1]}")


@pytest.mark.timeout(0)
def test_whatever_step_is_the_last_of_a_fetch_worker_and_its_manager_the_next_ones_do_the_same(
    stage: Stage,
) -> None:
    for way in WAYS if tries_all else (WEB,):
        labels = dry_run(stage, way)
        for at in chosen(labels, way) if tries_all else (len(labels) - 1,):
            try_step(stage, way, labels, at, kills_manager=True)
            print(f"{way.name}, and the Manager: {at} of {len(labels)}, {labels[at - 1]}")
