"""The keys of embeddings (textual inversion): the words of a file, and which tensors are their vectors.

An embedding of SD has vectors for one text encoder, one of SDXL for two. Trainers name them by the encoder
(`clip_l`, `text_encoders_0`), by the word itself (diffusers), or both (bundles in LoRAs); SDXL's two may be
in two files.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from engine_worker.formats.inspection_result import base_of_text_width, stranger
from engine_worker.formats.lora_keys import BUNDLE_PREFIX, listed
from engine_worker.formats.metadata import MAX_WORD, MAX_WORDS
from engine_worker.formats.safetensors_header import Entry, Header
from kernel.protocol.enums import ModelBase
from kernel.protocol.errors import ModelUnreadable

MAX_VECTORS: Final = 1_000
_MIN_WIDTH: Final = 16
_CLIP_L_WIDTH: Final = 768
_CLIP_G_WIDTH: Final = 1280
_MAX_BYTES: Final = 64 << 20
"""A thousand vectors of SDXL in float32 have 8 MB."""
_FLOATS: Final = frozenset({"F64", "F32", "F16", "BF16"})
_STRANGERS: Final = ("t5", "t5xxl", "llama", "qwen")
PAIR: Final = ("learned_embeds.safetensors", "learned_embeds_2.safetensors")
"""The names of the two files of an SDXL embedding in a folder, as diffusers' trainer writes them."""
_FOLDER: Final = f"the folder with {' and '.join(PAIR)}"


class Slot(Enum):
    """What the vectors of a word are for."""

    FIRST = "the first text encoder"
    SECOND = "the second text encoder"
    FIRST_OUTPUT = "the output of the first text encoder"
    SECOND_OUTPUT = "the output of the second text encoder"


_SLOTS: Final = {
    "emb_params": Slot.FIRST,
    "*": Slot.FIRST,
    "string_to_param.*": Slot.FIRST,
    "clip_l": Slot.FIRST,
    "text_encoders_0": Slot.FIRST,
    "clip_g": Slot.SECOND,
    "text_encoders_1": Slot.SECOND,
    "clip_l_out": Slot.FIRST_OUTPUT,
    "clip_g_out": Slot.SECOND_OUTPUT,
}
_BY_LENGTH: Final = tuple(sorted(_SLOTS, key=len, reverse=True))


@dataclass(slots=True)
class EmbeddingWord:
    """One word, and where its vectors are stored."""

    word: str | None
    """None if the file has only one embedding, whose word is its name."""
    vectors: dict[Slot, tuple[Header, str]] = field(default_factory=dict)

    def entry(self, slot: Slot) -> Entry | None:
        """The tensor of a slot."""
        header, key = self.vectors.get(slot, (None, ""))
        return None if header is None else header.tensors[key]


def is_embedding(header: Header) -> bool:
    """True if the file contains only a few vectors. Tensors may have any name, often the embedding's word."""
    if not header.tensors or len(header.tensors) > 2 * MAX_WORDS:
        return False
    if not all(map(_is_vectors, header.tensors.values())):
        return False
    if len(header.tensors) == 1 or all(_split(key)[1] is not None for key in header.tensors):
        return True
    widths = {entry.shape[-1] for entry in header.tensors.values()}
    is_weight = any(key.endswith((".weight", ".bias")) for key in header.tensors)
    return len(widths) == 1 and widths.pop() >= _MIN_WIDTH and not is_weight


def read_words(headers: Sequence[Header]) -> tuple[EmbeddingWord, ...]:
    """The words of an embedding's file, or of its two files: the second is for the second text encoder.

    Raises: ModelUnreadable, if vectors are missing, do not match, or are of an unsupported kind.
    """
    if len(headers) == 1 and _is_half(headers[0]):
        raise ModelUnreadable(f"this is one of the two files of an SDXL embedding: register {_FOLDER}")
    words: dict[str | None, EmbeddingWord] = {}
    for number, header in enumerate(headers):
        for key in header.tensors:
            word, slot = _split(key)
            if key.rpartition(".")[2] in _STRANGERS:
                raise stranger("an embedding for another model family")
            if slot is None:
                is_second = number == 1 or _is_of_clip_g(header, key)
                slot = Slot.SECOND if is_second else Slot.FIRST
                # A lone tensor whose name is no word is called by the name of the model.
                word = key if _is_word(key) or len(header.tensors) > 1 else None
            elif number == 1 and slot is Slot.FIRST:
                slot = Slot.SECOND
            _put(words, word, slot, (header, key))
    return _checked(words.values())


def read_bundle(header: Header, keys: Iterable[str]) -> tuple[tuple[EmbeddingWord, ...], tuple[str, ...]]:
    """The words that come with a LoRA, and the keys that are none of their vectors.

    Raises: ModelUnreadable, as `read_words`.
    """
    words: dict[str | None, EmbeddingWord] = {}
    unread = []
    for key in keys:
        word, slot = _split(key.removeprefix(BUNDLE_PREFIX))
        if word is None or slot is None:
            unread.append(key)
        else:
            _put(words, word, slot, (header, key))
    return _checked(words.values()), tuple(unread)


def base_of(words: Sequence[EmbeddingWord]) -> ModelBase | None:
    """The base that some words were made for; None if their width is that of no released one.

    Raises: ModelUnreadable, if it is Stable Diffusion 2.
    """
    if any(Slot.SECOND in word.vectors for word in words):
        return ModelBase.SDXL
    widths = {entry.shape[-1] for word in words if (entry := word.entry(Slot.FIRST)) is not None}
    return base_of_text_width(widths.pop()) if widths else None


def named(words: Iterable[EmbeddingWord]) -> tuple[str, ...]:
    """The words that the file itself names."""
    return tuple(word.word for word in words if word.word is not None)[:MAX_WORDS]


def _split(key: str) -> tuple[str | None, Slot | None]:
    """The word and the slot of a key; no word, if the slot is all of it; no slot, if it names none."""
    if key in _SLOTS:
        return None, _SLOTS[key]
    for name in _BY_LENGTH:
        if key.endswith(f".{name}"):
            return key.removesuffix(f".{name}"), _SLOTS[name]
    return None, None


def _is_half(header: Header) -> bool:
    """True if the file beside it has the vectors for the other encoder."""
    held = header.file
    if held is None or held.name not in PAIR:
        return False
    return held.sibling(PAIR[held.name == PAIR[0]]) is not None


def _is_of_clip_g(header: Header, key: str) -> bool:
    return header.tensors[key].shape[-1:] == (_CLIP_G_WIDTH,)


def _put(
    words: dict[str | None, EmbeddingWord], word: str | None, slot: Slot, place: tuple[Header, str]
) -> None:
    if word is not None and not _is_word(word):
        raise ModelUnreadable(
            "one of its words is empty, too long, or has characters that cannot be shown: rename it"
        )
    if words.setdefault(word, EmbeddingWord(word)).vectors.setdefault(slot, place) != place:
        raise ModelUnreadable(f"it has two tensors for {slot.value}" + (f" of {word}" if word else ""))


def _is_word(text: str) -> bool:
    return bool(text.strip()) and len(text) <= MAX_WORD and text.isprintable()


def _checked(words: Iterable[EmbeddingWord]) -> tuple[EmbeddingWord, ...]:
    found = tuple(words)
    if len(found) > MAX_WORDS:
        raise ModelUnreadable(f"it has {len(found)} words; the limit is {MAX_WORDS}")
    if len(found) > 1 and any(one.word is None for one in found):
        raise ModelUnreadable("some of its vectors are of no word")
    has_two = any(Slot.SECOND in one.vectors for one in found)
    for slot in Slot:
        if len({entry.shape[-1:] for one in found if (entry := one.entry(slot)) is not None}) > 1:
            raise ModelUnreadable(f"its vectors for {slot.value} differ in width")
    for one in found:
        _check_complete(one, has_two=has_two)
        for slot, (header, key) in one.vectors.items():
            _check_entry(header.tensors[key], key)
            other = one.vectors.get(Slot.FIRST, (header, key))
            if _count(header.tensors[key]) != _count(other[0].tensors[other[1]]):
                raise ModelUnreadable(f"it has another number of vectors for {slot.value}")
    _check_widths(found)
    return found


def _check_widths(found: Sequence[EmbeddingWord]) -> None:
    """Check that the vectors fit the text encoders of a base, or those of a small model.

    Raises: ModelUnreadable.
    """
    widths = {slot: entry.shape[-1] for one in found for slot in one.vectors if (entry := one.entry(slot))}
    first, second = widths.get(Slot.FIRST), widths.get(Slot.SECOND)
    if second is None:
        base_of_text_width(first)
        if first == _CLIP_G_WIDTH:
            raise _lacks(Slot.FIRST, "")
    fits = (first or 0) <= _CLIP_L_WIDTH and (second or 0) <= _CLIP_G_WIDTH
    if second is not None:
        fits = fits and (first == _CLIP_L_WIDTH) == (second == _CLIP_G_WIDTH)
    if not fits:
        found_widths = " and ".join(str(width) for width in (first, second) if width)
        raise ModelUnreadable(
            f"its vectors have {found_widths} values: those of SD 1.5 have {_CLIP_L_WIDTH}, those of SDXL "
            f"{_CLIP_L_WIDTH} and {_CLIP_G_WIDTH}"
        )
    for slot, output in ((Slot.FIRST, Slot.FIRST_OUTPUT), (Slot.SECOND, Slot.SECOND_OUTPUT)):
        if output in widths and widths[output] != widths.get(slot):
            raise ModelUnreadable(f"its vectors for {slot.value} and its output differ in width")
    entries = [entry for one in found for slot in one.vectors if (entry := one.entry(slot))]
    size_bytes = sum(entry.size_bytes for entry in entries)
    if size_bytes > _MAX_BYTES:
        raise ModelUnreadable(f"it has {size_bytes} bytes of vectors: the limit is {_MAX_BYTES}")


def _lacks(missing: Slot, called: str) -> ModelUnreadable:
    return ModelUnreadable(
        f"it lacks the vectors{called} for {missing.value} of SDXL: if they are in another file, register "
        f"{_FOLDER}"
    )


def _check_complete(one: EmbeddingWord, *, has_two: bool) -> None:
    called = f" of {one.word}" if one.word else ""
    if Slot.FIRST in one.vectors and (Slot.SECOND in one.vectors or not has_two):
        if Slot.SECOND_OUTPUT in one.vectors and not has_two:
            raise ModelUnreadable(f"it lacks the vectors{called} for {Slot.SECOND.value}")
        return
    if Slot.FIRST in one.vectors or Slot.SECOND in one.vectors:
        missing = Slot.SECOND if Slot.FIRST in one.vectors else Slot.FIRST
        raise _lacks(missing, called)
    raise ModelUnreadable(
        f"it has vectors{called} for the output of a text encoder only, which is not supported"
    )


def _check_entry(entry: Entry, key: str) -> None:
    if entry.dtype not in _FLOATS:
        raise ModelUnreadable(f"{listed([key])} is stored as {entry.dtype}, not as floating-point numbers")
    if not _is_vectors(entry):
        raise ModelUnreadable(f"{listed([key])} is not a list of at most {MAX_VECTORS} vectors")
    if not entry.parameters:
        raise ModelUnreadable("this file has no weights")


def _count(entry: Entry) -> int:
    return entry.shape[0] if len(entry.shape) == 2 else 1


def _is_vectors(entry: Entry) -> bool:
    return len(entry.shape) == 1 or (len(entry.shape) == 2 and entry.shape[0] <= MAX_VECTORS)
