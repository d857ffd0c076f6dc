"""Tokens of prompts in HTTP requests and responses."""

from typing import Annotated

import msgspec
from msgspec import Meta

from api.http.contract.constraints import Id, ModelRef, ModelRefs, check_line, check_text
from api.http.contract.validation_errors import ValidationErrors
from kernel.protocol.enums import PromptTechnique
from kernel.protocol.values import Name, Prompt, Seed, Steps


class TokensInput(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Prompts to be counted as an engine, or a checkpoint, reads them; without either, as SD 1.5."""

    prompt: Prompt = ""
    negative_prompt: Prompt = ""
    engine_id: Id | None = None
    engine: Name | None = None
    checkpoint: ModelRef | None = None
    long_prompt_technique: PromptTechnique | None = None
    lora_tags: bool | None = None
    embeddings: ModelRefs | None = None
    steps: Steps | None = None
    wildcards: bool | None = None
    seed: Seed | None = None
    """Count the prompts that this seed makes of templates; None: count templates as they are typed."""


class TokenChunk(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens that a text encoder reads together."""

    tokens: int
    begin: int | None
    """The first character of the prompt in it; null if the chunk is empty, or the prompt changes over the
    steps."""
    end: int | None
    """The character behind the last one."""


class EncoderTokens(msgspec.Struct, frozen=True, kw_only=True):
    """A prompt as one text encoder reads it."""

    encoder: str
    tokens: int
    chunks: tuple[TokenChunk, ...]
    dropped: str
    """The end of the prompt that is cut off."""


class PromptTokens(msgspec.Struct, frozen=True, kw_only=True):
    """The tokens of one prompt."""

    encoders: tuple[EncoderTokens, ...] | None
    """Null: they could not be counted."""
    reason: str | None
    """Why not; or why a job with this prompt is refused."""
    is_template: bool
    """Whether choices are made in it, so that it has other tokens when it is run."""
    expanded: str | None
    """The prompt that the seed makes of it, which was counted; null: it was counted as it was typed."""


class TokenCounts(msgspec.Struct, frozen=True, kw_only=True):
    """The tokens of a prompt and a negative prompt."""

    long_prompt_technique: PromptTechnique
    chunk_tokens: Annotated[int, Meta(description="The most that a chunk has.")]
    prompt: PromptTokens
    negative_prompt: PromptTokens


def check_tokens(found: TokensInput, faults: ValidationErrors) -> None:
    """Check what the types do not."""
    check_text("prompt", found.prompt, faults)
    check_text("negative_prompt", found.negative_prompt, faults)
    for field, name in (("engine_id", found.engine_id), ("engine", found.engine)):
        check_line(field, name, faults)
    check_line("checkpoint", found.checkpoint, faults)
    named = [name for name in ("engine_id", "engine", "checkpoint") if getattr(found, name) is not None]
    for name in named[1:]:
        faults.wrong(name, f"contradicts {named[0]}: set one of them")
