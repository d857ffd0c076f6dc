"""The embeddings of a job (textual inversion): reads their files, and makes the tokens that they add to its
prompts."""

from collections import Counter
from collections.abc import Iterator, Sequence

from engine_worker.engine.adapters.embedding_vectors import WordVectors, read_vectors
from engine_worker.engine.networks.components import Components, SdText
from engine_worker.engine.prompts.clip import width
from engine_worker.engine.prompts.embedding_tokens import EmbeddingToken, EmbeddingTokens
from engine_worker.formats.allowed_paths import open_file, resolve
from engine_worker.formats.component_folder import adapter_files, describe_component
from engine_worker.formats.embedding_keys import read_words
from engine_worker.formats.model_folder import ModelFolder
from engine_worker.formats.safetensors_header import Header, read_header
from engine_worker.formats.single_file import describe_file
from kernel.protocol.enums import ModelType
from kernel.protocol.errors import JobRejected, ModelUnreadable
from kernel.protocol.model_refs import ModelSource

Words = tuple[WordVectors, ...]
"""The words of an embedding."""


def read_embedding(source: ModelSource, parts: Components) -> Words:
    """Read the file or folder of an embedding for the text encoders of this engine.

    Raises: ModelUnreadable; JobRejected, if it is not an embedding, or is one for another base.
    """
    headers = _headers(source, parts)
    try:
        found = read_vectors(read_words(headers))
    except ModelUnreadable as error:
        raise ModelUnreadable(f"cannot read {source.name}: {error.detail}") from error
    return fitted(source.name, found, parts)


def _headers(source: ModelSource, parts: Components) -> list[Header]:
    path = resolve(source.uri, parts.roots)
    if path.is_dir():
        folder = ModelFolder(path, parts.roots)
        files, found = adapter_files(folder), describe_component(folder, None).model_type
    else:
        files = (open_file(path, parts.roots),)
        found = describe_file(files[0]).model_type
    if found is not ModelType.EMBEDDING:
        raise JobRejected(f"{source.name} is a {found}, not an embedding")
    return [read_header(held) for held in files]


def fitted(name: str, words: Words, parts: Components) -> Words:
    """Words for the text encoders of this engine, on its device and in its precision.

    Raises: JobRejected, if they were made for other encoders.
    """
    text = parts.text
    encoders = [text.encoder] if isinstance(text, SdText) else [text.encoder, text.encoder_2]
    for one in words:
        if len(one.inputs) != len(encoders):
            raise _misfit(name, parts, f"it has vectors for {len(one.inputs)} text encoders")
        for vectors, encoder in zip((*one.inputs, *one.outputs), [*encoders, *encoders], strict=True):
            if vectors is not None and vectors.shape[-1] != width(encoder):
                found, wanted = vectors.shape[-1], width(encoder)
                raise _misfit(name, parts, f"its vectors have {found} values instead of {wanted}")
    return tuple(
        WordVectors(
            one.word,
            tuple(held.to(parts.device, parts.dtype) for held in one.inputs),
            tuple(None if held is None else held.to(parts.device, parts.dtype) for held in one.outputs),
        )
        for one in words
    )


def _misfit(name: str, parts: Components, why: str) -> JobRejected:
    return JobRejected(f"{name} is not an embedding for {parts.base}, the base of this engine: {why}")


def make_embedding_tokens(
    sources: Sequence[ModelSource], embeddings: Sequence[Words], bundled: Words, encoders: int
) -> tuple[EmbeddingTokens, ...]:
    """The tokens of some embeddings and of the words that LoRAs bring, for each text encoder. A word that an
    embedding has is its own, not that of a LoRA.

    Raises: JobRejected, if two of them have the same word.
    """
    called = [*_called(sources, embeddings)]
    own = {name.casefold() for names, _ in called for name in names}
    called += [
        ((one.word,), one) for one in bundled if one.word is not None and one.word.casefold() not in own
    ]
    _check_distinct(called)
    return tuple(
        EmbeddingTokens(
            [EmbeddingToken(names, one.inputs[number], one.outputs[number]) for names, one in called]
        )
        for number in range(encoders)
    )


Called = tuple[tuple[str, ...], WordVectors]
"""A word by all its names, the one that is shown first."""


def _check_distinct(called: Sequence[Called]) -> None:
    for word, count in Counter(names[0].casefold() for names, _ in called).items():
        if count > 1:
            shown = next(names[0] for names, _ in called if names[0].casefold() == word)
            raise JobRejected(
                f"two embeddings of this job have the trigger word {shown!r}: give one of them another"
            )


def _called(sources: Sequence[ModelSource], embeddings: Sequence[Words]) -> Iterator[Called]:
    """The names of each word: of one alone its trigger word, else the word in its file, and the name of its
    embedding; of several in a file the words there.

    A name that several embeddings share, such as "learned_embeds", is used only for those without a word.
    """
    own = [_own(source, words) for source, words in zip(sources, embeddings, strict=True)]
    taken = Counter(word.casefold() for words in own for word in words)
    names = Counter(source.name.casefold() for source in sources)
    for source, words, texts in zip(sources, embeddings, own, strict=True):
        name = source.name.casefold()
        has_name = len(words) == 1 and not taken[name] and names[name] == 1
        for one, text in zip(words, texts, strict=True):
            yield ((text, source.name) if has_name else (text,)), one


def _own(source: ModelSource, words: Words) -> list[str]:
    if len(words) == 1:
        return [(*source.trigger_words, words[0].word or source.name)[0]]
    return [one.word or source.name for one in words]
