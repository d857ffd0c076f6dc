"""Bounds of every message: length, count and size, checked before anything else.

The codec sees to it that each value is of its type; no value gets past here that the database, a message
or a clock cannot hold. The API's own limits are narrower (api/http/contract/constraints.py).
"""

import re
from collections.abc import Sequence
from typing import Final, assert_never

from kernel.core.validation import number_ranges
from kernel.protocol import client
from kernel.protocol.enums import ControlType, InputKind
from kernel.protocol.errors import InvalidField, wrong_field
from kernel.protocol.ids import MAX_INTEGER
from kernel.protocol.model_refs import Preparation
from kernel.protocol.sources import BadSource, parse_source
from kernel.protocol.specs import EngineSpec, JobRequest, SchedulerConfig

MAX_KEY: Final = 300
"""Characters of a command's key: the API's have at most 205."""
MAX_DIGEST_BYTES: Final = 64
MAX_ID: Final = 200
MAX_NAME: Final = 200
MAX_URI: Final = 4_096
MAX_TAG: Final = 100
MAX_TAGS: Final = 64
MAX_MODELS: Final = 32
"""LoRAs, embeddings or ControlNets of one engine or job."""
MAX_OPTIONS: Final = 64
MAX_OPTION: Final = 1_000
"""Characters of an option's value."""
MAX_DEVIATION: Final = 1_000.0
"""Means and deviations of colors lie in 0 to 1, or in 0 to 255."""
_SHA256: Final = re.compile(r"[0-9a-fA-F]{64}")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")


def check_command(key: str, digest: bytes) -> None:
    """Raises: InvalidField."""
    check_text("key", key, MAX_KEY)
    if len(digest) > MAX_DIGEST_BYTES:
        raise wrong_field("digest", f"must have at most {MAX_DIGEST_BYTES} bytes")


def check(ask: client.Ask) -> None:
    """Could this be asked by anybody, whatever there is just now?

    Raises: InvalidField.
    """
    match ask:
        case client.SubmitJob():
            _check_submission(ask)
        case client.ClaimDownload() | client.DeleteImage():
            _check_id("image_id", ask.image_id)
        case client.FinishDownload():
            _check_id("image_id", ask.image_id)
            _check_id("ticket", ask.ticket)
        case client.CancelJob() | client.DeleteJob():
            _check_id("job_id", ask.job_id)
        case client.RegisterModel():
            _check_model(ask)
        case client.DeleteModel() | client.RetryModel():
            _check_id("model_id", ask.model_id)
        case client.CreateEngine(spec=spec):
            _check_engine(spec)
        case client.StartEngine() | client.StopEngine() | client.DeleteEngine() | client.InviteWorker():
            _check_id("engine_id", ask.engine_id)
        case client.PruneImages():
            check_pruning(ask)
        case client.PruneModels() | client.Shutdown():
            pass
        case _:
            assert_never(ask)


def check_pruning(ask: client.PruneImages) -> None:
    """Raises: InvalidField."""
    _check_id("engine_id", ask.engine_id)
    number_ranges.check_between("older_than_s", ask.older_than_s, 0.0, number_ranges.MAX_LIFE_S)
    number_ranges.check_between("keep_bytes", ask.keep_bytes, 0, MAX_INTEGER)


def is_pruning(ask: client.PruneImages) -> bool:
    """Can the database be asked what this is about? If not, it is refused."""
    try:
        check_pruning(ask)
    except InvalidField:
        return False
    return True


def check_text(field: str, text: str | None, most: int) -> None:
    """Let a text through that fits onto a line.

    Raises: InvalidField.
    """
    if text is None:
        return
    if not 1 <= len(text) <= most:
        raise wrong_field(field, f"must have 1 to {most:,} characters, not {len(text):,}")
    if _CONTROL.search(text):
        raise wrong_field(field, "must not contain control characters")


def check_length(field: str, things: Sequence[object] | SchedulerConfig | None, most: int) -> None:
    """Raises: InvalidField."""
    if things is not None and len(things) > most:
        raise wrong_field(field, f"must have at most {most} entries, not {len(things):,}")


def _check_id(field: str, found: str | None) -> None:
    """An id that nothing has is not found; one that nothing can have is not even looked for."""
    if found is not None and len(found) > MAX_ID:
        raise wrong_field(field, f"must have at most {MAX_ID} characters")


def _check_ids(field: str, found: Sequence[str] | None) -> None:
    check_length(field, found, MAX_MODELS)
    for n, model_id in enumerate(found or ()):
        _check_id(f"{field}[{n}]", model_id)


def _check_model(ask: client.RegisterModel) -> None:
    check_text("name", ask.name, MAX_NAME)
    check_text("uri", ask.uri, MAX_URI)
    try:
        parse_source(ask.uri)
    except BadSource as error:
        raise wrong_field("uri", str(error)) from error
    for field, texts in (("tags", ask.tags), ("trigger_words", ask.trigger_words)):
        check_length(field, texts, MAX_TAGS)
        for n, text in enumerate(texts):
            check_text(f"{field}[{n}]", text, MAX_TAG)
    if ask.sha256 is not None and not _SHA256.fullmatch(ask.sha256):
        raise wrong_field("sha256", "must be 64 hexadecimal digits")
    if ask.preparation is not None:
        _check_preparation(ask.preparation)


def _check_preparation(said: Preparation) -> None:
    for value in said.mean or ():
        number_ranges.check_between("preparation.mean", value, 0.0, MAX_DEVIATION)
    for value in said.std or ():
        number_ranges.check_between("preparation.std", value, 0.0, MAX_DEVIATION)
        if not value:
            raise wrong_field("preparation.std", "must not be 0: colors are divided by it")


def _check_engine(spec: EngineSpec) -> None:
    check_text("name", spec.name, MAX_NAME)
    check_text("device", spec.device, MAX_NAME)
    _check_id("checkpoint", spec.checkpoint)
    _check_id("vae", spec.vae)
    _check_ids("loras", tuple(use.model_id for use in spec.loras))
    _check_ids("embeddings", spec.embeddings)
    _check_ids("control_models", spec.control_models)
    _check_options(spec.scheduler_config)
    number_ranges.check_engine(spec)


def _check_submission(ask: client.SubmitJob) -> None:
    _check_id("engine_id", ask.engine_id)
    _check_id("engine_name", ask.engine_name)
    check_length("files", ask.files, len(InputKind))
    number_ranges.check_priority(ask.priority)
    _check_request(ask.request)


def _check_request(request: JobRequest) -> None:
    for field, prompt in (("prompt", request.prompt), ("negative_prompt", request.negative_prompt)):
        if "\0" in prompt:
            raise wrong_field(field, "must not contain the character NUL")
    _check_id("vae", request.vae)
    _check_ids("loras", None if request.loras is None else tuple(use.model_id for use in request.loras))
    _check_ids("embeddings", request.embeddings)
    _check_ids("remove_background", request.remove_background)
    check_length("inputs", request.inputs, len(InputKind))
    check_length("controls", request.controls, len(ControlType))
    _check_options(request.scheduler_config)


def _check_options(options: SchedulerConfig | None) -> None:
    check_length("scheduler_config", options, MAX_OPTIONS)
    for name, value in (options or {}).items():
        check_text("scheduler_config", name, MAX_TAG)
        field = f"scheduler_config.{name}"
        if isinstance(value, str):
            if len(value) > MAX_OPTION or "\0" in value:
                raise wrong_field(field, f"must have at most {MAX_OPTION:,} characters, without NUL")
        elif not isinstance(value, bool):
            number_ranges.check_option(field, value)
