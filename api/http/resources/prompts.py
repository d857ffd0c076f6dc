"""/v1/prompts/tokens: how many tokens a prompt has, and where its chunks are."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import falcon

from api.http.contract.job_input import LATER_FIELDS
from api.http.contract.model_names import ModelNames
from api.http.contract.prompt_types import (
    EncoderTokens,
    PromptTokens,
    TokenChunk,
    TokenCounts,
    TokensInput,
    check_tokens,
)
from api.http.contract.request_parsing import BodyReader, refuse_key
from api.http.contract.responses import send
from api.http.contract.validation_errors import ValidationErrors
from api.http.prompt_tokens.counting import (
    CHUNK_TOKENS,
    Count,
    Counter,
    NotCounted,
    Reading,
    Word,
    read_prompt,
)
from api.http.prompt_tokens.vocabularies import ENCODERS, Vocabularies
from api.http.wildcards.intake import WildcardIntake
from conf.settings import Settings
from kernel.protocol.enums import ModelBase, ModelType, PromptTechnique
from kernel.protocol.errors import EngineNotFound, JobRejected, ModelNotFound, of_field
from kernel.protocol.ids import ModelId
from kernel.protocol.rows import ModelRow
from kernel.protocol.sources import local_path
from kernel.protocol.specs import EngineSpec
from kernel.views.engines import find_engine
from kernel.views.models import find_model
from kernel.views.reader import Reader

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_WIDTHS = {ModelBase.SD: 768, ModelBase.SDXL: 768 + 1280}
"""The numbers of an embedding's vector, for all text encoders."""
_STEPS = 25
"""Those of an engine that does not say: only the texts of a prompt that changes depend on them."""


class Prompts:
    """Counts tokens, here and at once: a page asks while somebody types."""

    def __init__(self, reader: Reader, settings: Settings, wildcards: WildcardIntake) -> None:
        self._reader = reader
        self._wildcards = wildcards
        self._settings = settings
        self._names = ModelNames(reader)
        self._vocabularies = Vocabularies()
        self._body = BodyReader(TokensInput, LATER_FIELDS, check_tokens)

    def count(self, req: falcon.Request, resp: falcon.Response) -> None:
        refuse_key(req)
        found, faults = self._body.read(req), ValidationErrors()
        spec = self._engine(found)
        checkpoint = self._checkpoint(found, spec, faults)
        ids = spec.embeddings if spec is not None and found.embeddings is None else ()
        if found.embeddings is not None:
            ids = self._names.ids_of("embeddings", found.embeddings, ModelType.EMBEDDING, faults)
        faults.raise_if_any()
        technique = found.long_prompt_technique or (
            PromptTechnique.SD_EMBED if spec is None else spec.long_prompt_technique
        )
        tags = self._settings.prompts.lora_tags if found.lora_tags is None else found.lora_tags
        reading = Reading(technique, tags, found.steps or (_STEPS if spec is None else spec.steps))
        base = ModelBase.SD if checkpoint is None else checkpoint.model_base
        rows = [row for one in ids if (row := find_model(self._reader, one)) is not None]
        counters = self._counters(checkpoint, base, rows)

        def counted(field: str, reading: Reading) -> PromptTokens:
            is_template, expanded = self._expanded(field, found)
            prompt: str = getattr(found, field) if expanded is None else expanded
            encoders, reason = _counted(prompt, reading, counters)
            return PromptTokens(encoders=encoders, reason=reason, is_template=is_template, expanded=expanded)

        send(
            resp,
            200,
            TokenCounts(
                long_prompt_technique=technique,
                chunk_tokens=CHUNK_TOKENS,
                prompt=counted("prompt", reading),
                negative_prompt=counted("negative_prompt", replace(reading, is_negative=True)),
            ),
        )

    def _expanded(self, field: str, found: TokensInput) -> tuple[bool, str | None]:
        """Whether a prompt is a template, and what the seed makes of it; None, without one."""
        typed: str = getattr(found, field)
        if not (self._wildcards.is_on(found.wildcards) and self._wildcards.is_template(field, typed)):
            return False, None
        return True, None if found.seed is None else self._wildcards.prompt_of(field, typed, found.seed)

    def _engine(self, found: TokensInput) -> EngineSpec | None:
        field, name = ("engine", found.engine) if found.engine_id is None else ("engine_id", found.engine_id)
        if name is None:
            return None
        if (row := find_engine(self._reader, name)) is None:
            raise of_field(EngineNotFound, field, f"no engine is called {name!r}")
        return row.spec

    def _checkpoint(
        self, found: TokensInput, spec: EngineSpec | None, faults: ValidationErrors
    ) -> ModelRow | None:
        if found.checkpoint is None:
            return None if spec is None else find_model(self._reader, spec.checkpoint)
        model_id = self._names.id_of("checkpoint", found.checkpoint, ModelType.CHECKPOINT, faults)
        if (row := find_model(self._reader, ModelId(model_id))) is None:
            raise of_field(ModelNotFound, "checkpoint", f"no model is called {found.checkpoint!r}")
        return row

    def _counters(
        self, row: ModelRow | None, base: ModelBase | None, embeddings: list[ModelRow]
    ) -> dict[str, Counter] | str:
        """One for each text encoder; or why there is none."""
        tokenizers = self._tokenizers(row, base)
        if base is None or isinstance(tokenizers, str):
            return str(tokenizers)
        words = [_word(one, base) for one in embeddings]
        return dict(zip(ENCODERS[base], (Counter(one, words) for one in tokenizers), strict=True))

    def _tokenizers(self, row: ModelRow | None, base: ModelBase | None) -> "tuple[Tokenizer, ...] | str":
        if base is None:
            return "what the checkpoint is is not known yet"
        if row is None:
            return self._vocabularies.of_files(base)
        models = self._settings.models
        place = local_path(row.uri) if row.stored is None else models.folder / row.stored
        if place is not None and place.is_dir():
            return self._vocabularies.of_folder(Path(place), base, (models.folder, *models.roots))
        return self._vocabularies.of_files(base)


def _word(row: ModelRow, base: ModelBase) -> Word:
    own = (*row.trigger_words, *row.found_words, row.name)[0]
    vectors, rest = divmod(row.parameters or 0, _WIDTHS[base])
    return Word((own, row.name), vectors if vectors and not rest else None)


def _counted(
    prompt: str, reading: Reading, counters: dict[str, Counter] | str
) -> tuple[tuple[EncoderTokens, ...] | None, str | None]:
    """The tokens for each text encoder, or why they are not counted."""
    if isinstance(counters, str):
        return None, counters
    try:
        read = read_prompt(prompt, reading)
        counts = {name: counter.count(read) for name, counter in counters.items()}
    except (NotCounted, JobRejected) as error:
        return None, str(error)
    return tuple(map(_shown, counts, counts.values())), None


def _shown(encoder: str, count: Count) -> EncoderTokens:
    chunks = tuple(TokenChunk(tokens=one.tokens, begin=one.begin, end=one.end) for one in count.chunks)
    return EncoderTokens(
        encoder=encoder, tokens=sum(one.tokens for one in chunks), chunks=chunks, dropped=count.dropped
    )
