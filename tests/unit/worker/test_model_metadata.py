"""What models say of themselves: trigger words, and the maps that a ControlNet takes."""

import json
from pathlib import Path

import pytest

from kernel.protocol.enums import ControlType, ModelType
from tests.unit.worker.model_files import SMALL_SD, controlnet
from tests.unit.worker.test_inspection import look_at, one_file

LORA = {
    "lora_unet_mid_block_resnets_0_conv1.lora_down.weight": (4, 32),
    "lora_unet_mid_block_resnets_0_conv1.lora_up.weight": (32, 4),
}
CONTROLNET = controlnet()


def tags(**counts: int) -> str:
    return json.dumps({"10_fox": counts})


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        ({"modelspec.trigger_phrase": "a fox, foxy ,a fox"}, ("a fox", "foxy")),
        ({"ss_tag_frequency": tags(fox=40, red=30, night=2)}, ("fox", "red")),
        (
            {
                "ss_tag_frequency": json.dumps({"1_a": {"fox": 5}, "2_b": {"fox": 5, "owl": 4}}),
            },
            ("fox",),
        ),
        ({"modelspec.trigger_phrase": "said", "ss_tag_frequency": tags(counted=5)}, ("said",)),
        ({}, ()),
        ({"ss_tag_frequency": "no json"}, ()),
        ({"ss_tag_frequency": '{"a": {"b": "many"}}'}, ()),
        ({"ss_tag_frequency": "[" * 100_000}, ()),
        ({"modelspec.trigger_phrase": " ,\x00bad,\n," + "x" * 200}, ()),
        (
            {"modelspec.trigger_phrase": ",".join(f"w{n}" for n in range(100))},
            tuple(f"w{n}" for n in range(32)),
        ),
    ],
)
def test_trigger_words_are_found_in_the_metadata(
    tmp_path: Path, metadata: dict[str, str], words: tuple[str, ...]
) -> None:
    assert look_at(one_file(tmp_path, LORA, metadata), ModelType.LORA).trigger_words == words


def test_a_checkpoint_has_trigger_words_too(tmp_path: Path) -> None:
    path = one_file(tmp_path, SMALL_SD, {"modelspec.trigger_phrase": "dream style"})
    assert look_at(path).trigger_words == ("dream style",)


@pytest.mark.parametrize(
    ("metadata", "kind"),
    [
        ({"modelspec.title": "ControlNet OpenPose"}, ControlType.OPENPOSE),
        ({"ss_output_name": "control_canny_v2"}, ControlType.CANNY),
        ({"modelspec.description": "takes depth maps or canny edges"}, None),
        ({}, None),
    ],
)
def test_a_controlnet_may_tell_which_maps_it_takes(
    tmp_path: Path, metadata: dict[str, str], kind: ControlType | None
) -> None:
    found = look_at(one_file(tmp_path, CONTROLNET, metadata), ModelType.CONTROLNET)
    assert found.control_type is kind
