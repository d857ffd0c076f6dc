"""The options of an engine on the command line, and the request made from them."""

from collections.abc import Callable, Mapping
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
        "--device", metavar="DEVICE", help="Device to run on: auto, cpu, or e.g. cuda:0. [default: auto]"
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
        "--replicas", type=int, metavar="N", help="Number of workers that share the jobs. [default: 1]"
    ),
    click.option(
        "--max-batch", type=int, metavar="N",
        help="Maximum number of images per denoising step. [default: depends on device and memory]",
    ),
    click.option(
        "--autostart/--no-autostart", default=True, show_default=True,
        help="Start the engine when a job needs it.",
    ),
    click.option("--start/--no-start", default=True, show_default=True, help="Start the engine now."),
)  # fmt: skip


def engine_options(command: Command) -> Command:
    """Give a command every option of an engine, in this order."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def engine_input(checkpoint: str, said: Mapping[str, Said]) -> dict[str, object]:
    """The request body for the given options; the server fills in what was not given (its flags are on)."""
    given = {name: value for name, value in said.items() if value not in (None, ()) and value is not True}
    return {"checkpoint": checkpoint, **given}
