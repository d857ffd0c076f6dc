"""The embeddings of a job (textual inversion): reads their files, and makes the tokens that they add to its
prompts."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final

from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from engine_worker.engine.networks.components import Components, SdText
from engine_worker.engine.prompts.clip import width
from engine_worker.engine.prompts.embedding_tokens import EmbeddingToken, EmbeddingTokens
from engine_worker.formats.allowed_paths import open_file, resolve
from engine_worker.formats.single_file import describe_file
from kernel.protocol.enums import ModelType
from kernel.protocol.errors import JobRejected, ModelUnreadable
from kernel.protocol.model_refs import ModelSource

Vectors = tuple[Tensor, ...]
"""The vectors of an embedding, for each text encoder. Shapes: (tokens, width)."""

MAX_BYTES: Final = 64 << 20
"""A thousand vectors of SDXL in float32 have 8 MB."""

_SDXL_KEYS: Final = ("clip_l", "clip_g")


def read_vectors(source: ModelSource, parts: Components) -> Vectors:
    """Read the file of an embedding for the text encoders of this engine.

    Raises: ModelUnreadable; JobRejected, if it is not an embedding, or is one for another base.
    """
    held = open_file(resolve(source.uri, parts.roots), parts.roots)
    inspected = describe_file(held)
    if inspected.model_type is not ModelType.EMBEDDING:
        raise JobRejected(f"{source.name} is a {inspected.model_type}, not an embedding")
    size_bytes = sum(entry.size_bytes for entry in inspected.weights)
    if size_bytes > MAX_BYTES:
        raise JobRejected(f"{source.name} has {size_bytes} bytes of vectors; the limit is {MAX_BYTES}")
    try:
        with held.open() as file:
            tensors = load(file.read())
    except (OSError, SafetensorError) as error:
        raise ModelUnreadable(f"cannot read {source.name}: {error}") from error
    vectors = _assigned(source.name, tensors, parts)
    return tuple(held.to(parts.device, parts.dtype) for held in vectors)


def _assigned(name: str, tensors: dict[str, Tensor], parts: Components) -> Vectors:
    """The file's tensors in the order of the encoders."""
    if isinstance(parts.text, SdText):
        encoders = [parts.text.encoder]
        # The only tensor has any name: "emb_params" (A1111), or the word itself (diffusers).
        found = list(tensors.values()) if len(tensors) == 1 else []
    else:
        encoders = [parts.text.encoder, parts.text.encoder_2]
        found = [tensors[key] for key in _SDXL_KEYS if key in tensors]
    if len(found) != len(encoders):
        raise _misfit(name, parts, f"its tensors are {', '.join(sorted(tensors))}")
    vectors = tuple(held.reshape(-1, held.shape[-1]) for held in found)
    for held, encoder in zip(vectors, encoders, strict=True):
        if held.shape[-1] != width(encoder):
            raise _misfit(
                name, parts, f"its vectors have {held.shape[-1]} values instead of {width(encoder)}"
            )
    if len({len(held) for held in vectors}) > 1:
        raise ModelUnreadable(f"{name} has different numbers of vectors for its two text encoders")
    return vectors


def _misfit(name: str, parts: Components, why: str) -> JobRejected:
    return JobRejected(f"{name} is not an embedding for {parts.base}, the base of this engine: {why}")


def make_embedding_tokens(
    sources: Sequence[ModelSource], vectors: Sequence[Vectors], encoders: int
) -> tuple[EmbeddingTokens, ...]:
    """The tokens of some embeddings, for each text encoder.

    Raises: JobRejected, if two of them have the same word.
    """
    names = list(_names(sources))
    return tuple(
        EmbeddingTokens(
            [EmbeddingToken(called, held[number]) for called, held in zip(names, vectors, strict=True)]
        )
        for number in range(encoders)
    )


def _names(sources: Sequence[ModelSource]) -> Iterator[tuple[str, ...]]:
    """The words of each embedding: its first trigger word, and its name.

    A name that several embeddings share, such as "learned_embeds", is used only for those without a trigger
    word.
    """
    own = [(source.trigger_words or (source.name,))[0] for source in sources]
    taken = Counter(word.casefold() for word in own)
    names = Counter(source.name.casefold() for source in sources)
    for word, source in zip(own, sources, strict=True):
        if taken[word.casefold()] > 1:
            raise JobRejected(
                f"two embeddings of this job have the trigger word {word!r}: give one of them another"
            )
        name = source.name.casefold()
        yield (word,) if taken[name] or names[name] > 1 else (word, source.name)
