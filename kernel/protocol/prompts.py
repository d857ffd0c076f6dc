"""The maximum length of prompts, by prompt technique."""

from collections.abc import Mapping
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


def fault_of_length(prompt: str, technique: PromptTechnique) -> str | None:
    """Why a prompt is too long, without the field's name; None, if it is not."""
    most = MAX_CHARACTERS[technique]
    if len(prompt) <= most:
        return None
    return (
        f"must have at most {most:,} characters with long_prompt_technique {technique}, not {len(prompt):,}"
    )
