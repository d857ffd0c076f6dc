"""Counts the tokens of a prompt in each chunk, as the engine puts them there, and where the chunks stand.

The engine's side is `engine_worker/engine/prompts/weighted.py` and `plain.py`; a property test compares.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from kernel.protocol.enums import PromptTechnique
from kernel.protocol.prompt_syntax.a1111 import Fragment, Section, parse
from kernel.protocol.prompt_syntax.embedding_words import EmbeddingWords
from kernel.protocol.prompt_syntax.prompt_editing import composed_in_place, texts_by_call
from kernel.protocol.prompts import places_without_lora_tags, without_lora_tags

if TYPE_CHECKING:
    from tokenizers import Tokenizer

CHUNK_TOKENS: Final = 75
"""Positions of the CLIP text encoders, without start and end."""
MAX_COUNTED: Final = 30_000
"""Characters of a prompt, and of all texts that it has over the steps."""
COMPEL: Final = "compel divides a prompt itself"
TOO_LONG: Final = f"prompts of more than {MAX_COUNTED:,} characters are not counted"


class NotCounted(Exception):
    """Why tokens cannot be counted."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Tokens that are encoded together, and where they stand in the prompt, if they do."""

    tokens: int
    begin: int | None = None
    end: int | None = None


@dataclass(frozen=True, slots=True)
class Count:
    """The tokens of a prompt for one text encoder."""

    chunks: tuple[Chunk, ...]
    dropped: str = ""
    """The end of the prompt that is cut off."""


@dataclass(frozen=True, slots=True)
class Reading:
    """How a prompt is read."""

    technique: PromptTechnique
    lora_tags: bool
    steps: int
    is_negative: bool = False
    """AND is text in a negative prompt."""


@dataclass(frozen=True, slots=True)
class Word:
    """A word of an embedding; `vectors` is None if their number is not known."""

    names: tuple[str, ...]
    vectors: int | None


Place = Callable[[int], int]
"""The place in the prompt of a character of a text that was made from it."""
_Span = tuple[int, int]
"""Where something begins and ends in the prompt."""
_Group = tuple[int, int, int]
"""Tokens that stay together: how many, and where they begin and end in a text."""


@dataclass(frozen=True, slots=True)
class _Text:
    """What a prompt is, or is at some steps."""

    sections: Sequence[Section]
    place: Place | None
    """None: it is not a part of the prompt."""


@dataclass(frozen=True, slots=True)
class ReadPrompt:
    """A prompt whose syntax was read, which is the same for all text encoders."""

    prompt: str
    plain: str
    place: Place
    joined: tuple[tuple[_Text, ...], ...] | None
    """Those that AND joins, each at all steps; None: the prompt has no syntax."""


def read_prompt(prompt: str, reading: Reading) -> ReadPrompt:
    """Read the syntax of a prompt.

    Raises: NotCounted; JobRejected, if a job with this prompt would be.
    """
    if len(prompt) > MAX_COUNTED:
        raise NotCounted(TOO_LONG)
    if reading.technique is PromptTechnique.COMPEL:
        raise NotCounted(COMPEL)
    places = places_without_lora_tags(prompt) if reading.lora_tags else range(len(prompt))
    plain = without_lora_tags(prompt) if reading.lora_tags else prompt
    if reading.technique is PromptTechnique.NONE:
        return ReadPrompt(prompt, plain, places.__getitem__, None)
    composed = ((plain, 1.0, 0),) if reading.is_negative else composed_in_place(plain)
    joined = tuple(_over_steps(text, reading.steps, _shifted(places, begin)) for text, _, begin in composed)
    return ReadPrompt(prompt, plain, places.__getitem__, joined)


def _over_steps(text: str, steps: int, place: Place) -> tuple[_Text, ...]:
    texts = dict.fromkeys(texts_by_call(text, steps))
    if len(texts) == 1:
        return (_Text(parse(text), place),)
    if sum(map(len, texts)) > MAX_COUNTED:
        raise NotCounted(TOO_LONG)
    return tuple(_Text(parse(one), None) for one in texts)


class Counter:
    """Counts for one text encoder."""

    def __init__(self, tokenizer: "Tokenizer", words: Sequence[Word]) -> None:
        self._tokenizer = tokenizer
        self._words = words
        names = [(name, number) for number, word in enumerate(words) for name in word.names]
        self._names = EmbeddingWords(names)

    def count(self, read: ReadPrompt) -> Count:
        """The tokens of a prompt; of one that changes, those of its longest text.

        Raises: NotCounted.
        """
        if read.joined is None:
            return self._plain(read)
        chunks: list[Chunk] = []
        for texts in read.joined:
            found = [self._chunks(one.sections, one.place) for one in texts]
            longest = max(found, key=_size)
            chunks += longest
        return Count(tuple(chunks))

    def _plain(self, read: ReadPrompt) -> Count:
        place = read.place
        groups = [(begin, end) for count, begin, end in self._spelled(read.plain) for _ in range(count)]
        kept = [(place(begin), place(_last(begin, end)) + 1) for begin, end in groups[:CHUNK_TOKENS]]
        lost = groups[CHUNK_TOKENS:]
        dropped = read.prompt[place(lost[0][0]) :].strip() if lost else ""
        return Count((_chunk(kept, len(kept)),), dropped)

    def _chunks(self, sections: Sequence[Section], place: Place | None) -> Sequence[Chunk]:
        chunks = [chunk for section in sections for chunk in self._chunks_of(section, place)]
        return chunks[:-1] if len(chunks) > 1 and not chunks[-1].tokens else chunks

    def _chunks_of(self, section: Section, place: Place | None) -> Iterator[Chunk]:
        held, tokens = list[_Span](), 0
        for fragment in section:
            for count, begin, end in self._spelled(fragment.text):
                where = _placed(fragment, begin, end, place)
                for part in _parts(count):
                    if tokens + part > CHUNK_TOKENS:
                        yield _chunk(held, tokens)
                        held, tokens = [], 0
                    held += [where] if where is not None else []
                    tokens += part
        yield _chunk(held, tokens)

    def _spelled(self, text: str) -> Iterator[_Group]:
        for begin, end, number in self._names.split(text):
            if number is None:
                encoding = self._tokenizer.encode(text[begin:end], add_special_tokens=False)
                yield from ((1, begin + first, begin + last) for first, last in encoding.offsets)
            elif (vectors := self._words[number].vectors) is None:
                raise NotCounted(f"the number of tokens of {self._words[number].names[0]} is not known")
            else:
                yield vectors, begin, end


def _parts(tokens: int) -> Iterator[int]:
    """More tokens than a chunk has are divided."""
    for begin in range(0, tokens, CHUNK_TOKENS):
        yield min(CHUNK_TOKENS, tokens - begin)


def _size(chunks: Sequence[Chunk]) -> tuple[int, int]:
    return len(chunks), sum(chunk.tokens for chunk in chunks)


def _placed(fragment: Fragment, begin: int, end: int, place: Place | None) -> _Span | None:
    if place is None:
        return None
    return place(fragment.place_of(begin)), place(fragment.place_of(_last(begin, end))) + 1


def _last(begin: int, end: int) -> int:
    return max(begin, end - 1)


def _chunk(held: Sequence[_Span], tokens: int) -> Chunk:
    if not held:
        return Chunk(tokens)
    return Chunk(tokens, held[0][0], max(end for _, end in held))


def _shifted(places: Sequence[int], begin: int) -> Place:
    return lambda at: places[begin + at]
