"""The tokenizers of checkpoints, as the engine has them, without torch and transformers.

transformers leaves the work to the package `tokenizers`, which needs neither; so does this. The parts are put
together as there. A checkpoint in one file has CLIP's own vocabulary. A folder brings files; whether these
are CLIP's is compared, and if they are not, nothing is counted, because only transformers knows what it
makes of them.
"""

import stat
from collections.abc import Sequence
from functools import lru_cache
from importlib.util import find_spec
from os import fdopen
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Final

import msgspec

from kernel.process.allowed_folders import open_within
from kernel.process.clip_vocabulary import END, END_OF_WORD, START, Vocabulary, read_vocabulary
from kernel.protocol.enums import ModelBase
from kernel.protocol.type_info import analyzed

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from tokenizers.models import BPE

ENCODERS: Final = {ModelBase.SD: ("text_encoder",), ModelBase.SDXL: ("text_encoder", "text_encoder_2")}
_PADS: Final = {"text_encoder": END, "text_encoder_2": "!"}
"""The token that fills up a chunk of each text encoder. "!" is then always a token of its own."""
_FOLDERS: Final = {"text_encoder": "tokenizer", "text_encoder_2": "tokenizer_2"}
_CONFIGS: Final = ("tokenizer_config.json", "special_tokens_map.json")
_MAX_BYTES: Final = 16 << 20
_SPLIT: Final = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
"""What CLIPTokenizer of transformers takes for words."""
_REMEMBERED: Final = 32
NOT_INSTALLED: Final = "the packages tokenizers and open_clip_torch are not installed here"
NOT_CLIPS: Final = "the checkpoint's tokenizer is not CLIP's own, so only its engine can count"


class _Token(msgspec.Struct, frozen=True):
    content: str


class _Specials(msgspec.Struct, frozen=True, kw_only=True):
    bos_token: _Token | str = START
    eos_token: _Token | str = END
    unk_token: _Token | str = END
    pad_token: _Token | str | None = None
    added_tokens_decoder: dict[str, _Token] = {}


class _Model(msgspec.Struct, frozen=True):
    vocab: dict[str, int]
    merges: list[str | tuple[str, str]]


class _Whole(msgspec.Struct, frozen=True):
    model: _Model
    added_tokens: list[_Token] = []


class Vocabularies:
    """Makes tokenizers when they are first asked for, which takes half a second and 40 MB."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._clip: Vocabulary | None = None
        self._model: BPE | None = None
        self._made: dict[str, Tokenizer] = {}
        self._pad_in = lru_cache(maxsize=_REMEMBERED)(self._read_pad)

    def of_files(self, base: ModelBase) -> "tuple[Tokenizer, ...] | str":
        """The tokenizers of a checkpoint in one file, for each text encoder; or why there are none."""
        return self._of([_PADS[name] for name in ENCODERS[base]])

    def of_folder(
        self, folder: Path, base: ModelBase, roots: Sequence[Path]
    ) -> "tuple[Tokenizer, ...] | str":
        """The tokenizers in a folder of diffusers; or why there are none."""
        with self._lock:
            if not self._is_there():
                return NOT_INSTALLED
            pads = [self._pad_of(folder / _FOLDERS[name], roots) for name in ENCODERS[base]]
        known = [pad for pad in pads if pad is not None]
        return self._of(known) if len(known) == len(pads) else NOT_CLIPS

    def _of(self, pads: Sequence[str]) -> "tuple[Tokenizer, ...] | str":
        with self._lock:
            return tuple(map(self._tokenizer, pads)) if self._is_there() else NOT_INSTALLED

    def _is_there(self) -> bool:
        if self._clip is None and find_spec("tokenizers") is not None:
            self._clip = read_vocabulary()
        return self._clip is not None

    def _tokenizer(self, pad: str) -> "Tokenizer":
        from tokenizers import AddedToken, Regex, Tokenizer, normalizers, pre_tokenizers
        from tokenizers.models import BPE

        if pad in self._made:
            return self._made[pad]
        assert self._clip is not None
        if self._model is None:
            self._model = BPE(
                vocab=self._clip.numbers,
                merges=self._clip.merges,
                unk_token=END,
                continuing_subword_prefix="",
                end_of_word_suffix=END_OF_WORD,
                fuse_unk=False,
            )
        made = Tokenizer(self._model)
        made.normalizer = normalizers.Sequence(
            [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
        )
        made.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex(_SPLIT), behavior="removed", invert=True),
                pre_tokenizers.ByteLevel(add_prefix_space=False),
            ]
        )
        specials = (START, END, pad)
        made.add_special_tokens([AddedToken(one, normalized=False, special=True) for one in specials])
        return self._made.setdefault(pad, made)

    def _pad_of(self, folder: Path, roots: Sequence[Path]) -> str | None:
        """The padding token of CLIP's own tokenizer in a folder; None, if it is another one."""
        names = ("vocab.json", "merges.txt", "tokenizer.json", "added_tokens.json", *_CONFIGS)
        try:
            marks = tuple((name, _mark(folder / name)) for name in names)
            return self._pad_in(folder, tuple(roots), marks)
        except (OSError, ValueError, RecursionError):  # msgspec's errors are ValueErrors
            return None

    def _read_pad(
        self, folder: Path, roots: tuple[Path, ...], marks: tuple[tuple[str, object], ...]
    ) -> str | None:
        """The same, for files with these marks.

        Raises: OSError, ValueError, RecursionError, if a file cannot be read.
        """
        assert self._clip is not None
        files = {name: _bytes(folder / name, roots) for name, mark in marks if mark is not None}
        clip, added = self._clip, set[str]()
        if "tokenizer.json" in files:
            whole = msgspec.json.decode(files["tokenizer.json"], type=analyzed(_Whole))
            merges = [one.split(" ") if isinstance(one, str) else list(one) for one in whole.model.merges]
            if not _is_clips(clip, whole.model.vocab, merges):
                return None
            added |= {one.content for one in whole.added_tokens}
        elif not {"vocab.json", "merges.txt"} <= files.keys():
            return None
        if "vocab.json" in files and "merges.txt" in files:
            numbers = msgspec.json.decode(files["vocab.json"], type=analyzed(dict[str, int]))
            lines = files["merges.txt"].decode().split("\n")
            merges = [line.split() for line in lines if line.strip() and not line.startswith("#version")]
            if not _is_clips(clip, numbers, merges):
                return None
        if "added_tokens.json" in files:
            added |= msgspec.json.decode(files["added_tokens.json"], type=analyzed(dict[str, int])).keys()
        return _pad_said([files[name] for name in _CONFIGS if name in files], added)


def _is_clips(clip: Vocabulary, numbers: dict[str, int], merges: Sequence[Sequence[str]]) -> bool:
    return numbers == clip.numbers and [tuple(one) for one in merges] == clip.merges


def _pad_said(configs: Sequence[bytes], added: set[str]) -> str | None:
    """The padding token, if the configurations agree on it and say nothing else than CLIP's."""
    found = [msgspec.json.decode(one, type=analyzed(_Specials)) for one in configs]
    pads = {_text(one.pad_token) for one in found if one.pad_token is not None} or {END}
    ends = {_text(name) for one in found for name in (one.eos_token, one.unk_token)}
    more = added | {token.content for one in found for token in one.added_tokens_decoder.values()}
    is_clips = {_text(one.bos_token) for one in found} <= {START} and ends <= {END}
    return pads.pop() if is_clips and len(pads) == 1 and more <= {START, END, *pads} else None


def _text(token: _Token | str | None) -> str:
    return token.content if isinstance(token, _Token) else token or ""


def _mark(path: Path) -> tuple[int, int, int] | None:
    """What differs when a file is another one; None, if there is none."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def _bytes(path: Path, roots: Sequence[Path]) -> bytes:
    """Raises: OSError, if it is not a file in one of the roots, or too long."""
    descriptor = open_within(path, roots, stat.S_ISREG)
    if descriptor is None:
        raise OSError("not a file that may be read")
    with fdopen(descriptor, "rb") as file:
        found = file.read(_MAX_BYTES + 1)
    if len(found) > _MAX_BYTES:
        raise OSError("too long")
    return found
