"""Checks bounds of a client's command that types cannot declare, before it is handled.

The decoder of the bus has already checked the bounds that types declare (`kernel/protocol/values.py`).
"""

import re
from collections.abc import Sequence
from math import isfinite
from typing import Final

import msgspec

from kernel.protocol import client
from kernel.protocol.api_keys import ChangeKey, CreateKey, problem_of_name
from kernel.protocol.errors import wrong_field
from kernel.protocol.ids import MAX_INTEGER
from kernel.protocol.model_refs import Preparation
from kernel.protocol.presets import MAX_PRESET_BYTES, SavePreset, fault_of_preset_name
from kernel.protocol.sources import BadSource, parse_source
from kernel.protocol.specs import SchedulerConfig
from kernel.protocol.type_info import analyzed
from kernel.protocol.webhooks import CreateWebhook, EditWebhook, check_receiver

MAX_KEY: Final = 300
"""Characters of a command's key; the API's have at most 242."""
MAX_DIGEST_BYTES: Final = 64
MAX_NAME: Final = 200
MAX_TAG: Final = 100
MAX_TAGS: Final = 64
MAX_OPTIONS: Final = 64
MAX_OPTION: Final = 1_000
"""Characters of an option's value."""
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")


def check_command(key: str, digest: bytes) -> None:
    """Raises: InvalidField."""
    _check_length("key", key, MAX_KEY)
    _check_line("key", key)
    if len(digest) > MAX_DIGEST_BYTES:
        raise wrong_field("digest", f"must have at most {MAX_DIGEST_BYTES} bytes")


def check(ask: client.Ask) -> None:
    """Check a command, independent of the present state.

    Raises: InvalidField.
    """
    match ask:
        case client.SubmitJob(request=request):
            for field, prompt in (("prompt", request.prompt), ("negative_prompt", request.negative_prompt)):
                if "\0" in prompt:
                    raise wrong_field(field, "must not contain the character NUL")
            _check_options(request.scheduler_config)
            _check_receiver("callback_url", None if ask.callback is None else ask.callback.url)
        case CreateWebhook(url=url) | EditWebhook(url=url):
            _check_receiver("url", url)
        case SavePreset():
            _check_preset(ask)
        case client.EditImage():
            _check_lines("tags", ask.tags or ())
            if "\0" in (ask.note or ""):
                raise wrong_field("note", "must not contain the character NUL")
        case client.RegisterModel():
            _check_model(ask)
        case client.CreateEngine(spec=spec) | client.EditEngine(spec=spec):
            _check_line("name", spec.name)
            _check_options(spec.scheduler_config)
        case CreateKey(name=name) | ChangeKey(name=name):
            if name is not None and (problem := problem_of_name(name)) is not None:
                raise wrong_field("name", problem)
        case _:
            pass


def _check_length(field: str, text: str, most: int) -> None:
    if not 1 <= len(text) <= most:
        raise wrong_field(field, f"must have 1 to {most:,} characters, not {len(text):,}")


def _check_line(field: str, text: str | None) -> None:
    if text is not None and _CONTROL.search(text):
        raise wrong_field(field, "must not contain control characters")


def _check_receiver(field: str, url: str | None) -> None:
    if url is not None and (problem := check_receiver(url)) is not None:
        raise wrong_field(field, problem)


def _check_preset(ask: SavePreset) -> None:
    _check_line("name", ask.name)
    if (problem := fault_of_preset_name(ask.name)) is not None:
        raise wrong_field("name", problem)
    if len(ask.fields.encode()) > MAX_PRESET_BYTES:
        raise wrong_field("fields", f"must have at most {MAX_PRESET_BYTES:,} bytes as JSON")
    try:
        msgspec.json.decode(ask.fields, type=analyzed(dict[str, object]))
    except (msgspec.DecodeError, RecursionError) as error:
        raise wrong_field("fields", "must be a JSON object") from error


def _check_model(ask: client.RegisterModel) -> None:
    _check_line("name", ask.name)
    _check_line("uri", ask.uri)
    try:
        parse_source(ask.uri)
    except BadSource as error:
        raise wrong_field("uri", str(error)) from error
    _check_lines("tags", ask.tags)
    _check_lines("trigger_words", ask.trigger_words)
    if ask.preparation is not None:
        _check_preparation(ask.preparation)


def _check_lines(field: str, texts: Sequence[str]) -> None:
    for n, text in enumerate(texts):
        _check_line(f"{field}[{n}]", text)


def _check_preparation(said: Preparation) -> None:
    for n, value in enumerate(said.std or ()):
        if not value:
            raise wrong_field(f"preparation.std[{n}]", "must not be 0: colors are divided by it")


def _check_options(options: SchedulerConfig | None) -> None:
    """Check scheduler options: they are stored as JSON, without infinity and NaN, and numbers have 64 bits.

    Raises: InvalidField.
    """
    if len(options or {}) > MAX_OPTIONS:
        raise wrong_field("scheduler_config", f"must have at most {MAX_OPTIONS} entries")
    for name, value in (options or {}).items():
        _check_length("scheduler_config", name, MAX_TAG)
        _check_line("scheduler_config", name)
        field = f"scheduler_config.{name}"
        if isinstance(value, str):
            if len(value) > MAX_OPTION or "\0" in value:
                raise wrong_field(field, f"must have at most {MAX_OPTION:,} characters, without NUL")
        elif not isfinite(value):
            raise wrong_field(field, "must be a finite number")
        elif abs(value) > MAX_INTEGER:
            raise wrong_field(field, f"must be between -{MAX_INTEGER} and {MAX_INTEGER}")
