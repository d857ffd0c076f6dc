"""From a job's prompts to what the UNet is told: text encoders, guidance and SDXL's sizes."""

from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

import torch
from torch import Tensor

from engine_worker.engine.adapters.resolve_model import find_source
from engine_worker.engine.networks.components import Components, Conditioning, SdText, SdxlText
from engine_worker.engine.networks.offload import LoadModules
from engine_worker.engine.prompts.embeddings import Vectors, make_embedding_tokens, read_vectors
from engine_worker.engine.prompts.encoded import Encode, Encoded
from engine_worker.engine.prompts.parsed_prompts import ParsedPrompt, ParsedPromptCache, naming
from engine_worker.engine.prompts.plain import encode_plain
from engine_worker.engine.prompts.reader import MAX_TOKENS, Readers, make_readers
from engine_worker.engine.runtime.cuda_stream import copy_async
from engine_worker.engine.runtime.lru_cache import Identity, LruCache, ModelCache
from kernel.protocol.enums import ModelType, PromptTechnique
from kernel.protocol.model_refs import ModelSource
from kernel.protocol.specs import JobOrder, JobSpec

CACHE_BYTES: Final = 32 << 20
"""On the engine's device: a hundred prompts of SDXL with one chunk each, in half precision."""
_MAX_EMBEDDINGS: Final = 256
_MAX_VECTORS_BYTES: Final = 16 << 20
"""An embedding of 16 vectors for SDXL has 130 KB."""

ActiveLoras = tuple[tuple[Identity, float], ...]
"""The LoRAs that the text encoders wear, with their weights."""


@dataclass(frozen=True, slots=True)
class EncodedPrompts:
    """A job's prompts, encoded once for all of its images."""

    conditioning: Conditioning
    warnings: tuple[str, ...]
    """Whole sentences for the job's owner."""


@dataclass(frozen=True, slots=True)
class ParsedPrompts:
    """A job's prompts, their texts read; without guidance the negative one is not needed."""

    prompt: ParsedPrompt
    negative: ParsedPrompt | None


@dataclass(frozen=True, slots=True)
class _EncodeKey:
    """All that decides, beside the text, how a prompt is encoded by an engine's text encoders."""

    technique: PromptTechnique
    clip_skip: int | None
    embeddings: tuple[ModelSource, ...]
    loras: ActiveLoras


@dataclass(frozen=True, slots=True)
class _EncodeScope:
    """The prompts of one job while they are encoded."""

    setting: _EncodeKey
    readers: Readers
    loaded: LoadModules
    stay: ExitStack

    def encoded(self, encode: Encode) -> Encoded:
        """Encode one of them. The text encoders are brought for the first that has to be, and stay for the
        others; for what is remembered they are not."""
        self.stay.enter_context(self.loaded())
        return encode(self.readers)


class PromptEncoder:
    """Encodes the prompts of one engine's jobs, and remembers those that were used last.

    The text encoders and their tokenizers leave every call as they came into it. `condition` is for the
    stepping thread, the other methods are for every thread.
    """

    def __init__(self, parts: Components, cache_bytes: int = CACHE_BYTES) -> None:
        self._parts = parts
        self._prompts: LruCache[tuple[str, _EncodeKey], Encoded] = LruCache(
            max_bytes=cache_bytes, size_bytes=_encoded_bytes
        )
        self._vectors: ModelCache[Vectors] = ModelCache(
            partial(read_vectors, parts=parts),
            _vectors_bytes,
            max_count=_MAX_EMBEDDINGS,
            max_bytes=_MAX_VECTORS_BYTES,
        )
        self._scripts = ParsedPromptCache()

    def has_words(self, order: JobOrder) -> bool:
        """True if reading the texts of a job's prompts takes no time."""
        return all(
            self._scripts.has(text, order.spec.long_prompt_technique) for _, text in _texts(order.spec)
        )

    def has_vectors(self, order: JobOrder) -> bool:
        """True if the files of a job's embeddings are read."""
        return all(map(self._vectors.has, _setting(order, ()).embeddings))

    def read(self, order: JobOrder) -> ParsedPrompts:
        """Read the texts of a job's prompts: the package that does it is imported first.

        Raises: JobRejected, if they cannot be read as the job says; NotInstalled, if that needs a package
        that is not there.
        """
        scripts: list[ParsedPrompt] = []
        for field, text in _texts(order.spec):
            with naming(field):
                scripts.append(self._scripts.read(text, order.spec.long_prompt_technique))
        prompt, *negative = scripts
        return ParsedPrompts(prompt, negative[0] if negative else None)

    def load_vectors(self, order: JobOrder) -> None:
        """Read the files of a job's embeddings. Raises: JobRejected; ModelUnreadable."""
        for source in _setting(order, ()).embeddings:
            self._vectors.take(source)

    @torch.inference_mode()
    def condition(
        self, order: JobOrder, loras: ActiveLoras = (), words: ParsedPrompts | None = None
    ) -> EncodedPrompts:
        """Encode a job's prompts; without guidance the negative prompt is not needed, nor encoded.

        `loras` are those that the text encoders wear, `words` what `read` gave; without them it is read now.

        Raises: JobRejected, if they cannot be read as the job says; ModelUnreadable, if the file of an
        embedding cannot; NotInstalled, if the technique needs a package that is not there.
        """
        setting, words = _setting(order, loras), words or self.read(order)
        with ExitStack() as stay:
            scope = _EncodeScope(setting, self._readers(setting), self._parts.text.loaded, stay)
            prompt = self._encoded("prompt", words.prompt, scope)
            rows, warnings = [prompt], [f"the prompt {remark}" for remark in prompt.remarks]
            if words.negative is not None:
                negative = self._encoded("negative_prompt", words.negative, scope)
                rows = [negative, prompt]
                warnings += [f"the negative prompt {remark}" for remark in negative.remarks]
            longest = max(row.tokens for row in rows)
            embeds = torch.cat([self._padded(row, longest, scope) for row in rows])
        pooled = [row.pooled for row in rows if row.pooled is not None]
        conditioning = _conditioning(self._parts, order.spec, embeds, torch.cat(pooled) if pooled else None)
        return EncodedPrompts(conditioning, tuple(warnings))

    def _readers(self, setting: _EncodeKey) -> Readers:
        sources = setting.embeddings
        vectors = [self._vectors.take(source) for source in sources]
        encoders = 1 if isinstance(self._parts.text, SdText) else 2
        return make_readers(self._parts, make_embedding_tokens(sources, vectors, encoders), setting.clip_skip)

    def _encoded(self, field: str, script: ParsedPrompt, scope: _EncodeScope) -> Encoded:
        def encode() -> Encoded:
            with naming(field):
                encoded = scope.encoded(script.encode)
            return replace(encoded, remarks=(*encoded.remarks, *script.remarks))

        return self._prompts.get((script.text, scope.setting), encode)

    def _padded(self, row: Encoded, tokens: int, scope: _EncodeScope) -> Tensor:
        """The row with as many chunks as its partner, of which the further ones say nothing."""
        if row.tokens == tokens:
            return row.embeds
        nothing = replace(scope.setting, technique=PromptTechnique.NONE)
        empty = self._prompts.get(("", nothing), lambda: scope.encoded(partial(encode_plain, "")))
        return torch.cat([row.embeds, empty.embeds.repeat(1, (tokens - row.tokens) // MAX_TOKENS, 1)], dim=1)


def is_guided(spec: JobSpec) -> bool:
    """True where the negative prompt counts. At 1 and below there is no guidance, as in diffusers: 0 is how
    distilled checkpoints are asked to do without."""
    return spec.guidance_scale > 1.0


def _conditioning(parts: Components, spec: JobSpec, embeds: Tensor, pooled: Tensor | None) -> Conditioning:
    if pooled is None:
        return Conditioning(embeds)
    if isinstance(parts.text, SdxlText) and parts.text.zeroes_empty_negative and not spec.negative_prompt:
        # The conditional row is the last one, and without guidance the only one.
        embeds[:-1], pooled[:-1] = 0.0, 0.0
    height, width = spec.height_px, spec.width_px
    # Original size, the crop's corner, target size: an uncropped image of just this size.
    sizes = torch.tensor([[height, width, 0, 0, height, width]], dtype=torch.float32)
    return Conditioning(embeds, pooled, copy_async(sizes, parts.device).expand(len(embeds), -1))


def _texts(spec: JobSpec) -> tuple[tuple[str, str], ...]:
    """The prompts that a job needs, each with its field."""
    prompt = ("prompt", spec.prompt)
    return (prompt, ("negative_prompt", spec.negative_prompt)) if is_guided(spec) else (prompt,)


def _setting(order: JobOrder, loras: ActiveLoras) -> _EncodeKey:
    spec = order.spec
    embeddings = (find_source(order.models, one, ModelType.EMBEDDING) for one in spec.embeddings)
    return _EncodeKey(spec.long_prompt_technique, spec.clip_skip, tuple(dict.fromkeys(embeddings)), loras)


def _encoded_bytes(encoded: Encoded) -> int:
    return encoded.size_bytes


def _vectors_bytes(vectors: Vectors) -> int:
    return sum(held.nbytes for held in vectors)
