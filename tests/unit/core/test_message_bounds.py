"""What nothing can hold, asked for or claimed, is refused by its field, and changes nothing."""

from math import inf, nan

import pytest
from msgspec.structs import replace

from kernel.core import actions
from kernel.core.actions import Save
from kernel.core.admission import memory_ledger
from kernel.core.memory_model import memory_demand
from kernel.core.validation.worker_texts import MAX_CAPACITY, MAX_TEXT
from kernel.protocol import client
from kernel.protocol import worker as wire
from kernel.protocol.enums import (
    ControlType,
    InputKind,
    MemoryPlan,
    ModelPart,
    ModelState,
    ModelType,
)
from kernel.protocol.ids import MAX_INTEGER, ModelId
from kernel.protocol.memory import MemoryProfile, PartWeights, TextLayout, UNetLayout, VaeLayout
from kernel.protocol.model_refs import ControlUse, InputFile, LoraUse, Preparation
from tests.unit.core.samples import checkpoint, fingerprint, register, spec, submit
from tests.unit.core.story import Story, only

LONG = "x" * 5_000
NO_NUMBERS = [nan, inf, -inf, 1e300, -1.0]
LORA = LoraUse(model_id=ModelId("lora"))
CONTROL = ControlUse(control_type=ControlType.CANNY)
FILE = InputFile(mime="image/png", size_bytes=3, sha256="a" * 64)


def prune(**fields: object) -> client.PruneImages:
    return client.PruneImages(**fields)


ASKS = [
    *[(prune(older_than_s=value), "older_than_s") for value in NO_NUMBERS],
    (prune(keep_bytes=-1), "keep_bytes"),
    (prune(keep_bytes=2**63), "keep_bytes"),
    (prune(engine_id=LONG), "engine_id"),
    (prune(older_than_s=nan, dry_run=True), "older_than_s"),
    *[(client.CreateEngine(spec=spec(keep_alive_s=value)), "keep_alive_s") for value in NO_NUMBERS],
    *[(client.CreateEngine(spec=spec(guidance_scale=value)), "cfg") for value in NO_NUMBERS],
    (client.CreateEngine(spec=spec(steps=0)), "steps"),
    (client.CreateEngine(spec=spec(steps=2**63)), "steps"),
    (client.CreateEngine(spec=spec(width_px=2**62)), "width"),
    (client.CreateEngine(spec=spec(height_px=0)), "height"),
    (client.CreateEngine(spec=spec(height_px=513)), "height"),
    (client.CreateEngine(spec=spec(replicas=2**63)), "replicas"),
    (client.CreateEngine(spec=spec(max_batch=-1)), "max_batch"),
    (client.CreateEngine(spec=spec(name="")), "name"),
    (client.CreateEngine(spec=spec(name="a\nb")), "name"),
    (client.CreateEngine(spec=spec(name="a\0b")), "name"),
    (client.CreateEngine(spec=spec(name=LONG)), "name"),
    (client.CreateEngine(spec=spec(device=LONG)), "device"),
    (client.CreateEngine(spec=spec(checkpoint=LONG)), "checkpoint"),
    (client.CreateEngine(spec=spec(loras=(LORA,) * 100)), "loras"),
    (client.CreateEngine(spec=spec(embeddings=(LONG,))), "embeddings[0]"),
    (client.CreateEngine(spec=spec(scheduler_config={"a": nan})), "scheduler_config.a"),
    (client.CreateEngine(spec=spec(scheduler_config={"a": 2**64 - 1})), "scheduler_config.a"),
    (client.CreateEngine(spec=spec(scheduler_config={"a": LONG})), "scheduler_config.a"),
    (client.CreateEngine(spec=spec(scheduler_config={"": 1})), "scheduler_config"),
    (client.CreateEngine(spec=spec(scheduler_config={str(n): n for n in range(65)})), "scheduler_config"),
    (submit("engine", priority=-(2**63)), "priority"),
    (submit("engine", prompt="a\0b"), "prompt"),
    (submit("engine", controls=(CONTROL,) * 1_000), "controls"),
    (submit("engine", inputs=(InputKind.POSE,) * 1_000), "inputs"),
    (submit("engine", remove_background=("m",) * 1_000), "remove_background_models"),
    (submit("engine", vae=LONG), "vae"),
    (submit(LONG), "engine_id"),
    (client.SubmitJob(engine_name=LONG, request=submit("e").request), "engine_name"),
    (replace(submit("engine"), files=(FILE,) * 1_000), "files"),
    (client.CancelJob(job_id=LONG), "job_id"),
    (client.DeleteJob(job_id=LONG), "job_id"),
    (client.DeleteImage(image_id=LONG), "image_id"),
    (client.ClaimDownload(image_id=LONG), "image_id"),
    (client.FinishDownload(image_id="i", ticket=LONG, whole=True), "ticket"),
    (client.DeleteModel(model_id=LONG), "model_id"),
    (client.RetryModel(model_id=LONG), "model_id"),
    (client.StartEngine(engine_id=LONG), "engine_id"),
    (client.StopEngine(engine_id=LONG), "engine_id"),
    (client.DeleteEngine(engine_id=LONG), "engine_id"),
    (register(""), "name"),
    (register("a\x7fb"), "name"),
    (register(uri=""), "uri"),
    (register(uri="gopher://somewhere"), "uri"),
    (register(uri="stored:files/x"), "uri"),
    (register(uri="file:///" + LONG), "uri"),
    (register(tags=("t",) * 65), "tags"),
    (register(tags=("",)), "tags[0]"),
    (register(trigger_words=(LONG,)), "trigger_words[0]"),
    (register(sha256="z" * 64), "sha256"),
    *[
        (register(model_type=ModelType.BACKGROUND, preparation=said), field)
        for said, field in (
            (Preparation(std=(nan, 1.0, 1.0)), "preparation.std[0]"),
            (Preparation(std=(1.0, 0.0, 1.0)), "preparation.std[1]"),
        )
    ],
    (
        register(model_type=ModelType.BACKGROUND, preparation=Preparation(mean=(inf,) * 3)),
        "preparation.mean[0]",
    ),
]


@pytest.mark.parametrize(("ask", "field"), ASKS)
def test_what_nothing_can_hold_is_refused_by_its_field_and_changes_nothing(ask, field):
    story = Story()
    found = story.ask_actions(ask)
    (reply,) = only(found, actions.Reply)
    assert isinstance(reply.message, client.Refused), reply
    assert (reply.message.code, reply.message.fields[0].field) == ("invalid_field", field)
    assert len(reply.message.detail) < 500
    assert not only(found, Save)


@pytest.mark.parametrize(
    ("key", "digest", "field"), [("", b"", "key"), (LONG, b"", "key"), ("k", b"d" * 65, "digest")]
)
def test_command_whose_key_or_digest_is_none_is_refused(key, digest, field):
    reply = Story().refusal(client.PruneModels(), key=key, digest=digest)
    assert (reply.code, reply.fields[0].field) == ("invalid_field", field)


def test_numbers_at_their_bounds_are_taken():
    story = Story()
    engine_id = story.engine(
        steps=10_000, width_px=8_192, height_px=64, replicas=64, max_batch=1_024, keep_alive_s=0.0
    )
    assert story.submit(engine_id, priority=MAX_INTEGER, steps=1, width_px=64)
    assert story.ask(prune(older_than_s=0.0, keep_bytes=MAX_INTEGER)) == client.ImagesPruned(
        images=0, size_bytes=0
    )


# What workers claim.


def profile(**fields: object) -> MemoryProfile:
    part = PartWeights(part=ModelPart.UNET, parameters=1 << 50, stored_bytes=1 << 50)
    return MemoryProfile(**{"parts": (part,) * 64, **fields})


def unet(levels: int, depths: int) -> UNetLayout:
    return UNetLayout(
        channels=(65_536,) * levels,
        resnets_per_level=64,
        transformer_depths=(64,) * depths,
        middle_depth=64,
        context_width=65_536,
    )


@pytest.mark.parametrize(
    "lie",
    [
        {"sha256": "not one"},
        {"sha256": "F" * 64},
        {"size_bytes": MAX_INTEGER},
        {"memory_bytes": MAX_INTEGER},
        {"parameters": MAX_INTEGER},
        {"prediction_type": LONG},
        {"memory": profile(parts=(profile().parts[0],) * 65)},
        {"memory": profile(parts=(PartWeights(part=ModelPart.VAE, parameters=2**63 - 1, stored_bytes=0),))},
        {"memory": profile(unet=unet(8, 1))},
        {"memory": profile(unet=unet(1, 8))},
    ],
)
def test_model_of_which_something_impossible_was_reported_fails_and_says_so(lie):
    story, model_id, worker_id = being_fetched()
    found = replace(fingerprint(), **lie)
    story.say(worker_id, wire.ModelInspected(model_id=model_id, fingerprint=found))
    row = story.model(model_id)
    assert (row.status, row.error_code, row.sha256) == (ModelState.ERROR, "bad_message", None)
    assert "invalid report" in (row.error or "")


def being_fetched():
    story = Story()
    model_id = story.ask(register()).model_id
    worker_id = story.newcomers[0]
    story.hello(worker_id)
    return story, model_id, worker_id


def test_what_was_found_of_a_models_memory_is_kept():
    story, model_id, worker_id = being_fetched()
    found = replace(fingerprint(), memory=profile(unet=unet(2, 2)))
    story.say(worker_id, wire.ModelInspected(model_id=model_id, fingerprint=found))
    assert story.model(model_id).memory == found.memory


def test_need_of_the_largest_model_that_can_be_claimed_fits_into_a_message():
    vae = VaeLayout(channels=(65_536,) * 8, resnets_per_level=64, latent_channels=65_536)
    text = TextLayout(tokens=65_536, width=65_536, inner_width=65_536, layers=64)
    monster = profile(unet=unet(8, 8), vae=vae, text_encoders=(text,) * 4)
    story = Story(replace(checkpoint(ModelId("monster")), memory=monster))
    engine_id = story.engine(checkpoint="monster", width_px=8_192, height_px=8_192, max_batch=1_024)
    engine = story.broker.world.engines[engine_id]
    for plan in MemoryPlan:
        for kind in ("cpu", "cuda"):
            assert (
                max(memory_ledger.needs(story.broker.world, engine, kind, plan)) <= memory_demand.MOST_BYTES
            )


def test_worker_that_claims_room_for_any_number_of_jobs_gets_some_of_them():
    story = Story()
    _engine_id, worker_id = story.running_engine(capacity=MAX_INTEGER)
    assert story.broker.world.workers[worker_id].capacity == MAX_CAPACITY


def test_texts_of_workers_are_kept_in_part():
    story = Story()
    engine_id, worker_id = story.running_engine()
    first, second = (story.submit(engine_id) for _ in range(2))
    give = story.gives[first]
    story.say(worker_id, wire.JobFailed(job_id=first, lease=give.lease, code="c" * 999, text="t\0" * 9_999))
    assert (len(story.job(first).error_code), len(story.job(first).error)) == (100, MAX_TEXT // 2)
    story.make(second)
    third = story.submit(engine_id)
    for index in story.gives[third].positions:
        story.picture(third, index)
        story.stored(third, index)
    story.done(third, warnings=("w" * 9_999,) * 999)
    assert [len(text) for text in story.job(third).warnings] == [MAX_TEXT] * 100


def test_reason_that_an_engine_cannot_be_loaded_is_kept_in_part():
    story = Story()
    engine_id = story.engine(start=True)
    worker_id = story.newcomers[0]
    story.hello(worker_id)
    story.say(worker_id, wire.EngineFailed(engine_id=engine_id, code="c" * 999, text="t" * 99_999))
    assert len(story.engine_row(engine_id).error) == MAX_TEXT
