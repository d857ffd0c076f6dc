"""What is known of prompts without a tokenizer: their maximum length, and the LoRA tags in them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from types import MappingProxyType
from typing import Final

from kernel.protocol.enums import PromptTechnique

LONGEST_PROMPT: Final = 100_000
"""Characters; with 4 bytes each, two prompts stay below the bus's longest body."""
MAX_CHARACTERS: Final[Mapping[PromptTechnique, int]] = MappingProxyType(
    {
        PromptTechnique.NONE: LONGEST_PROMPT,
        PromptTechnique.SD_EMBED: LONGEST_PROMPT,
        # Its parser takes a second for this length, and the time grows with its backtracking.
        PromptTechnique.COMPEL: 5_000,
    }
)

MAX_LORA_WEIGHT: Final = 10.0
_LORA_TAG: Final = re.compile(r"<(?:lora|lyco):(?P<parts>[^<>\n]{1,400})>", re.IGNORECASE)
MARKS_OF_TAGS: Final = str.maketrans({"<": "_", ">": "_", ":": "_"})
"""What a tag cannot have in the name of its LoRA, and what is written instead."""


@dataclass(frozen=True, slots=True)
class LoraTag:
    """A LoRA as the web interfaces name it in prompts: `<lora:name>`, `<lora:name:0.8>`.

    `<lyco:...>` is the same. Two weights are those of the text encoder and of the UNet, also written
    `te=0.8` and `unet=0.8`; they must be equal.
    Source: https://github.com/AUTOMATIC1111/stable-diffusion-webui/wiki/Features#extra-networks
    """

    text: str
    """As written."""
    name: str
    parameters: tuple[str, ...]

    def weight(self) -> float:
        """Raises: ValueError, with the problem, if the parameters are not one weight."""
        weights = [_weight(one) for one in self.parameters]
        if len(weights) > 2:
            raise ValueError("has more than a name and a weight: write <lora:name:0.8>")
        if len(set(weights)) > 1:
            raise ValueError(
                "has different weights for text encoder and UNet, which is not supported: write one weight"
            )
        return weights[0] if weights else 1.0


def lora_tags(prompt: str) -> tuple[LoraTag, ...]:
    """The LoRA tags of a prompt, in their order."""
    found = []
    for match in _LORA_TAG.finditer(prompt):
        name, *parameters = match["parts"].split(":")
        found.append(LoraTag(match[0], name.strip(), tuple(parameters)))
    return tuple(found)


def without_lora_tags(prompt: str) -> str:
    """The prompt as it is encoded."""
    return _LORA_TAG.sub("", prompt).strip() if _LORA_TAG.search(prompt) else prompt


def places_without_lora_tags(prompt: str) -> tuple[int, ...]:
    """The place in the prompt of each character that `without_lora_tags` leaves."""
    places: list[int] = []
    begin = 0
    for found in _LORA_TAG.finditer(prompt):
        places += range(begin, found.start())
        begin = found.end()
    if not begin:
        return tuple(range(len(prompt)))
    places += range(begin, len(prompt))
    kept = [place for place in places if not prompt[place].isspace()]
    if not kept:
        return ()
    return tuple(place for place in places if kept[0] <= place <= kept[-1])


def _weight(parameter: str) -> float:
    name, _, number = parameter.rpartition("=")
    try:
        weight = float(number) if name.strip().lower() in ("te", "unet", "") else None
    except ValueError:
        weight = None
    if weight is None or not isfinite(weight) or abs(weight) > MAX_LORA_WEIGHT:
        problem = f"{parameter!r} is not a weight from -{MAX_LORA_WEIGHT:g} to {MAX_LORA_WEIGHT:g}"
        raise ValueError(f"{problem}: write <lora:name:0.8>")
    return weight


def fault_of_length(prompt: str, technique: PromptTechnique) -> str | None:
    """Why a prompt is too long, without the field's name; None, if it is not."""
    most = MAX_CHARACTERS[technique]
    if len(prompt) <= most:
        return None
    return (
        f"must have at most {most:,} characters with long_prompt_technique {technique}, not {len(prompt):,}"
    )
