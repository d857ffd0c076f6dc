"""The options of an engine on the command line, and the request made from them."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeVar

import click

from api.cli.completion import controlnets
from api.cli.job_options import (
    clip_skip_option,
    embedding_option,
    eta_option,
    guidance_rescale_option,
    lora_option,
    vae_option,
)
from api.cli.options import WordChoice, duration
from api.cli.scheduler_options import SCHEDULER_NAMES, scheduler_option
from kernel.protocol.enums import ControlType, PromptTechnique, Scheduler, Variant

Command = TypeVar("Command", bound=Callable[..., None])
Said = str | float | bool | tuple[object, ...] | Mapping[str, object] | None
_REPLICAS: Final = re.compile(r"(\d+)(?:-(\d+))?", re.ASCII)


class ReplicasParam(click.ParamType[int | dict[str, int]]):
    """A number of workers, `2`, or the least and the most of them, `1-4`."""

    name = "replicas"

    def convert(
        self, value: str | int | dict[str, int], param: click.Parameter | None, ctx: click.Context | None
    ) -> int | dict[str, int]:
        """Raises: BadParameter, if it is neither; the server checks the bounds."""
        if not isinstance(value, str):
            return value
        if (found := _REPLICAS.fullmatch(value)) is None:
            self.fail(f"{value!r} is neither a number such as 2 nor a range such as 1-4", param, ctx)
        return int(found[1]) if found[2] is None else {"min": int(found[1]), "max": int(found[2])}


_OPTIONS: Final = (
    click.option("--name", metavar="NAME", help="Unique name, accepted wherever an engine id is."),
    vae_option,
    lora_option,
    embedding_option,
    click.option(
        "--long-prompt-technique", type=WordChoice(PromptTechnique),
        help="Prompt weighting syntax and handling of prompts over 75 tokens. [default: sd_embed]",
    ),
    click.option(
        "--control-model", "control_models", metavar="MODEL", multiple=True, shell_complete=controlnets,
        help="ControlNet (an id or name), at most one per control type. Repeatable.",
    ),
    click.option(
        "--control-net", type=WordChoice(ControlType),
        help="Default control type for jobs with a pose image.",
    ),
    clip_skip_option,
    click.option(
        "--scheduler", type=WordChoice(Scheduler), metavar="SCHEDULER",
        help=f"Default scheduler for jobs, e.g. euler_a. {SCHEDULER_NAMES} [default: dpmpp_2m_karras]",
    ),
    scheduler_option,
    click.option(
        "--steps", type=int, metavar="N", help="Default number of denoising steps for jobs. [default: 25]"
    ),
    click.option("--cfg", type=float, help="Default guidance scale for jobs, 0 to 100. [default: 7]"),
    guidance_rescale_option,
    eta_option,
    click.option(
        "--width", type=int, metavar="PIXELS",
        help="Default image width for jobs, a multiple of 8. [default: the checkpoint's native width]",
    ),
    click.option(
        "--height", type=int, metavar="PIXELS",
        help="Default image height for jobs, a multiple of 8. [default: the checkpoint's native height]",
    ),
    click.option(
        "--device",
        metavar="DEVICE",
        help="Device to run on: auto, cpu, cuda (any GPU), or e.g. cuda:0. [default: auto]",
    ),
    click.option(
        "--pool", metavar="NAME",
        help="Pool that its workers come from (see `spoon workers`). [default: none, they run on the server]",
    ),
    click.option(
        "--dtype", type=WordChoice(Variant), help="Precision to compute in. [default: best for the device]"
    ),
    click.option(
        "--keep-alive", "keep_alive_s", type=duration,
        help="Unload after being idle this long, e.g. 10m. [default: engines.keep_alive]",
    ),
    click.option(
        "--give-up-after", type=duration,
        help="Fail jobs that have waited this long while the engine is in error, e.g. 10m. [default: never]",
    ),
    click.option(
        "--replicas", type=ReplicasParam(), metavar="N|MIN-MAX",
        help="Number of workers that share the jobs; 1-4: as many as the queue needs. [default: 1]",
    ),
    click.option(
        "--max-batch", type=int, metavar="N",
        help="Maximum number of images per denoising step. [default: depends on device and memory]",
    ),
    click.option(
        "--autostart/--no-autostart", default=None,
        help="Start the engine when a job needs it. [default: --autostart]",
    ),
)  # fmt: skip
_START: Final = click.option(
    "--start/--no-start", default=True, show_default=True, help="Start the engine now."
)
_OTHER_FIELDS: Final[Mapping[str, str]] = {
    "lora": "loras",
    "embedding": "embeddings",
    "control-model": "control_models",
    "scheduler-option": "scheduler_config",
    "keep-alive": "keep_alive_s",
}
UNSET: Final[Mapping[str, str]] = {
    **{
        name: name.replace("-", "_")
        for name in (
            "name", "vae", "long-prompt-technique", "control-net", "clip-skip", "scheduler", "steps", "cfg",
            "guidance-rescale", "eta", "width", "height", "device", "pool", "dtype",
            "give-up-after", "replicas", "max-batch", "autostart",
        )
    },
    **_OTHER_FIELDS,
}  # fmt: skip
"""What can be set back to its default, by the option that sets it."""
_UNSET: Final = click.option(
    "--unset",
    multiple=True,
    type=click.Choice(sorted(UNSET)),
    metavar="OPTION",
    help="Go back to the default of an option, or of a list to none, e.g. vae or lora. Repeatable.",
)


def engine_options(command: Command) -> Command:
    """Give a command every option of an engine, in this order."""
    return _with((*_OPTIONS, _START), command)


def engine_edit_options(command: Command) -> Command:
    """As `engine_options`, for an engine that exists already."""
    return _with((*_OPTIONS, _UNSET), command)


def _with(options: Sequence[Callable[[Command], Command]], command: Command) -> Command:
    for option in reversed(options):
        command = option(command)
    return command


def engine_edit(said: Mapping[str, Said], unset: Sequence[str]) -> dict[str, object]:
    """The request body for the given options: what was not given stays, and what is unset is null.

    Raises: UsageError, if an option is given and unset as well, or there is nothing to change.
    """
    given = {name: value for name, value in said.items() if value not in (None, ())}
    for option in unset:
        if UNSET[option] in given:
            raise click.UsageError(f"--unset {option} contradicts --{option}")
    if not given and not unset:
        raise click.UsageError("nothing to change: give an option, or --unset one")
    return {**given, **{UNSET[option]: None for option in unset}}


def engine_input(checkpoint: str, said: Mapping[str, Said]) -> dict[str, object]:
    """The request body for the given options; the server fills in what was not given (its flags are on)."""
    given = {name: value for name, value in said.items() if value not in (None, ()) and value is not True}
    return {"checkpoint": checkpoint, **given}
