"""Asking for prompts in tests: settings of a job in one call, and the encoders that answer."""

from collections import Counter
from pathlib import Path

import torch
from msgspec.structs import replace
from safetensors.torch import save_file
from small_engine import order, spec
from torch import Tensor, nn

from engine_worker.engine.networks.components import Components, SdText
from engine_worker.engine.prompts.clip import width
from engine_worker.engine.prompts.prompt_encoder import EncodedPrompts, PromptEncoder
from kernel.protocol.enums import ModelType, PromptTechnique
from kernel.protocol.ids import ModelId
from kernel.protocol.model_refs import ModelSource
from kernel.protocol.specs import JobOrder


def prompt_order(
    prompt: str,
    negative_prompt: str = "",
    *,
    technique: PromptTechnique = PromptTechnique.NONE,
    clip_skip: int | None = None,
    embeddings: tuple[ModelSource, ...] = (),
    guidance_scale: float = 5.0,
    lora_tags: bool = False,
) -> JobOrder:
    """The order of a job that is all about its prompts."""
    job = replace(
        spec(prompt=prompt, negative_prompt=negative_prompt, guidance_scale=guidance_scale),
        long_prompt_technique=technique,
        clip_skip=clip_skip,
        lora_tags=lora_tags,
        embeddings=tuple(source.model_id for source in embeddings),
    )
    return replace(order("job", job), models=embeddings)


def encoded_prompts(
    parts: Components, prompt: str, negative_prompt: str = "", **settings: object
) -> EncodedPrompts:
    """What becomes of some prompts, with nothing remembered."""
    return PromptEncoder(parts).condition(prompt_order(prompt, negative_prompt, **settings))  # type: ignore[arg-type]


def alone(parts: Components, prompt: str, **settings: object) -> Tensor:
    """The embeds of a prompt without a negative one. Shapes: (tokens, width)."""
    return encoded_prompts(parts, prompt, guidance_scale=1.0, **settings).conditioning.embeds[0]


def encoders(parts: Components) -> list[nn.Module]:
    """The text encoders."""
    text = parts.text
    found = [text.encoder] if isinstance(text, SdText) else [text.encoder, text.encoder_2]
    return [encoder for encoder in found if isinstance(encoder, nn.Module)]


def widths(parts: Components) -> list[int]:
    """How wide the vectors of each text encoder are."""
    text = parts.text
    return [width(text.encoder)] if isinstance(text, SdText) else [width(text.encoder), width(text.encoder_2)]


def embedding_source(name: str, path: Path, *trigger_words: str) -> ModelSource:
    """An embedding as a job's order names it."""
    return ModelSource(
        model_id=ModelId(f"embedding-{path.stem}"),
        name=name,
        uri=path.as_uri(),
        model_type=ModelType.EMBEDDING,
        sha256=None,
        trigger_words=trigger_words,
    )


def write_embedding(path: Path, vectors: list[Tensor], key: str = "emb_params") -> Path:
    """An embedding's file: one tensor for SD, one for each encoder for SDXL."""
    keys = (key,) if len(vectors) == 1 else ("clip_l", "clip_g")
    save_file({name: held.contiguous() for name, held in zip(keys, vectors, strict=True)}, path)
    return path


def random_vectors(parts: Components, count: int = 2, seed: int = 1) -> list[Tensor]:
    """An embedding's vectors, for each text encoder."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(count, width, generator=generator) for width in widths(parts)]


class CallCounter:
    """Counts the calls of a model's text encoders while it is in use."""

    def __init__(self, parts: Components) -> None:
        self.calls: Counter[int] = Counter()
        self._hooks = [
            encoder.register_forward_pre_hook(lambda *_, number=number: self.calls.update([number]))
            for number, encoder in enumerate(encoders(parts))
        ]

    def __enter__(self) -> "CallCounter":
        return self

    def __exit__(self, *_: object) -> None:
        for hook in self._hooks:
            hook.remove()
