"""What lists are searched by, as one expression of a full-text index and a range of its rows (ADR 0047).

The index has a row for each job (and one for each image): its prompt, and as `facts` a term for everything
else, such as `s42` for the seed 42. Ids are in hexadecimal digits, so that each is a single term.
"""

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Final

from kernel.protocol.enums import ENDED_JOB_STATES, ModelType
from kernel.protocol.ids import EngineId, KeyId
from kernel.views.page import LAST_NUMBER, Order, number_cursor
from kernel.views.reader import Reader, SqlValue
from kernel.views.rows import Found, Range

OPEN: Final = "open"
ENDED: Final = tuple(sorted(ENDED_JOB_STATES))
KEPT: Final = "kept"
GONE: Final = "gone"
PERIOD_MS: Final = 21_600_000
"""Of the table time_range: six hours."""
EVERYWHERE: Final = Range(0, LAST_NUMBER)


@dataclass(frozen=True, slots=True)
class Search:
    """What jobs and images are looked for by; None lets every one through. Each narrows the others."""

    engine_id: EngineId | None = None
    key_id: KeyId | None = None
    """The API key that they belong to."""
    prompt: str | None = None
    """Whole words in any order and any case; what is in double quotes in this order. See `words_of`."""
    engine: str | None = None
    """As `checkpoint` and `lora` an id or a name; several may have the name."""
    checkpoint: str | None = None
    lora: str | None = None
    seed: int | None = None
    width_px: int | None = None
    height_px: int | None = None
    created_after_ms: int | None = None
    """From this moment on."""
    created_before_ms: int | None = None
    """Before this moment."""
    tag: str | None = None
    favorite: bool | None = None
    """These two are of images alone."""

    @property
    def is_search(self) -> bool:
        """Whether it asks for more than the lists of an engine or a state have an index for."""
        said = (field.name for field in fields(self) if getattr(self, field.name) is not None)
        return any(name not in self._indexed for name in said)

    @property
    def _indexed(self) -> tuple[str, ...]:
        return ("engine_id", "status", "is_gone", "job_id")


def words_of(prompt: str) -> list[str]:
    """The words and the quoted phrases to look for, without those that no index has: of punctuation alone."""
    parts = prompt.replace("\0", " ").split('"')  # FTS5 would end its expression there
    texts = [word for part in parts[::2] for word in part.split()] + parts[1::2]
    return [text for text in texts if any(_is_indexed(character) for character in text)]


def match_of(reader: Reader, wanted: Search, states: Sequence[str]) -> str | None:
    """The expression for FTS5; None, if nothing can match it."""
    words = [] if wanted.prompt is None else words_of(wanted.prompt)
    if wanted.prompt is not None and not words:
        return None
    terms = [f"prompt : ({_all(words)})"] if words else []
    if wanted.favorite:
        terms.append("facts : favorite")
    if wanted.tag is not None:
        terms.append(f"facts : t{_hex(wanted.tag)}")
    numbers = {"s": wanted.seed, "w": wanted.width_px, "h": wanted.height_px}
    terms += [f"facts : {letter}{number}" for letter, number in numbers.items() if number is not None]
    if wanted.lora is not None:
        terms.append(_any(f"l{_hex(lora)}" for lora in _models_meant(reader, wanted.lora, ModelType.LORA)))
    is_stated = False
    if wanted.engine is not None:
        engines = [engine.id for engine in reader.all("engines_meant", Found, {"engine": wanted.engine})]
        if not engines:
            return None
        terms.append(_stated("e", states, engines))
        is_stated = True
    if wanted.engine_id is not None:
        terms.append(_stated("e", states, [wanted.engine_id]))
        is_stated = True
    if wanted.key_id is not None:
        terms.append(_stated("k", states, [wanted.key_id]))
        is_stated = True
    if wanted.checkpoint is not None:
        checkpoints = _models_meant(reader, wanted.checkpoint, ModelType.CHECKPOINT)
        terms.append(_stated("c", states, checkpoints))
        is_stated = True
    if not is_stated and (len(states) == 1 or not terms):
        terms.append(_any(states))
    unwanted = " NOT facts : favorite" if wanted.favorite is False else ""
    return f"({' AND '.join(terms)}){unwanted}"


def places_after(after: str | None, order: Order, within: Range = EVERYWHERE) -> Range:
    """The places, of those that are wanted, that come after a cursor.

    Raises: InvalidField, if `after` is no cursor of such a list.
    """
    cursor = number_cursor(after, order)
    if order is Order.NEWEST:
        return Range(within.low, min(within.high, cursor - 1))
    return Range(max(within.low, cursor + 1), within.high)


def search_values(
    reader: Reader, wanted: Search, kind: str, states: Sequence[str], places: Range
) -> dict[str, SqlValue] | None:
    """The parameters of a query that searches `kind` between two places; None, if nothing can match."""
    match = match_of(reader, wanted, states)
    periods = {"first": _period(wanted.created_after_ms), "last": _period(wanted.created_before_ms)}
    ever = reader.one("range_of_periods", Range, {"kind": kind, **periods})
    if match is None or ever is None:
        return None
    return {
        "match": match,
        "low": max(ever.low, places.low),
        "high": min(ever.high, places.high),
        "created_after_ms": wanted.created_after_ms or 0,
        "created_before_ms": LAST_NUMBER if wanted.created_before_ms is None else wanted.created_before_ms,
    }


def _is_indexed(character: str) -> bool:
    """As FTS5's tokenizer unicode61 sees it: letters, numbers and private characters are of a word."""
    category = unicodedata.category(character)
    return category[0] in "LN" or category == "Co"


def _all(texts: Iterable[str]) -> str:
    return " AND ".join(f'"{text}"' for text in texts)


def _any(terms: Iterable[str]) -> str:
    return f"facts : ({' OR '.join(terms)})"


def _stated(letter: str, states: Sequence[str], ids: Iterable[str]) -> str:
    """One of these ids in one of these states."""
    return _any(f"{state}{letter}{_hex(one)}" for one in ids for state in states)


def _models_meant(reader: Reader, name: str, model_type: ModelType) -> list[str]:
    """The ids that a name can stand for, which may be an id itself."""
    named = reader.all("models_meant", Found, {"name": name, "model_type": model_type})
    return sorted({name, *(model.id for model in named)})


def _hex(text: str) -> str:
    """As hex() of SQLite."""
    return text.encode().hex().upper()


def _period(at_ms: int | None) -> int | None:
    return None if at_ms is None else at_ms // PERIOD_MS
