"""A job whose control map nobody here could draw is refused before it is taken, with what to do about it."""

import pytest
from msgspec.structs import replace

from kernel.core.actions import Reply, StoreInputs
from kernel.core.events import InputsStored
from kernel.protocol import client
from kernel.protocol.enums import ControlType, InputKind
from kernel.protocol.model_refs import ControlUse
from tests.unit.core.samples import controlnet, submit
from tests.unit.core.story import Story, only

CANNY, OPENPOSE = ControlType.CANNY, ControlType.OPENPOSE
REMEDY = "put body_pose_model.pth into /detectors/openpose (from a repository)"


@pytest.fixture
def story():
    story = Story(controlnet(OPENPOSE), controlnet(CANNY))
    story.absent_detectors = {OPENPOSE: REMEDY}
    return story


def led(engine_id, *uses):
    """The wish for a picture that follows a pose image; without a control it is the engine's own type."""
    return submit(engine_id, inputs=(InputKind.POSE,), controls=uses)


def engine(story, **fields):
    return story.engine(control_net=OPENPOSE, control_models=("openpose", "canny"), **fields)


def is_taken(story, ask):
    return bool(only(story.ask_actions(ask), StoreInputs))


@pytest.mark.parametrize("uses", [(), (ControlUse(control_type=OPENPOSE),)], ids=["default", "named"])
def test_job_whose_detector_is_not_there_is_refused_with_its_field_and_the_remedy(story, uses):
    ask = led(engine(story), *uses)
    for checked in (ask, replace(ask, validate_only=True)):
        refusal = story.refusal(checked)
        assert (refusal.code, refusal.fields[0].field) == ("not_installed", "controls[0].type_pose")
        assert REMEDY in refusal.fields[0].problem
    assert not story.broker.world.submissions


def test_second_control_is_refused_by_its_own_place(story):
    ask = led(engine(story), ControlUse(control_type=CANNY), ControlUse(control_type=OPENPOSE))
    assert story.refusal(ask).fields[0].field == "controls[1].type_pose"


def test_map_that_comes_along_needs_no_detector(story):
    assert is_taken(story, led(engine(story), ControlUse(control_type=OPENPOSE, is_preprocessed=True)))


def test_detector_that_comes_with_its_package_needs_no_files(story):
    assert is_taken(story, led(engine(story), ControlUse(control_type=CANNY)))


def test_files_that_a_person_put_there_meanwhile_are_seen(story):
    engine_id = engine(story)
    assert story.refusal(led(engine_id)).code == "not_installed"
    story.absent_detectors = {}
    assert is_taken(story, led(engine_id))


def test_files_that_go_while_the_pictures_are_stored_are_the_workers_to_miss(story):
    story.absent_detectors = {}
    story.ask_actions(led(engine(story)), key="mine")
    story.absent_detectors = {OPENPOSE: REMEDY}
    (reply,) = only(story.tell(InputsStored("mine")), Reply)
    assert isinstance(reply.message, client.JobAccepted)


def test_engine_of_a_pool_takes_the_job(story):
    assert is_taken(story, led(engine(story, pool="lab")))
