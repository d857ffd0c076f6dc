"""The spellings that people use."""

from enum import StrEnum

import pytest

from api.http.words import find_word
from kernel.protocol.vocabulary import ImageFileType, JobState, ModelBase, ModelType, Scheduler, Variant


@pytest.mark.parametrize("kind", [Scheduler, ModelType, ModelBase, Variant, ImageFileType, JobState])
def test_every_word_means_itself_in_any_case(kind: type[StrEnum]) -> None:
    for word in kind:
        assert find_word(kind, word.value) is word
        assert find_word(kind, word.value.upper()) is word
        assert find_word(kind, word.value.replace("_", " ").title()) is word


@pytest.mark.parametrize(
    ("kind", "text", "word"),
    [
        (Scheduler, "DPM++ 2M Karras", Scheduler.DPMPP_2M_KARRAS),
        (Scheduler, "DPM++ 2M SDE Karras", Scheduler.DPMPP_2M_SDE_KARRAS),
        (Scheduler, "dpm++_2m", Scheduler.DPMPP_2M),
        (Scheduler, "Euler a", Scheduler.EULER_A),
        (Scheduler, "Euler Ancestral", Scheduler.EULER_A),
        (Scheduler, "UniPC", Scheduler.UNIPC),
        (ModelBase, "SDXL", ModelBase.SDXL),
        (ModelBase, "SD 1.5", ModelBase.SD),
        (ModelType, "LoRA", ModelType.LORA),
        (ModelType, "ControlNet", ModelType.CONTROLNET),
        (ModelType, "textual-inversion", ModelType.EMBEDDING),
        (ImageFileType, "JPG", ImageFileType.JPEG),
        (Variant, "float16", Variant.FP16),
    ],
)
def test_common_spellings_are_understood(kind: type[StrEnum], text: str, word: StrEnum) -> None:
    assert find_word(kind, text) is word


@pytest.mark.parametrize("text", ["", " ", "euler_b", "dpm", "none", "ＳＤＸＬ"])
def test_what_means_no_word_is_none(text: str) -> None:
    assert find_word(Scheduler, text) is None
