"""Objects that outlive an unexpected error of the Manager: child processes, signals, and the record of
errors."""

import logging
import os
import signal
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from secrets import token_hex
from typing import Final

from conf.settings import Settings
from conf.tokens import read_tokens, token_variables
from kernel.process.signals import SignalPipe
from kernel.process.startup import forget_variable
from kernel.protocol.join import FetchTerms
from kernel.protocol.sources import PUBLIC_CIVITAI, PUBLIC_HUB
from kernel.shell import clock
from kernel.shell.launchers.by_pool import LaunchersByPool
from kernel.shell.launchers.local import SubprocessLauncher
from kernel.shell.terms import standby_terms
from kernel.shell.unexpected_errors import UnexpectedErrors

ID_BYTES: Final = 6
WATCHED: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)
HUB_VARIABLE: Final = "HF_ENDPOINT"
"""The variable that points the Hugging Face hub's tools to a mirror."""


@dataclass(frozen=True, slots=True)
class ProcessResources:
    """Created once per process."""

    fetch: FetchTerms
    launcher: SubprocessLauncher
    launchers: LaunchersByPool
    """With the one of this host among them."""
    signals: SignalPipe
    unexpected: UnexpectedErrors


def open_resources(
    settings: Settings, log: logging.Logger, stack: ExitStack, *, is_fake: bool
) -> ProcessResources:
    """Create them; the stack closes them.

    Raises: BadConfiguration, if a token cannot be read.
    """
    fetch = _take_fetch_terms(settings)  # first: the launchers pass the environment on
    launcher = _launcher(settings, stack, is_fake=is_fake)
    return ProcessResources(
        fetch=fetch,
        launcher=launcher,
        launchers=_launchers(settings, launcher, stack),
        signals=_signals(stack),
        unexpected=UnexpectedErrors(log, partial(token_hex, ID_BYTES)),
    )


def _signals(stack: ExitStack) -> SignalPipe:
    """Signals; after closing, the process is ending, and further stop signals are ignored."""
    signals = SignalPipe(WATCHED)
    stack.callback(signals.close, ignored=(signal.SIGTERM, signal.SIGINT))
    return signals


def _launcher(settings: Settings, stack: ExitStack, *, is_fake: bool) -> SubprocessLauncher:
    """A launcher whose first standby starts before anything else, so that the first engine finds it ready."""
    terms = standby_terms(settings.engines, is_fake=is_fake)
    launcher = SubprocessLauncher(settings.logs_folder, os.environ, terms, settings.engines.threads)
    stack.callback(launcher.standbys.end)
    launcher.standbys.tend(clock.now().mono_s, is_loading=False, is_busy=False)
    return launcher


def _launchers(settings: Settings, local: SubprocessLauncher, stack: ExitStack) -> LaunchersByPool:
    endpoint, logs_folder = settings.bus.workers_endpoint, settings.logs_folder
    launchers = LaunchersByPool(local, settings.pools, endpoint, logs_folder, os.environ)
    stack.callback(launchers.close)
    return launchers


def _take_fetch_terms(settings: Settings) -> FetchTerms:
    """The limits of fetch workers, with the tokens, which are removed from the environment."""
    terms = _fetch_terms(settings, os.environ)
    for name in token_variables(settings.models.tokens):
        forget_variable(name)
    return terms


def _fetch_terms(settings: Settings, environ: Mapping[str, str]) -> FetchTerms:
    """The limits of fetch workers.

    Raises: BadConfiguration, if a token cannot be read.
    """
    models = settings.models
    return FetchTerms(
        folder=str(models.folder),
        max_bytes=models.max_size_bytes,
        min_free_bytes=settings.images.min_free_bytes,
        allow_hosts=models.allow_hosts,
        callback_hosts=settings.callbacks.allow_hosts,
        tokens=read_tokens(models.tokens, environ),
        allow_pickle=models.allow_pickle,
        hub=(models.hub or environ.get(HUB_VARIABLE) or PUBLIC_HUB).rstrip("/"),
        civitai=(models.civitai or PUBLIC_CIVITAI).rstrip("/"),
    )
