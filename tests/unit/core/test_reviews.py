"""Ready models that older rules have judged are inspected again, one at a time, while they are used."""

import pytest
from msgspec.structs import replace

from kernel.core import actions
from kernel.core.events import ModelMoved
from kernel.core.ports import Limits
from kernel.protocol import client
from kernel.protocol import worker as wire
from kernel.protocol.enums import ModelState
from kernel.protocol.ids import ModelId
from kernel.protocol.rows import ScannedFile
from kernel.protocol.specs import INSPECTION_RULES
from tests.unit.core.samples import CHECKPOINT, checkpoint, fingerprint, register
from tests.unit.core.story import Story, only

OLD = replace(
    checkpoint(ModelId("old")), uri="https://a.org/old", sha256="a" * 64, size_bytes=7, inspection_rules=0,
    stored=f"files/{'a' * 64}.safetensors", revision="main",
)  # fmt: skip
OLDER = replace(checkpoint(ModelId("older")), sha256="b" * 64, size_bytes=8, inspection_rules=0)


@pytest.fixture
def story() -> Story:
    """The Manager has started with two models of an older version, and one of this."""
    story = Story(OLD, OLDER)
    story.begin()
    return story


def orders(found):
    """The models that fetch workers were given."""
    messages = (getattr(one, "message", None) for one in found)
    return [one.source for one in messages if isinstance(one, wire.InspectModel)]


def inspected(model_id: ModelId, **changes: object) -> wire.ModelInspected:
    return wire.ModelInspected(model_id=model_id, fingerprint=replace(fingerprint(), **changes))


def test_they_are_inspected_one_after_the_other_by_one_worker_and_stay_ready(story):
    (worker_id,) = story.newcomers
    (source,) = orders(story.hello(worker_id))
    assert (source.model_id, source.known_bytes, source.uri) == ("old", 7, f"stored:{OLD.stored}")
    found = inspected(ModelId("old"), warnings=("it has no VAE",), beside=".yaml v_prediction")
    (source,) = orders(story.say(worker_id, found))
    assert (source.model_id, source.known_bytes) == ("older", 8)
    row = story.model(ModelId("old"))
    assert (row.status, row.warnings) == (ModelState.READY, ("it has no VAE",))
    assert (source.beside, row.beside) == (None, ".yaml v_prediction")
    assert (row.inspection_rules, row.stored, row.revision) == (INSPECTION_RULES, OLD.stored, OLD.revision)
    assert orders(story.say(worker_id, inspected(ModelId("older")))) == []
    assert orders(story.begin()) == [], "the next start has nothing to inspect again"
    assert not only(story.begin(), actions.LaunchWorker)


def test_one_that_is_refused_now_is_in_error_and_a_retry_inspects_it_before_it_is_ready(story):
    (worker_id,) = story.newcomers
    story.hello(worker_id)
    story.say(worker_id, wire.ModelFailed(model_id=ModelId("old"), code="model_unreadable", text="no UNet"))
    row = story.model(ModelId("old"))
    assert (row.status, row.error) == (ModelState.ERROR, "no UNet")
    story.say(worker_id, inspected(ModelId("older")))
    story.ask(client.RetryModel(model_id=ModelId("old")))
    (source,) = orders(story.tell(ModelMoved(ModelId("old"))))
    assert (source.uri, source.known_bytes) == (f"stored:{OLD.stored}", None)
    assert story.model(ModelId("old")).status is ModelState.DOWNLOADING
    story.say(worker_id, inspected(ModelId("old")))
    row = story.model(ModelId("old"))
    assert (row.status, row.stored) == (ModelState.READY, OLD.stored)


def test_new_models_do_not_wait_for_them(story):
    new = story.ask(register("new"))
    (source,) = orders(story.hello(story.newcomers[0]))
    assert source.model_id == new.model_id


def test_a_worker_that_dies_of_one_twice_leaves_it_as_it_was(story):
    for _ in range(2):
        worker_id = story.newcomers[-1]
        (source,) = orders(story.hello(worker_id))
        assert source.model_id == "old"
        story.exits(worker_id)
    assert story.model(ModelId("old")) == OLD
    (source,) = orders(story.hello(story.newcomers[-1]))
    assert source.model_id == "older"


def test_one_that_is_deleted_meanwhile_is_forgotten(story):
    (worker_id,) = story.newcomers
    story.hello(worker_id)
    story.ask(client.DeleteModel(model_id=ModelId("older")))
    assert orders(story.say(worker_id, inspected(ModelId("old")))) == []
    assert story.model(CHECKPOINT).status is ModelState.READY


def test_what_a_page_said_of_a_model_stays():
    page = replace(OLD, uri="civitai:1@2", name="fox", found_words=("foxy",))
    story = Story(page)
    story.begin()
    (worker_id,) = story.newcomers
    story.hello(worker_id)
    story.say(worker_id, inspected(OLD.model_id, trigger_words=("x",)))
    row = story.model(OLD.model_id)
    assert (row.inspection_rules, row.found_words, row.name) == (INSPECTION_RULES, ("foxy",), "fox")


@pytest.mark.parametrize(("every_s", "reviewed"), [(300.0, []), (None, ["older"])])
def test_what_is_scanned_is_read_by_the_scan(every_s, reviewed):
    story = Story(OLDER, limits=Limits(model_folders=("/models",), scan_every_s=every_s))
    file = ScannedFile(path="/models/older.safetensors", stamp=1, mark="m", model_id=OLDER.model_id)
    story.database.scanned_files[file.path] = file
    story.begin()
    assert list(story.broker.world.models_to_review) == reviewed
