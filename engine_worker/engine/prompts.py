"""From a job's prompts to what the UNet is told: text encoders, guidance and SDXL's sizes."""

from dataclasses import dataclass
from textwrap import shorten

import torch
from torch import Tensor

from engine_worker.engine.conditioning import Conditioning
from engine_worker.engine.parts import Parts, SdText, SdxlText
from engine_worker.engine.tokenizer import Tokenizer
from kernel.protocol.specs import JobSpec

MAX_TOKENS = 77
"""Positions of the CLIP text encoders, start and end included."""
_SHOWN_CHARACTERS = 100


@dataclass(frozen=True, slots=True)
class _Embedding:
    """One prompt. Shapes: embeds (1, tokens, width), pooled (1, width), SDXL only."""

    embeds: Tensor
    pooled: Tensor | None


def condition(parts: Parts, spec: JobSpec) -> Conditioning:
    """Encode a job's prompts; without guidance the negative prompt is not needed, nor encoded."""
    rows = [_embed(parts, spec.prompt)]
    if is_guided(spec):
        rows.insert(0, _embed_negative(parts, spec.negative_prompt))
    embeds = torch.cat([row.embeds for row in rows])
    pooled = [row.pooled for row in rows if row.pooled is not None]
    if not pooled:
        return Conditioning(embeds)
    height, width = spec.height_px, spec.width_px
    # Original size, the crop's corner, target size: an uncropped picture of just this size.
    sizes = torch.tensor([[height, width, 0, 0, height, width]], dtype=torch.float32, device=parts.device)
    return Conditioning(embeds, torch.cat(pooled), sizes.expand(len(rows), -1))


def is_guided(spec: JobSpec) -> bool:
    """True where the negative prompt counts. At 1 and below there is no guidance, as in diffusers: 0 is how
    distilled checkpoints are asked to do without."""
    return spec.guidance_scale > 1.0


def truncation_warnings(parts: Parts, spec: JobSpec) -> tuple[str, ...]:
    """What the text encoders will not see of the prompts, in words for the job's owner."""
    prompts = [("prompt", spec.prompt)]
    if is_guided(spec):
        prompts.append(("negative prompt", spec.negative_prompt))
    found = (_truncation_warning(parts.text.tokenizer, name, text) for name, text in prompts)
    return tuple(warning for warning in found if warning is not None)


def _truncation_warning(tokenizer: Tokenizer, name: str, text: str) -> str | None:
    tokens = tokenizer.encode(text, verbose=False)
    if len(tokens) <= MAX_TOKENS:
        return None
    # The last place is the end's, so that is where the prompt is cut.
    lost = shorten(tokenizer.decode(tokens[MAX_TOKENS - 1 : -1]), _SHOWN_CHARACTERS, placeholder=" ...")
    words = len(tokens) - 2
    return f"The {name} has {words} tokens and {MAX_TOKENS - 2} are used, without its end: {lost!r}"


def _embed_negative(parts: Parts, text: str) -> _Embedding:
    embedding = _embed(parts, text)
    if isinstance(parts.text, SdxlText) and parts.text.zeroes_empty_negative and not text:
        pooled = None if embedding.pooled is None else torch.zeros_like(embedding.pooled)
        return _Embedding(torch.zeros_like(embedding.embeds), pooled)
    return embedding


def _embed(parts: Parts, text: str) -> _Embedding:
    match parts.text:
        case SdText(tokenizer, encoder):
            output = encoder(_token_ids(tokenizer, text, parts.device), output_hidden_states=False)
            return _Embedding(output.last_hidden_state, None)
        case SdxlText(tokenizer, encoder, tokenizer_2, encoder_2):
            first = encoder(_token_ids(tokenizer, text, parts.device), output_hidden_states=True)
            second = encoder_2(_token_ids(tokenizer_2, text, parts.device), output_hidden_states=True)
            # SDXL was trained on the layer before the last of both encoders.
            embeds = torch.cat([first.hidden_states[-2], second.hidden_states[-2]], dim=-1)
            return _Embedding(embeds, second.text_embeds)


def _token_ids(tokenizer: Tokenizer, text: str, device: torch.device) -> Tensor:
    """Shapes: (1, tokens), cut or padded to what the text encoders take."""
    tokens = tokenizer.encode(text, verbose=False)
    cut = tokens if len(tokens) <= MAX_TOKENS else [*tokens[: MAX_TOKENS - 1], tokens[-1]]
    padding = [tokenizer.pad_token_id] * (MAX_TOKENS - len(cut))
    return torch.tensor([cut + padding], device=device)
