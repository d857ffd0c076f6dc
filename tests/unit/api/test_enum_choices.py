"""The spellings that people use."""

import re
from enum import StrEnum

import pytest

from api.http.contract.enum_choices import (
    find_choice,
    find_levels,
    fold,
    problem_with,
    respelled,
    wrong_choice,
)
from api.http.contract.job_input import JobInput
from api.http.contract.validation_errors import ValidationErrors
from kernel.protocol.enums import (
    ControlType,
    ImageFileType,
    ImageFit,
    InpaintArea,
    InpaintFill,
    JobState,
    MaskMode,
    ModelBase,
    ModelType,
    PromptTechnique,
    Scheduler,
    Variant,
)
from kernel.protocol.errors import InvalidField
from kernel.protocol.schedulers import KINDS, NEAREST, SAMPLERS


@pytest.mark.parametrize("kind", [Scheduler, ModelType, ModelBase, Variant, ImageFileType, JobState])
def test_every_word_means_itself_in_any_case(kind: type[StrEnum]) -> None:
    for word in kind:
        assert find_choice(kind, word.value) is word
        assert find_choice(kind, word.value.upper()) is word
        assert find_choice(kind, word.value.replace("_", " ").title()) is word


@pytest.mark.parametrize(
    ("kind", "text", "word"),
    [
        (Scheduler, "DPM++ 2M Karras", Scheduler.DPMPP_2M_KARRAS),
        (Scheduler, "DPM++ 2M SDE Karras", Scheduler.DPMPP_2M_SDE_KARRAS),
        (Scheduler, "dpm++_2m", Scheduler.DPMPP_2M),
        (Scheduler, "Euler a", Scheduler.EULER_A),
        (Scheduler, "Euler Ancestral", Scheduler.EULER_A),
        (Scheduler, "UniPC", Scheduler.UNIPC),
        (Scheduler, "uni_pc", Scheduler.UNIPC),
        (Scheduler, "DPM2 a", Scheduler.DPM2_A),
        (Scheduler, "dpm_2_ancestral", Scheduler.DPM2_A),
        (Scheduler, "dpmpp_2m_sde_gpu", Scheduler.DPMPP_2M_SDE),
        (Scheduler, "PLMS", Scheduler.PNDM),
        (Scheduler, "k_euler", Scheduler.EULER),
        (Scheduler, "dpmpp_2m_k", Scheduler.DPMPP_2M_KARRAS),
        (Scheduler, "EulerAncestralDiscreteScheduler", Scheduler.EULER_A),
        (Scheduler, "DPMSolverMultistepScheduler", Scheduler.DPMPP_2M),
        (Scheduler, "DPM++ 2M SDE Exponential", Scheduler.DPMPP_2M_SDE_EXPONENTIAL),
        (Scheduler, "DEIS Karras", Scheduler.DEIS_KARRAS),
        (Scheduler, "Euler Exponential", Scheduler.EULER_EXPONENTIAL),
        (Scheduler, "uni_pc beta", Scheduler.UNIPC_BETA),
        (ControlType, "midaspose", ControlType.MIDAS),
        (ControlType, "MediapipePose", ControlType.MEDIAPIPE),
        (PromptTechnique, "sd-embed", PromptTechnique.SD_EMBED),
        (ModelBase, "SDXL", ModelBase.SDXL),
        (ModelBase, "SD 1.5", ModelBase.SD),
        (ModelType, "LoRA", ModelType.LORA),
        (ModelType, "ControlNet", ModelType.CONTROLNET),
        (ModelType, "textual-inversion", ModelType.EMBEDDING),
        (ImageFileType, "JPG", ImageFileType.JPEG),
        (Variant, "float16", Variant.FP16),
        (ImageFit, "Just Resize", ImageFit.STRETCH),
        (ImageFit, "Crop and resize", ImageFit.CROP),
        (ImageFit, "resize_and_fill", ImageFit.PAD),
        (InpaintArea, "Whole picture", InpaintArea.WHOLE),
        (InpaintArea, "Only masked", InpaintArea.MASKED),
        (InpaintFill, "latent noise", InpaintFill.LATENT_NOISE),
        (MaskMode, "Inpaint masked", MaskMode.LUMINANCE),
    ],
)
def test_common_spellings_are_understood(kind: type[StrEnum], text: str, word: StrEnum) -> None:
    assert find_choice(kind, text) is word


@pytest.mark.parametrize("scheduler", Scheduler)
def test_every_scheduler_has_a_label_that_means_it(scheduler: Scheduler) -> None:
    label = KINDS[scheduler].label
    assert label != scheduler.value
    assert find_choice(Scheduler, label) is scheduler


@pytest.mark.parametrize("scheduler", SAMPLERS)
def test_the_class_of_diffusers_means_a_scheduler_of_that_class(scheduler: Scheduler) -> None:
    class_name = KINDS[scheduler].class_name
    found = find_choice(Scheduler, class_name)
    assert found in SAMPLERS
    assert KINDS[found].class_name == class_name


def test_no_spelling_means_two_schedulers() -> None:
    own = {fold(scheduler.value): scheduler for scheduler in Scheduler}
    for scheduler, kind in KINDS.items():
        for spelling in (kind.label, *kind.others):
            assert find_choice(Scheduler, spelling) is scheduler
            assert own.setdefault(spelling.lower(), scheduler) is scheduler


@pytest.mark.parametrize("text", [*NEAREST, "dpmpp_2s_a", "DPM++ 2S a Karras", "DPM++ 2S a SGM Uniform"])
def test_a_sampler_that_is_not_offered_is_refused_with_what_comes_near(text: str) -> None:
    faults = ValidationErrors()
    assert wrong_choice(JobInput, "scheduler", "", text, faults)
    with pytest.raises(InvalidField, match=r"is not available, the closest (?:is|are) \w+"):
        faults.raise_if_any()


@pytest.mark.parametrize(
    ("text", "near"),
    [
        ("euler_b", "did you mean euler, "),
        ("DPM++ 2M Karas", "did you mean dpmpp_2m_karras, "),
        ("UniPCMultistepSchedular", "did you mean unipc"),
        ("heunn", "did you mean heun, "),
        ("zzz", "GET"),
        ("e" * 1_000_000, "GET"),
    ],
)
def test_of_many_words_only_the_nearest_are_named(text: str, near: str) -> None:
    problem = problem_with(Scheduler, text)
    assert re.match(rf"'.*' is unknown; {re.escape(near)}", problem)
    assert f"GET /v1/capabilities lists all {len(Scheduler)}" in problem
    assert len(problem) < 300


def test_noise_levels_alone_are_no_scheduler() -> None:
    assert problem_with(Scheduler, "sgm_uniform").startswith(
        "sgm_uniform is no scheduler: write a sampler before"
    )


def test_levels_that_a_sampler_cannot_have_are_refused_with_the_closest() -> None:
    assert find_levels("DDIM Normal") is None
    assert problem_with(Scheduler, "DDIM Normal").endswith("the closest timestep_spacing is linspace")
    assert problem_with(Scheduler, "lcm sgm_uniform").endswith("omit sgm_uniform")


def test_few_words_are_all_named() -> None:
    assert problem_with(Variant, "fp12") == "must be one of fp16, fp32, bf16"


@pytest.mark.parametrize("text", ["", " ", "euler_b", "dpm", "none", "ＳＤＸＬ"])
def test_what_means_no_word_is_none(text: str) -> None:
    assert find_choice(Scheduler, text) is None


@pytest.mark.parametrize(
    ("text", "scheduler", "levels"),
    [
        ("Euler a SGM Uniform", "euler_a", "sgm_uniform"),
        ("euler_ancestral sgm_uniform", "euler_a", "sgm_uniform"),
        ("dpmpp_2m_simple", "dpmpp_2m", "simple"),
        ("DPM++ 2M SDE Normal", "dpmpp_2m_sde", "normal"),
        ("Euler Uniform", "euler", "normal"),
        ("uni_pc ddim_uniform", "unipc", "ddim_uniform"),
        ("DDIM DDIM", "ddim", "ddim_uniform"),
    ],
)
def test_a_sampler_with_comfyuis_noise_levels_is_a_scheduler_and_an_option(
    text: str, scheduler: str, levels: str
) -> None:
    assert respelled(JobInput, {"scheduler": text}) == {
        "scheduler": scheduler,
        "scheduler_config": {"timestep_spacing": levels},
    }
    said = {"timestep_spacing": "trailing", "steps_offset": 1}
    assert respelled(JobInput, {"scheduler": text, "scheduler_config": said})["scheduler_config"] == said


@pytest.mark.parametrize(
    "text", ["sgm_uniform", "Euler Karras Simple", "Heunn Simple", "simple euler", "ddim"]
)
def test_other_texts_name_no_noise_levels(text: str) -> None:
    assert find_levels(text) is None
