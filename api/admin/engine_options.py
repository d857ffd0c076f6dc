"""What an engine can be made of on the command line, and the request that it becomes."""

from collections.abc import Callable, Mapping
from typing import Final, TypeVar

import click
import msgspec

from api.admin.job_options import LoraUse, clip_skip_option, embedding_option, lora_option, vae_option
from api.admin.options import WordChoice, duration
from api.admin.scheduler_options import Value, scheduler_option
from kernel.protocol.vocabulary import ControlType, PromptTechnique, Scheduler, Variant

Command = TypeVar("Command", bound=Callable[..., None])
Said = str | float | bool | tuple[object, ...] | Mapping[str, object] | None


class EngineInput(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The body of POST /v1/engines; what is left out is left to the server."""

    name: str | None = None
    checkpoint: str
    vae: str | None = None
    loras: tuple[LoraUse, ...] = ()
    embeddings: tuple[str, ...] = ()
    long_prompt_technique: str | None = None
    control_net: str | None = None
    control_models: tuple[str, ...] = ()
    clip_skip: int | None = None
    scheduler: str | None = None
    scheduler_config: dict[str, Value] | None = None
    steps: int | None = None
    cfg: float | None = None
    width: int | None = None
    height: int | None = None
    device: str | None = None
    dtype: str | None = None
    autostart: bool = True
    keep_alive_s: float | None = None
    give_up_after: float | None = None
    replicas: int | None = None
    max_batch: int | None = None
    start: bool = True


_OPTIONS: Final = (
    click.option("--name", help="How to call it."),
    vae_option,
    lora_option,
    embedding_option,
    click.option(
        "--long-prompt-technique", type=WordChoice(PromptTechnique),
        help="How weights in prompts are read, and prompts longer than 75 tokens.",
    ),
    click.option(
        "--control-model", "control_models", multiple=True,
        help="A ControlNet (an id or a name), one for each control type; can be given again.",
    ),
    click.option(
        "--control-net", type=WordChoice(ControlType), help="The control type of jobs that name none."
    ),
    clip_skip_option,
    click.option("--scheduler", type=WordChoice(Scheduler), help="For jobs that name none."),
    scheduler_option,
    click.option("--steps", type=int, help="For jobs that name none."),
    click.option("--cfg", type=float, help="The guidance scale for jobs that name none."),
    click.option("--width", type=int, help="In pixels, for jobs that name none."),
    click.option("--height", type=int, help="In pixels, for jobs that name none."),
    click.option("--device", help="auto, cpu, cuda:0 ..."),
    click.option("--dtype", type=WordChoice(Variant), help="The precision to compute in."),
    click.option(
        "--keep-alive", "keep_alive_s", type=duration, help="Close after so much idleness, such as 10m."
    ),
    click.option(
        "--give-up-after", type=duration,
        help="Fail jobs that have waited so long for it while it is in error, such as 10m.",
    ),
    click.option("--replicas", type=int, help="How many workers share its jobs."),
    click.option("--max-batch", type=int, help="How many jobs are stepped together at most."),
    click.option("--autostart/--no-autostart", default=True, show_default=True, help="Let a job start it."),
    click.option("--start/--no-start", default=True, show_default=True, help="Start it now."),
)  # fmt: skip


def engine_options(command: Command) -> Command:
    """Give a command every option of an engine, in this order."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def engine_input(checkpoint: str, said: Mapping[str, Said]) -> EngineInput:
    """The body for what was said."""
    return msgspec.convert({"checkpoint": checkpoint, **said}, EngineInput)
