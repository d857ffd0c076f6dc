"""Pools of workers on other hosts, each a section `[pools.NAME]`: who starts their workers, where, and how.

Nothing here is secret: the enrollment token is a file on the host where the worker runs, and only its path is
passed on. Arguments of programs are lists, never a line for a shell. In an argument, `{name}`, `{manager}`,
`{token_file}` and `{pool}` stand for what they say; other braces are as written. Source: adr/0079, adr/0080.
"""

import re
from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import Annotated, Final

from msgspec import Meta, Struct
from msgspec.structs import fields

from kernel.protocol.errors import FieldProblem

POOL_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
PLACEHOLDERS: Final = ("name", "manager", "token_file", "pool")
TCP_ADDRESS: Final = r"^tcp://.+:0*(\d{1,4}|[1-5]\d{4}|6[0-4]\d{3}|65[0-4]\d{2}|655[0-2]\d|6553[0-5])$"
"""With a port up to 65535: libzmq would truncate a larger one to 16 bits."""
_PLACEHOLDER: Final = re.compile(r"\{([a-z_]+)\}")
_AMOUNT: Final = re.compile(r"([^=\s]+)=(\d+(?:\.\d+)?)")
_OF_COMMAND: Final = ("start", "poll", "stop", "kill", "poll_every_s")
_OF_RAY: Final = ("address", "num_gpus", "num_cpus", "accelerator_type", "resources", "worker")
_TEMPLATES: Final = ("start", "poll", "stop", "kill", "worker")

Argument = Annotated[str, Meta(extra={"kind": "argument"})]
Amount = Annotated[float, Meta(ge=0, le=1_000_000)]


class LauncherKind(StrEnum):
    """How the workers of a pool are started."""

    COMMAND = "command"
    RAY = "ray"


class Pool(Struct, frozen=True, kw_only=True):
    """One pool."""

    launcher: LauncherKind | None = None
    """None: people start its workers."""
    manager: Annotated[str, Meta(pattern=TCP_ADDRESS)] | None = None
    """The address at which its workers reach the Manager; None: bus.endpoint."""
    token_file: Annotated[str, Meta(min_length=1)] | None = None
    """The file with the pool's token, on the host of the worker."""
    max_workers: Annotated[int, Meta(ge=1, le=1000)] = 1
    """The most workers that the launcher has at once."""
    launch_timeout_s: Annotated[float, Meta(gt=0, le=86_400)] = 600.0
    """Within this time a launched worker must join; time that it waits for capacity does not count."""
    start: tuple[Argument, ...] = ()
    poll: tuple[Argument, ...] = ()
    stop: tuple[Argument, ...] = ()
    kill: tuple[Argument, ...] = ()
    poll_every_s: Annotated[float, Meta(ge=0.1, le=3600)] = 5.0
    address: Annotated[str, Meta(min_length=1)] = "auto"
    """Of the Ray cluster: `auto`, `host:port` or `ray://host:port`."""
    num_gpus: Amount = 1.0
    num_cpus: Amount = 1.0
    accelerator_type: Annotated[str, Meta(min_length=1)] | None = None
    resources: tuple[str, ...] = ()
    """Custom resources of Ray, `label=amount`."""
    worker: tuple[Argument, ...] = (
        "spoon",
        "worker",
        "--token-file",
        "{token_file}",
        "--manager",
        "{manager}",
        "--launch",
        "{name}",
    )
    """The command that Ray's actor runs."""

    @property
    def amounts(self) -> dict[str, float]:
        """The custom resources of Ray."""
        found = (_AMOUNT.fullmatch(one) for one in self.resources)
        return {match[1]: float(match[2]) for match in found if match is not None}


def filled(template: Sequence[str], values: dict[str, str]) -> list[str]:
    """The arguments of a template, with a value in place of each placeholder."""
    return [_PLACEHOLDER.sub(lambda match: values[match[1]], argument) for argument in template]


def mistakes_in(name: str, pool: Pool, endpoint: str | None) -> Iterator[FieldProblem]:
    """What is wrong with a pool whose values are each allowed. `endpoint`: bus.endpoint."""
    yield from _placeholder_mistakes(name, pool)
    yield from _stray_keys(name, pool)
    if pool.launcher is None:
        return
    if pool.manager is None and endpoint is None:
        yield _mistake(name, "manager", "set it or bus.endpoint, so that workers reach this server")
    if pool.token_file is None:
        problem = "name the file with the pool's token, on the host where the worker runs"
        yield _mistake(name, "token_file", problem)
    if pool.launcher is LauncherKind.COMMAND:
        yield from _names_itself(name, "start", pool.start)
    else:
        yield from _names_itself(name, "worker", pool.worker)
        for one in pool.resources:
            if _AMOUNT.fullmatch(one) is None:
                yield _mistake(name, "resources", f'"{one}" is not allowed: write "label=1"')


def _placeholder_mistakes(name: str, pool: Pool) -> Iterator[FieldProblem]:
    for key in _TEMPLATES:
        template: tuple[str, ...] = getattr(pool, key)
        for word in (word for argument in template for word in _PLACEHOLDER.findall(argument)):
            if word not in PLACEHOLDERS:
                known = ", ".join(f"{{{one}}}" for one in PLACEHOLDERS)
                yield _mistake(name, key, f"unknown placeholder {{{word}}}: use {known}")


def _stray_keys(name: str, pool: Pool) -> Iterator[FieldProblem]:
    """Keys of a launcher that the pool does not have: they would have no effect."""
    for kind, keys in ((LauncherKind.COMMAND, _OF_COMMAND), (LauncherKind.RAY, _OF_RAY)):
        if pool.launcher is not kind:
            for field in fields(Pool):
                if field.name in keys and getattr(pool, field.name) != field.default:
                    key = field.name.removesuffix("_s")
                    yield _mistake(name, key, f'has an effect only with launcher = "{kind}"')


def _names_itself(name: str, key: str, template: tuple[str, ...]) -> Iterator[FieldProblem]:
    if not any("{name}" in argument for argument in template):
        problem = "must have {name} in an argument, which the worker passes on as --launch {name}"
        yield _mistake(name, key, problem if template else f"must be set, and {problem}")


def _mistake(pool: str, key: str, problem: str) -> FieldProblem:
    path = f"pools.{pool}.{key}"
    return FieldProblem(field=path, problem=f"{path}: {problem}")
