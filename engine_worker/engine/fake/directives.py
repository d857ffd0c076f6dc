"""Directives for the fake engine, in a prompt or a checkpoint's name. `fake/engine.py` lists them."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_SECONDS: Final = {"ms": 0.001, "s": 1.0}
_SLOW: Final = re.compile(r"\[slow (\d+)(ms|s)\]")
_SLOW_LOAD: Final = re.compile(r"slow-load-(\d+)(ms|s)")
_PATH: Final = r"\[{word} ([^\]]+)\]"


@dataclass(frozen=True, slots=True)
class JobDirectives:
    """The directives of one prompt."""

    is_crash: bool
    is_hang: bool
    is_bug: bool
    is_deaf: bool
    """Ignore a cancel."""
    is_oom: bool
    is_failure: bool
    is_warning: bool
    is_echo: bool
    """Report the job's inputs in warnings."""
    step_s: float
    crash_once: Path | None
    hang_once: Path | None
    until: Path | None


@dataclass(frozen=True, slots=True)
class LoadDirectives:
    """The directives of one checkpoint's name or address."""

    is_crash: bool
    is_hang: bool
    is_failure: bool
    is_oom: bool
    load_s: float


def read_prompt(prompt: str) -> JobDirectives:
    """Parse the directives of a prompt; the rest only affects the image."""
    return JobDirectives(
        is_crash="[crash]" in prompt,
        is_hang="[hang]" in prompt,
        is_bug="[bug]" in prompt,
        is_deaf="[ignore cancel]" in prompt,
        is_oom="[oom]" in prompt,
        is_failure="[fail]" in prompt,
        is_warning="[warn]" in prompt,
        is_echo="[echo]" in prompt,
        step_s=_duration_s(_SLOW, prompt),
        crash_once=_path_after("crash-once", prompt),
        hang_once=_path_after("hang-once", prompt),
        until=_path_after("until", prompt),
    )


def read_checkpoint(name: str, uri: str) -> LoadDirectives:
    """Parse the directives of a checkpoint's name or address."""
    words = f"{name} {uri}"
    cure = _path_after("unless", name)
    is_bad = cure is None or not cure.exists()
    return LoadDirectives(
        is_crash=is_bad and "crash-load" in words,
        is_hang=is_bad and "hang-load" in words,
        is_failure=is_bad and "fail-load" in words,
        is_oom=is_bad and "oom-load" in words,
        load_s=_duration_s(_SLOW_LOAD, words),
    )


def _duration_s(pattern: re.Pattern[str], text: str) -> float:
    found = pattern.search(text)
    return int(found[1]) * _SECONDS[found[2]] if found is not None else 0.0


def _path_after(word: str, prompt: str) -> Path | None:
    found = re.search(_PATH.format(word=re.escape(word)), prompt)
    return Path(found[1]) if found is not None else None
