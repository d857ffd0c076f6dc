"""Encodes the prompts of jobs for the UNet: text encoders, guidance, and SDXL's size embeddings."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from math import log
from typing import Final

import diffusers
import torch
from torch import Tensor
from torch.nn.functional import pad

from engine_worker.engine.adapters.lora_manager import NO_ADAPTERS, AdapterSet
from engine_worker.engine.networks.components import Components, Conditioning, SdText, SdxlText
from engine_worker.engine.networks.offload import LoadModules
from engine_worker.engine.prompts.embeddings import Words, fitted, make_embedding_tokens, read_embedding
from engine_worker.engine.prompts.encoded import Encode, Encoded
from engine_worker.engine.prompts.parsed_prompts import (
    ParsedByCall,
    ParsedPrompt,
    ParsedPromptCache,
    naming,
)
from engine_worker.engine.prompts.plain import encode_plain
from engine_worker.engine.prompts.reader import MAX_TOKENS, Readers, make_readers
from engine_worker.engine.prompts.weighted import MOST_WEIGHT
from engine_worker.engine.runtime.cuda_stream import copy_async
from engine_worker.engine.runtime.lru_cache import Identity, LruCache, ModelCache
from engine_worker.formats.resolve_model import find_source
from kernel.protocol.enums import ModelType, PromptTechnique
from kernel.protocol.errors import JobRejected
from kernel.protocol.model_refs import ModelSource
from kernel.protocol.prompt_syntax.prompt_editing import MAX_COMPOSED, composed
from kernel.protocol.prompts import lora_tags, without_lora_tags
from kernel.protocol.schedulers import KINDS
from kernel.protocol.specs import JobOrder, JobSpec

CACHE_BYTES: Final = 32 << 20
"""On the engine's device: a hundred prompts of one chunk for SDXL in half precision."""
MAX_CHANGING_CHUNKS: Final = 256
"""Chunks of all texts of a prompt that changes between steps: as many as compel encodes for one prompt."""
_MAX_EMBEDDINGS: Final = 256
_MAX_VECTORS_BYTES: Final = 16 << 20
"""An embedding of 16 vectors for SDXL has 130 KB."""

ActiveLoras = tuple[tuple[Identity, float], ...]
"""The LoRAs that are active on the text encoders, with their weights."""


@dataclass(frozen=True, slots=True)
class EncodedPrompts:
    """The prompts of a job, encoded once for all of its images."""

    by_call: tuple[Conditioning, ...]
    """That of each UNet call, all of one shape; a single one, if the prompts are always the same."""
    warnings: tuple[str, ...]
    """Complete sentences for the job's owner."""

    @property
    def conditioning(self) -> Conditioning:
        """The first one."""
        return self.by_call[0]


@dataclass(frozen=True, slots=True)
class ParsedPrompts:
    """The prompts of a job, parsed. The negative prompt is None without guidance, which AND always has."""

    composed: tuple[ParsedByCall, ...]
    """The prompts that AND joins; one without it."""
    weights: tuple[float, ...]
    negative: ParsedByCall | None


@dataclass(frozen=True, slots=True)
class _EncodeKey:
    """Everything except the text that determines how the text encoders encode a prompt."""

    technique: PromptTechnique
    clip_skip: int | None
    embeddings: tuple[ModelSource, ...]
    loras: ActiveLoras


@dataclass(frozen=True, slots=True)
class _EncodeScope:
    """The state while the prompts of one job are encoded."""

    key: _EncodeKey
    readers: Readers
    loaded: LoadModules
    stay: ExitStack

    def encoded(self, encode: Encode) -> Encoded:
        """Encode one prompt. The first one that is not cached loads the text encoders, which stay until the
        scope ends."""
        self.stay.enter_context(self.loaded())
        return encode(self.readers)


class PromptEncoder:
    """Encodes the prompts of one engine's jobs, and caches the latest ones.

    Each call leaves the text encoders and their tokenizers unchanged. `condition` is for the stepping thread;
    the other methods may be called from any thread.
    """

    def __init__(self, parts: Components, cache_bytes: int = CACHE_BYTES) -> None:
        self._parts = parts
        self._prompts: LruCache[tuple[str, _EncodeKey], Encoded] = LruCache(
            max_bytes=cache_bytes, size_bytes=_encoded_bytes
        )
        self._vectors: ModelCache[Words] = ModelCache(
            partial(read_embedding, parts=parts),
            _vectors_bytes,
            max_count=_MAX_EMBEDDINGS,
            max_bytes=_MAX_VECTORS_BYTES,
        )
        self._parsed = ParsedPromptCache()

    def is_parsed(self, order: JobOrder) -> bool:
        """True if parsing the prompts of a job takes no time."""
        technique, calls = order.spec.long_prompt_technique, _calls(order.spec)
        return all(self._parsed.has(text, technique, calls) for _, text in _texts(order.spec, self._parts))

    def has_vectors(self, order: JobOrder) -> bool:
        """True if the embeddings of a job are loaded."""
        return all(map(self._vectors.has, _encode_key(order, ()).embeddings))

    def read(self, order: JobOrder) -> ParsedPrompts:
        """Parse the prompts of a job, after importing the package that does it.

        Raises: JobRejected, if they cannot be parsed by the job's technique; NotInstalled, if it needs a
        package that is not installed.
        """
        spec, technique, calls = order.spec, order.spec.long_prompt_technique, _calls(order.spec)
        weights = tuple(weight for _, weight in _composed(spec))
        if len(weights) > MAX_COMPOSED:
            raise JobRejected(f"prompt: AND joins {len(weights)} prompts: at most {MAX_COMPOSED}")
        if not all(abs(weight) <= MOST_WEIGHT for weight in weights):
            raise JobRejected(f"prompt: weights of prompts that AND joins must be at most {MOST_WEIGHT:g}")
        parsed: list[ParsedByCall] = []
        for field, text in _texts(spec, self._parts):
            with naming(field):
                parsed.append(self._parsed.read(text, technique, calls))
        joined, negative = tuple(parsed[: len(weights)]), parsed[len(weights) :]
        return ParsedPrompts(joined, weights, negative[0] if negative else None)

    def load_vectors(self, order: JobOrder) -> None:
        """Load the embeddings of a job. Raises: JobRejected; ModelUnreadable."""
        for source in _encode_key(order, ()).embeddings:
            self._vectors.take(source)

    @torch.inference_mode()
    def condition(
        self, order: JobOrder, loras: AdapterSet = NO_ADAPTERS, parsed: ParsedPrompts | None = None
    ) -> EncodedPrompts:
        """Encode the prompts of a job; the negative prompt only with guidance.

        `loras` are active on the text encoders, and bring their words; `parsed` is the result of `read`,
        which is called if it is None.
        Raises: JobRejected, if a prompt cannot be encoded by the job's technique; ModelUnreadable, if an
        embedding cannot be read; NotInstalled, if the technique needs a package that is not installed.
        """
        key, parsed = _encode_key(order, loras.identities), parsed or self.read(order)
        with ExitStack() as stay:
            scope = _EncodeScope(key, self._readers(key, loras), self._parts.text.loaded, stay)
            joined = [self._encoded("prompt", one, scope) for one in parsed.composed]
            warnings = [f"the prompt {remark}" for at in joined for one in at for remark in one.remarks]
            negatives: list[Encoded] = []
            if parsed.negative is not None:
                negatives = self._encoded("negative_prompt", parsed.negative, scope)
                warnings += [f"the negative prompt {remark}" for one in negatives for remark in one.remarks]
                warnings += _tags_without_effect(order.spec)
            elif self._parts.is_distilled and order.spec.negative_prompt:
                warnings.append("the negative prompt has no effect: the checkpoint's guidance is distilled")
            by_row = [at for at in (negatives, *joined) if at]
            longest = max(row.tokens for at in by_row for row in at)
            made: dict[tuple[int, ...], Conditioning] = {}
            by_call: list[Conditioning] = []
            for call in range(max(map(len, by_row))):
                rows = [at[min(call, len(at) - 1)] for at in by_row]
                same = tuple(map(id, rows))
                if same not in made:
                    embeds = torch.cat([self._padded(row, longest, scope) for row in rows])
                    conditioning = _conditioning(self._parts, order.spec, rows, embeds)
                    made[same] = replace(conditioning, weights=parsed.weights)
                by_call.append(made[same])
        return EncodedPrompts(tuple(by_call), tuple(dict.fromkeys(warnings)))

    def _readers(self, key: _EncodeKey, loras: AdapterSet) -> Readers:
        parts, sources = self._parts, key.embeddings
        embeddings = [self._vectors.take(source) for source in sources]
        bundled = fitted("an embedding of a LoRA", loras.words, parts)
        encoders = 1 if isinstance(parts.text, SdText) else 2
        return make_readers(
            parts, make_embedding_tokens(sources, embeddings, bundled, encoders), key.clip_skip
        )

    def _encoded(self, field: str, parsed: ParsedByCall, scope: _EncodeScope) -> list[Encoded]:
        """A prompt at each UNet call.

        Raises: JobRejected, if it cannot be encoded, or its texts have too many chunks in all.
        """
        known: dict[str, Encoded] = {}
        for one in parsed:
            if one.text in known:
                continue
            known[one.text] = self._encoded_text(field, one, scope)
            if (
                len(known) > 1
                and sum(row.tokens for row in known.values()) > MAX_CHANGING_CHUNKS * MAX_TOKENS
            ):
                problem = f"its texts over the steps have more than {MAX_CHANGING_CHUNKS} chunks in all"
                raise JobRejected(f"{field}: too long: {problem}")
        return [known[one.text] for one in parsed]

    def _encoded_text(self, field: str, parsed: ParsedPrompt, scope: _EncodeScope) -> Encoded:
        def encode() -> Encoded:
            with naming(field):
                encoded = scope.encoded(parsed.encode)
            is_empty = not parsed.text
            return replace(encoded, remarks=(*encoded.remarks, *parsed.remarks), is_empty=is_empty)

        return self._prompts.get((parsed.text, scope.key), encode)

    def _padded(self, row: Encoded, tokens: int, scope: _EncodeScope) -> Tensor:
        """The row with as many chunks as the other one; the additional chunks are empty."""
        if row.tokens == tokens:
            return row.embeds
        nothing = replace(scope.key, technique=PromptTechnique.NONE)
        empty = self._prompts.get(("", nothing), lambda: scope.encoded(_encode_nothing))
        return torch.cat([row.embeds, empty.embeds.repeat(1, (tokens - row.tokens) // MAX_TOKENS, 1)], dim=1)


def _encode_nothing(readers: Readers) -> Encoded:
    return replace(encode_plain("", readers), is_empty=True)


def is_guided(spec: JobSpec, parts: Components) -> bool:
    """True if the negative prompt counts. At a guidance scale of 1 and below there is no guidance, as in
    diffusers; 0 is how distilled checkpoints turn it off, unless their UNet takes the scale as an input."""
    return spec.guidance_scale > 1.0 and not parts.is_distilled


def guidance_embedding(guidance_scale: float, width: int) -> Tensor:
    """The embedded guidance scale, as a UNet with guidance distilled into it takes it. Shape: (1, width).

    Source: S. Luo et al., "Latent Consistency Models", arXiv:2310.04378, where the scale of one more means no
    guidance is w = 0; the sinusoids are those of timesteps, as in the implementations that trained with it.
    """
    half = width // 2
    scaled = torch.tensor([[(guidance_scale - 1.0) * 1000.0]], dtype=torch.float32)
    rates = torch.exp(torch.arange(half, dtype=torch.float32) * -(log(10_000.0) / max(1, half - 1)))
    waves = torch.cat([torch.sin(scaled * rates), torch.cos(scaled * rates)], dim=1)
    return pad(waves, (0, width - 2 * half))


def _conditioning(parts: Components, spec: JobSpec, rows: Sequence[Encoded], embeds: Tensor) -> Conditioning:
    """The conditioning of a call. `rows` are the negative prompt, with guidance, and the prompt; `embeds` are
    theirs, padded."""
    width, guidance = parts.unet_shape.time_cond_width, None
    if width is not None:
        embedded = guidance_embedding(spec.guidance_scale, width).to(parts.dtype)
        guidance = copy_async(embedded, parts.device).expand(len(embeds), -1)
    found = [row.pooled for row in rows if row.pooled is not None]
    if not found:
        return Conditioning(embeds, guidance=guidance)
    pooled = torch.cat(found)
    is_zeroed = isinstance(parts.text, SdxlText) and parts.text.zeroes_empty_negative and len(rows) > 1
    if is_zeroed and rows[0].is_empty:
        embeds[:1], pooled[:1] = 0.0, 0.0
    height, width = spec.height_px, spec.width_px
    # Original size, crop corner, target size: an uncropped image of exactly this size.
    sizes = torch.tensor([[height, width, 0, 0, height, width]], dtype=torch.float32)
    return Conditioning(
        embeds, pooled, copy_async(sizes, parts.device).expand(len(embeds), -1), guidance=guidance
    )


def _calls(spec: JobSpec) -> int:
    """The UNet calls by which A1111 counts the steps of prompts that change: all that a whole image takes."""
    calls: int = getattr(getattr(diffusers, KINDS[spec.scheduler].class_name), "order", 1)
    return spec.steps * calls


def _texts(spec: JobSpec, parts: Components) -> tuple[tuple[str, str], ...]:
    """The prompts that a job needs, each with its field."""
    found = [("prompt", text) for text, _ in _composed(spec)]
    if is_guided(spec, parts) or len(found) > 1:
        found.append(("negative_prompt", _without_tags(spec.negative_prompt, spec)))
    return tuple(found)


def _composed(spec: JobSpec) -> tuple[tuple[str, float], ...]:
    """The prompts that are joined by AND, which is a part of A1111's syntax, with their weights."""
    prompt = _without_tags(spec.prompt, spec)
    is_read = spec.long_prompt_technique is PromptTechnique.SD_EMBED
    return composed(prompt) if is_read else ((prompt, 1.0),)


def _without_tags(prompt: str, spec: JobSpec) -> str:
    """A prompt as it is encoded: without LoRA tags, if these are none of its text."""
    return without_lora_tags(prompt) if spec.lora_tags else prompt


def _tags_without_effect(spec: JobSpec) -> list[str]:
    found = lora_tags(spec.negative_prompt) if spec.lora_tags else ()
    return [f"{tag.text} has no effect in the negative prompt, and is left out of it" for tag in found[:1]]


def _encode_key(order: JobOrder, loras: ActiveLoras) -> _EncodeKey:
    spec = order.spec
    embeddings = (find_source(order.models, one, ModelType.EMBEDDING) for one in spec.embeddings)
    return _EncodeKey(spec.long_prompt_technique, spec.clip_skip, tuple(dict.fromkeys(embeddings)), loras)


def _encoded_bytes(encoded: Encoded) -> int:
    return encoded.size_bytes


def _vectors_bytes(words: Words) -> int:
    return sum(held.nbytes for one in words for held in (*one.inputs, *one.outputs) if held is not None)
