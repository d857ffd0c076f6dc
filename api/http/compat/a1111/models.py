"""Models under the names that A1111's clients know: `file.safetensors [hash]`, or a part of that."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final
from urllib.parse import unquote

from api.http.compat.a1111.answers import CheckpointItem, EmbeddingItem, Embeddings, LoraItem, VaeItem
from kernel.protocol.enums import ModelBase, ModelState, ModelType
from kernel.protocol.errors import ModelMissing, of_field, wrong_field
from kernel.protocol.rows import ModelRow
from kernel.protocol.sources import stem_of
from kernel.protocol.values import MAX_MODELS
from kernel.views.engines import EngineFilter, find_engine, list_engines
from kernel.views.models import ModelFilter, find_model, list_models
from kernel.views.reader import Reader
from kernel.views.rows import EngineRow

MOST: Final = 10_000
"""Models or engines that are looked at."""
HASH_DIGITS: Final = 10
_LISTED: Final = 5
_TITLE: Final = re.compile(r"(?P<name>.*?)\s*\[(?P<hash>[0-9a-fA-F]{6,64})\]\s*", re.DOTALL)
_HASH: Final = re.compile(r"[0-9a-fA-F]{8,64}")
_WIDTHS: Final = {ModelBase.SD: 768, ModelBase.SDXL: 768 + 1280}
"""Numbers of one vector of an embedding, for all text encoders of the base."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """The checkpoint that a caller means, through one of its engines or directly."""

    checkpoint: ModelRow
    engine: EngineRow | None = None

    @property
    def title(self) -> str:
        named = None if self.engine is None else self.engine.name
        return named or title_of(self.checkpoint)

    @property
    def fields(self) -> dict[str, object]:
        """The fields of a job for it."""
        if self.engine is not None:
            return {"engine_id": self.engine.engine_id}
        return {"checkpoint": self.checkpoint.model_id}


class ModelLists:
    """Looks models up in the database, and lists them."""

    def __init__(self, reader: Reader, default: str | None) -> None:
        """`default`: the engine or checkpoint of jobs that name none (`engines.default`)."""
        self._reader = reader
        self._default = default

    def ready(self, kind: ModelType) -> list[ModelRow]:
        """The ready models of a type, by name."""
        wanted = ModelFilter(status=ModelState.READY, model_type=kind)
        rows = list_models(self._reader, wanted, MOST).items
        return sorted(rows, key=lambda row: row.name.casefold())

    def find(self, field: str, text: str, kind: ModelType) -> ModelRow:
        """The model that a text means.

        Raises: ModelMissing, with those that there are; InvalidField, if it means several.
        """
        rows = self.ready(kind)
        found = _meant(text, rows)
        if not found:
            known = ", ".join(title_of(row) for row in rows[:_LISTED]) or "none"
            raise of_field(ModelMissing, field, f"no {kind} is called {text[:100]!r}; there are: {known}")
        if len(found) > 1:
            several = ", ".join(f"{title_of(row)} (id {row.model_id})" for row in found[:_LISTED])
            raise wrong_field(field, f"means several models, name one of them by its id: {several}")
        return found[0]

    def chosen(self, field: str, text: str) -> Chosen:
        """The checkpoint, or else the engine, that a text means. Raises: as `find`."""
        try:
            return Chosen(self.find(field, text, ModelType.CHECKPOINT))
        except ModelMissing:
            engine = find_engine(self._reader, text)
            row = None if engine is None else find_model(self._reader, engine.spec.checkpoint)
            if engine is None or row is None:
                raise
            return Chosen(row, engine)

    def default(self) -> Chosen | None:
        """What jobs are for that name neither; None, if they have to."""
        if self._default is not None:
            try:
                return self._by_our_name(self._default)
            except (ModelMissing, LookupError):
                return None
        ready = self.ready(ModelType.CHECKPOINT)
        return Chosen(ready[0]) if len(ready) == 1 else None

    def _by_our_name(self, text: str) -> Chosen:
        engine = find_engine(self._reader, text)
        row = None if engine is None else find_model(self._reader, engine.spec.checkpoint)
        return self.chosen("engines.default", text) if row is None else Chosen(row, engine)

    def checkpoints(self) -> tuple[CheckpointItem, ...]:
        """All checkpoints, then the engines that have a name."""
        rows = self.ready(ModelType.CHECKPOINT)
        by_id = {row.model_id: row for row in rows}
        engines = list_engines(self._reader, EngineFilter(), MOST).items
        named = [one for one in engines if one.name is not None and one.spec.checkpoint in by_id]
        return (
            *(_checkpoint(Chosen(row)) for row in rows),
            *(_checkpoint(Chosen(by_id[one.spec.checkpoint], one)) for one in reversed(named)),
        )

    def vaes(self) -> tuple[VaeItem, ...]:
        rows = self.ready(ModelType.VAE)
        return tuple(VaeItem(model_name=file_name(row), filename=row.uri) for row in rows)

    def loras(self) -> tuple[LoraItem, ...]:
        """`metadata` has what is known of each."""
        return tuple(
            LoraItem(
                name=row.name,
                alias=row.name,
                path=row.uri,
                metadata={"trigger_words": words_of(row), "base": row.model_base, "sha256": row.sha256},
            )
            for row in self.ready(ModelType.LORA)
        )

    def embeddings(self, base: ModelBase | None) -> Embeddings:
        """Those for a base, and those for another one."""
        rows = self.ready(ModelType.EMBEDDING)
        fits = [row for row in rows if base is None or row.model_base in (None, base)]
        others = [row for row in rows if row not in fits]
        return Embeddings(loaded=dict(map(_embedding, fits)), skipped=dict(map(_embedding, others)))

    def embeddings_in(self, prompts: str, base: ModelBase | None) -> list[str]:
        """The ids of the embeddings whose words are in these prompts, which A1111 needs no list of."""
        found: dict[str, str] = {}
        for row in self.ready(ModelType.EMBEDDING):
            word = (words_of(row) or (row.name,))[0]
            is_fit = base is None or row.model_base in (None, base)
            if is_fit and any(_is_word_in(one, prompts) for one in {word, row.name}):
                found.setdefault(word.casefold(), row.model_id)
        return list(found.values())[:MAX_MODELS]


def title_of(row: ModelRow) -> str:
    """As A1111 shows a checkpoint."""
    digits = short_hash(row)
    return file_name(row) if digits is None else f"{file_name(row)} [{digits}]"


def file_name(row: ModelRow) -> str:
    """Its name, with the suffix of its file."""
    suffix = PurePosixPath(_path(row)).suffix
    is_file = stem_of(f"x{suffix}") == "x" and bool(suffix)
    return f"{row.name}{suffix}" if is_file and not row.name.lower().endswith(suffix.lower()) else row.name


def short_hash(row: ModelRow) -> str | None:
    """The first digits of its sha256, as A1111 shows them."""
    return None if row.sha256 is None else row.sha256[:HASH_DIGITS]


def words_of(row: ModelRow) -> tuple[str, ...]:
    """Its trigger words: those that a person gave, else its own."""
    return row.trigger_words or row.found_words


def _meant(text: str, rows: Sequence[ModelRow]) -> list[ModelRow]:
    """The models that a text means: by id, by hash, by name, or by the name of the file."""
    titled = _TITLE.fullmatch(text)
    name = (titled["name"] if titled else text).replace("\\", "/").rpartition("/")[2].strip()
    digits = titled["hash"] if titled else text if _HASH.fullmatch(text) else ""
    by_id = [row for row in rows if row.model_id == text]
    by_hash = [row for row in rows if digits and (row.sha256 or "").startswith(digits.lower())]
    # Two models may have the same file; then the name decides between them.
    return by_id or _called(name, by_hash) or by_hash[:1] or _called(name, rows)


def _called(name: str, rows: Iterable[ModelRow]) -> list[ModelRow]:
    rows = list(rows)
    exact = [row for row in rows if row.name == name]
    return exact or [row for row in rows if name.casefold() in map(str.casefold, _names_of(row))]


def _names_of(row: ModelRow) -> set[str]:
    file = PurePosixPath(_path(row)).name
    return {row.name, stem_of(row.name), file_name(row), file, stem_of(file)}


def _path(row: ModelRow) -> str:
    return unquote(row.uri.partition("?")[0])


def _checkpoint(chosen: Chosen) -> CheckpointItem:
    row = chosen.checkpoint
    named = None if chosen.engine is None else chosen.engine.name
    return CheckpointItem(
        title=chosen.title,
        model_name=named or stem_of(row.name),
        hash=short_hash(row),
        sha256=row.sha256,
        filename=row.uri,
    )


def _embedding(row: ModelRow) -> tuple[str, EmbeddingItem]:
    width = _WIDTHS[row.model_base or ModelBase.SD]
    return row.name, EmbeddingItem(shape=width, vectors=max(1, (row.parameters or 0) // width))


def _is_word_in(word: str, text: str) -> bool:
    """True if it stands there as a word of its own, in any case."""
    return re.search(rf"(?<!\w){re.escape(word)}(?!\w)", text, re.IGNORECASE) is not None
