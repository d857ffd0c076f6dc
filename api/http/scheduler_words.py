"""Schedulers in the spellings of other tools, and the label under which people know each of ours.

A word of `Scheduler` is a sampler's key in SAMPLERS, and behind it maybe the key of a sequence of sigmas. So
a new word needs an entry here only if its sampler is new.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from kernel.protocol.vocabulary import Scheduler


@dataclass(frozen=True, slots=True)
class Spelling:
    """How people write it, and other names that mean the same."""

    label: str
    others: tuple[str, ...] = ()


# The web interface's names are the labels; then ComfyUI's and k-diffusion's names, then diffusers' classes.
SAMPLERS: Final[Mapping[str, Spelling]] = MappingProxyType(
    {
        "euler": Spelling("Euler", ("k_euler", "EulerDiscreteScheduler")),
        "euler_a": Spelling("Euler a", ("euler_ancestral", "k_euler_a", "EulerAncestralDiscreteScheduler")),
        "heun": Spelling("Heun", ("k_heun", "HeunDiscreteScheduler")),
        "lms": Spelling("LMS", ("k_lms", "LMSDiscreteScheduler")),
        "dpm2": Spelling("DPM2", ("k_dpm_2", "KDPM2DiscreteScheduler")),
        "dpm2_a": Spelling(
            "DPM2 a", ("dpm_2_ancestral", "k_dpm_2_a", "k_dpm_2_ancestral", "KDPM2AncestralDiscreteScheduler")
        ),
        "dpmpp_2m": Spelling("DPM++ 2M", ("k_dpmpp_2m", "DPMSolverMultistepScheduler", "DPMSolver++")),
        "dpmpp_2m_sde": Spelling("DPM++ 2M SDE", ("dpmpp_2m_sde_gpu",)),
        "dpmpp_3m": Spelling("DPM++ 3M"),
        "dpmpp_3m_sde": Spelling("DPM++ 3M SDE", ("dpmpp_3m_sde_gpu",)),
        "dpmpp_sde": Spelling("DPM++ SDE", ("dpmpp_sde_gpu", "DPMSolverSDEScheduler")),
        "dpmpp_2s": Spelling("DPM++ 2S", ("DPMSolverSinglestepScheduler",)),
        "dpmpp_2s_a": Spelling("DPM++ 2S a", ("dpmpp_2s_ancestral",)),
        "deis": Spelling("DEIS", ("DEISMultistepScheduler",)),
        "unipc": Spelling("UniPC", ("uni_pc", "uni_pc_bh2", "UniPCMultistepScheduler")),
        "sa_solver": Spelling("SA-Solver", ("SASolverScheduler",)),
        "pndm": Spelling("PNDM", ("plms", "PNDMScheduler")),
        "ipndm": Spelling("IPNDM", ("IPNDMScheduler",)),
        "ddim": Spelling("DDIM", ("DDIMScheduler",)),
        "ddpm": Spelling("DDPM", ("DDPMScheduler",)),
        "lcm": Spelling("LCM", ("LCMScheduler",)),
        "tcd": Spelling("TCD", ("TCDScheduler",)),
    }
)
SIGMAS: Final[Mapping[str, Spelling]] = MappingProxyType(
    {
        "karras": Spelling("Karras", ("k",)),
        "exponential": Spelling("Exponential", ("exp",)),
        "beta": Spelling("Beta"),
        "sgm_uniform": Spelling("SGM Uniform", ("trailing",)),
    }
)


def label_of(scheduler: Scheduler) -> str:
    """How people write it: `DPM++ 2M Karras`. One without an entry is shown as its word."""
    parts = _parts(scheduler.value)
    if parts is None:
        return scheduler.value
    sampler, sigmas = parts
    return sampler.label if sigmas is None else f"{sampler.label} {sigmas.label}"


def other_spellings() -> Iterator[tuple[str, Scheduler]]:
    """Every spelling but a scheduler's own word, with the scheduler that it means."""
    for scheduler in Scheduler:
        parts = _parts(scheduler.value)
        if parts is None:
            continue
        sampler, sigmas = parts
        ends = [""] if sigmas is None else [sigmas.label, *sigmas.others]
        for name in (sampler.label, *sampler.others):
            for end in ends:
                yield f"{name} {end}", scheduler


def _parts(word: str) -> tuple[Spelling, Spelling | None] | None:
    """The sampler and the sigmas of a word. The longest sampler counts: `euler_a` is no `euler`."""
    for key in sorted(SAMPLERS, key=len, reverse=True):
        if word == key:
            return SAMPLERS[key], None
        end = word.removeprefix(f"{key}_")
        if end != word and end in SIGMAS:
            return SAMPLERS[key], SIGMAS[end]
    return None
