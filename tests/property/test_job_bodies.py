"""Whatever a body of POST /v1/jobs holds, it is taken or refused: never a 500, never sent half-read."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from api.http.app import make_app
from api.hub import Hub
from conf.settings import Images, Settings
from kernel.protocol.client import SubmitJob
from kernel.views.reader import Reader
from tests.unit.api.fake_bus import FakeBus, accepted
from tests.unit.api.forms import HEADERS, Part, form
from tests.unit.api.sample_pictures import JPEG, PNG, PNG_TEXT, WEBP
from tests.unit.api.stage import Stage
from tests.unit.views.database import SampleDatabase

NAMES = st.sampled_from(
    [
        "engine_id", "prompt", "steps", "loras", "embeddings", "vae", "type_pose", "control_scale", "seed",
        "scheduler_config", "reference_image_blob", "mask_image_blob", "pose_image_blob", "previews",
        "expire_after", "strength", "remove_background_models", "cfg_scale", "callback_url", "",
    ]
)  # fmt: skip
TEXTS = st.one_of(
    st.sampled_from(["e1", "1", "0.5", "true", "null", "openpose", "[", "{}", "[[]]", '["a", 1]', PNG_TEXT]),
    st.text(max_size=20),
)
CONTENTS = st.one_of(
    TEXTS.map(str.encode), st.sampled_from([PNG, JPEG, WEBP, PNG[:50]]), st.binary(max_size=30)
)
PARTS = st.builds(
    Part,
    NAMES,
    CONTENTS,
    st.sampled_from([None, "a.png", ""]),
    st.sampled_from([None, "image/png", "text/plain", "text/plain; charset=utf-16", "\xff"]),
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
SETTINGS = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    folder: Path = tmp_path_factory.mktemp("bodies")
    database, bus, hub = SampleDatabase(folder / "spoon.sqlite3"), FakeBus(), Hub()
    bus.reactions[SubmitJob] = accepted()
    reader, options = Reader(database.file), Settings(images=Images(folder=folder))
    app = make_app(options, bus, reader, hub, lambda: 10_000)
    yield Stage(options, app, bus, database, reader, hub)
    reader.close()
    database.close()


def check(stage: Stage, status: int) -> None:
    assert status in (202, 400, 413, 422), status
    if stage.bus.asked:
        ask = stage.bus.asked.pop()
        assert isinstance(ask, SubmitJob)
        assert status == 202
        assert len(ask.request.inputs) == len(ask.files) == len(stage.bus.blobs.pop())


@SETTINGS
@given(st.lists(PARTS, max_size=6), st.integers(0, 400), st.booleans())
def test_a_form_is_taken_or_refused(stage: Stage, parts: list[Part], cut: int, is_cut: bool) -> None:
    body = form(Part("engine_id", b"e1"), *parts)
    check(stage, stage.post("/v1/jobs", body=body[:-cut] if is_cut else body, headers=HEADERS).status_code)


@SETTINGS
@given(st.dictionaries(NAMES, VALUES, max_size=6))
def test_an_object_is_taken_or_refused(stage: Stage, job: dict[str, object]) -> None:
    check(stage, stage.post("/v1/jobs", {"engine_id": "e1", **job}).status_code)
