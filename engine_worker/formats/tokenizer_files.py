"""Checks the files of a CLIP tokenizer in a diffusers folder, without making one."""

from collections.abc import Iterable, Iterator, Mapping
from io import BufferedReader
from typing import Final, TypeVar

import msgspec
from msgspec import UNSET, UnsetType

from engine_worker.formats.allowed_paths import ModelFile
from kernel.protocol.errors import ModelUnreadable
from kernel.protocol.type_info import analyzed

_MAX_BYTES: Final = 16 << 20
"""That of CLIP has 2 MB."""
_START, _END = "<|startoftext|>", "<|endoftext|>"
CONFIGS: Final = ("tokenizer_config.json", "special_tokens_map.json")
_UNKNOWN: Final = "unk_token"
_SPECIAL: Final = ("bos_token", "eos_token", "unk_token", "pad_token")
_PAIR: Final = 2

_Words = dict[str, int]
Schema = TypeVar("Schema")


class _Token(msgspec.Struct, frozen=True):
    content: str
    id: int | None = None
    single_word: bool = False
    lstrip: bool = False
    rstrip: bool = False
    normalized: bool = True
    special: bool = False


class _Specials(msgspec.Struct, frozen=True, kw_only=True):
    bos_token: _Token | str | UnsetType | None = UNSET
    eos_token: _Token | str | UnsetType | None = UNSET
    unk_token: _Token | str | UnsetType | None = UNSET
    pad_token: _Token | str | UnsetType | None = UNSET
    added_tokens_decoder: dict[int, _Token] = {}


class _Bpe(msgspec.Struct, frozen=True):
    vocab: _Words
    merges: list[str | tuple[str, str]]


class _Whole(msgspec.Struct, frozen=True):
    model: _Bpe
    added_tokens: list[_Token] = []


def check_tokenizer(files: Mapping[str, ModelFile], vocabulary: int) -> None:
    """Check that the files make a tokenizer for a text encoder with a vocabulary of this size.

    Raises: ModelUnreadable.
    """
    added = dict(_read(files["added_tokens.json"], _Words)) if "added_tokens.json" in files else {}
    if "tokenizer.json" in files:
        whole = _read(files["tokenizer.json"], _Whole)
        more = {token.content: token.id or 0 for token in whole.added_tokens}
        _check(whole.model.vocab, {**added, **more}, _split(whole.model.merges), files, vocabulary)
    if {"vocab.json", "merges.txt"} <= files.keys():
        _check(_read(files["vocab.json"], _Words), added, _merges(files["merges.txt"]), files, vocabulary)


def known_options(held: ModelFile) -> dict[str, object]:
    """The options of a tokenizer's configuration that were checked, so that it is made by no other.

    Raises: ModelUnreadable.
    """
    names = _Specials.__struct_fields__
    return {name: value for name, value in _read(held, dict[str, object]).items() if name in names}


def _check(
    words: _Words,
    added: _Words,
    merges: Iterable[list[str]],
    files: Mapping[str, ModelFile],
    vocabulary: int,
) -> None:
    found = [_read(files[name], _Specials) for name in CONFIGS if name in files]
    listed = {token.content: number for one in found for number, token in one.added_tokens_decoder.items()}
    known = {**words, **added, **listed}
    missing = {_START, _END, *_specials(found)} - known.keys()
    if missing:
        raise ModelUnreadable(f"the checkpoint's tokenizer lacks {', '.join(sorted(missing)):.200}")
    if not 0 <= min(known.values()) <= max(known.values()) < vocabulary:
        raise ModelUnreadable(
            f"the checkpoint's tokenizer makes tokens up to {max(known.values())}, but its text encoder "
            f"knows {vocabulary}"
        )
    for pair in merges:
        if len(pair) != _PAIR or not {*pair, "".join(pair)} <= words.keys():
            raise ModelUnreadable(f"the checkpoint's tokenizer has an invalid merge: {' '.join(pair)!r:.80}")


def _specials(found: Iterable[_Specials]) -> Iterator[str]:
    """The special tokens that the tokenizer would add to the vocabulary if it had them not.

    Raises: ModelUnreadable, if one is missing that prompts need.
    """
    for one in found:
        for special in _SPECIAL:
            said = getattr(one, special)
            if said is None and special != _UNKNOWN:
                raise ModelUnreadable(
                    f"the checkpoint's tokenizer has no {special}: its configuration says null"
                )
            if isinstance(said, str | _Token):
                yield said if isinstance(said, str) else said.content


def _merges(held: ModelFile) -> Iterator[list[str]]:
    """All but the version in the first line."""
    try:
        lines = _bytes(held).decode().split("\n")
    except UnicodeDecodeError as error:
        raise ModelUnreadable(f"{held.name} is no UTF-8") from error
    return (line.split() for line in lines if line.strip() and not line.startswith("#version"))


def _split(merges: list[str | tuple[str, str]]) -> Iterator[list[str]]:
    return (merge.split(" ") if isinstance(merge, str) else list(merge) for merge in merges)


def _read(held: ModelFile, schema: type[Schema]) -> Schema:
    try:
        return msgspec.json.decode(_bytes(held), type=analyzed(schema))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ModelUnreadable(f"{held.name} is invalid: {error}") from error


def _bytes(held: ModelFile) -> bytes:
    try:
        with BufferedReader(held.open()) as file:
            text = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise ModelUnreadable(f"{held.name} cannot be read: {error.strerror}") from error
    if len(text) > _MAX_BYTES:
        raise ModelUnreadable(f"{held.name} is too long")
    return text
