"""What a job can be asked for on the command line, and the request that it becomes."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, TypeVar

import click
import msgspec

from api.admin.options import WordChoice, duration
from api.admin.scheduler_options import Value, scheduler_option
from kernel.protocol.vocabulary import ControlType, ImageFileType, ImageFit, Scheduler

Command = TypeVar("Command", bound=Callable[..., None])
Said = str | float | bool | Path | tuple[object, ...] | Mapping[str, object] | None

FILES: Final[Mapping[str, str]] = {
    "reference": "reference_image_blob",
    "mask": "mask_image_blob",
    "pose": "pose_image_blob",
}
"""The options that name files, and the parts of the form that they are sent as."""
_OTHER_NAMES: Final[Mapping[str, str]] = {
    **{part: f"--{option}" for option, part in FILES.items()},
    "remove_background_models": "--remove-background",
    "image_file_type": "--file-type",
    "scheduler_config.": "--scheduler-option ",
    "scheduler_config": "--scheduler-option",
}
"""Fields of the REST API whose options are called otherwise."""
_NONE_OF: Final[Mapping[str, tuple[str, str]]] = {
    "no_loras": ("loras", "--lora"),
    "no_embeddings": ("embeddings", "--embedding"),
    "no_scheduler_options": ("scheduler_config", "--scheduler-option"),
}
"""The flags by which a job has none of what its engine has, with the field and the option that they empty."""
_FOR_ALL_TYPES: Final = ("control_scale", "control_start", "control_end")
_PICTURE: Final = click.Path(exists=True, dir_okay=False, readable=True, path_type=Path)


class LoraUse(msgspec.Struct, frozen=True, kw_only=True):
    """A LoRA as the REST API takes it; `model_id` may be a name."""

    model_id: str
    weight: float = 1.0


class JobInput(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The body of POST /v1/jobs; what is left out is left to the engine."""

    engine_id: str
    prompt: str
    negative_prompt: str | None = None
    loras: tuple[LoraUse, ...] | None = None
    embeddings: tuple[str, ...] | None = None
    vae: str | None = None
    clip_skip: int | None = None
    seed: int | None = None
    count: int | None = None
    steps: int | None = None
    cfg: float | None = None
    width: int | None = None
    height: int | None = None
    scheduler: str | None = None
    scheduler_config: dict[str, Value] | None = None
    strength: float | None = None
    image_fit: str | None = None
    type_pose: tuple[str, ...] | None = None
    preprocessed: bool = False
    control_scale: float | tuple[float, ...] | None = None
    control_start: float | tuple[float, ...] | None = None
    control_end: float | tuple[float, ...] | None = None
    remove_background_models: tuple[str, ...] | None = None
    background_color: str | None = None
    image_file_type: str | None = None
    quality: int | None = None
    previews: bool = False
    expire_after: float | None = None
    delete_after_downloads: int | None = None
    give_up_after: float | None = None
    priority: int | None = None


class LoraParam(click.ParamType[LoraUse]):
    """A LoRA by its id or name, and maybe how strongly it works: `detail` or `detail:0.6`."""

    name = "lora"

    def convert(
        self, value: str | LoraUse, param: click.Parameter | None, ctx: click.Context | None
    ) -> LoraUse:
        """The LoRA and its weight. A name may hold a colon: only a number behind the last one is a weight."""
        if isinstance(value, LoraUse):
            return value
        name, colon, weight = value.rpartition(":")
        try:
            return LoraUse(model_id=name, weight=float(weight)) if colon and name else LoraUse(model_id=value)
        except ValueError:
            return LoraUse(model_id=value)


lora_option = click.option(
    "--lora",
    "loras",
    multiple=True,
    type=LoraParam(),
    metavar="LORA[:WEIGHT]",
    help="A LoRA (an id or a name) and how strongly it works; can be given again. [default weight: 1]",
)
embedding_option = click.option(
    "--embedding",
    "embeddings",
    multiple=True,
    help="A textual inversion that prompts may use; again for more.",
)
vae_option = click.option(
    "--vae", help="Another VAE than the checkpoint's (an id or a name); `checkpoint` for its own."
)
clip_skip_option = click.option(
    "--clip-skip", type=int, help="Which layer of the text encoder is read, from its end: 1 as trained, 2 ..."
)

_OPTIONS: Final = (
    click.option("--negative-prompt", help="What the picture should not show."),
    lora_option,
    click.option("--no-loras", is_flag=True, help="None of the engine's LoRAs."),
    embedding_option,
    click.option("--no-embeddings", is_flag=True, help="None of the engine's textual inversions."),
    vae_option,
    clip_skip_option,
    click.option("--seed", type=int, help="Makes the same picture again. [default: chance]"),
    click.option("--count", type=int, help="How many pictures, a seed each."),
    click.option("--steps", type=int, help="Denoising steps."),
    click.option("--cfg", type=float, help="The guidance scale."),
    click.option("--width", type=int, help="In pixels, a multiple of 8."),
    click.option("--height", type=int, help="In pixels, a multiple of 8."),
    click.option("--scheduler", type=WordChoice(Scheduler), help="The sampler."),
    scheduler_option,
    click.option("--no-scheduler-options", is_flag=True, help="None of the engine's."),
    click.option("--reference", type=_PICTURE, help="A picture to begin with (image to image)."),
    click.option("--strength", type=float, help="How far it is changed, 0 to 1. [default: 0.75]"),
    click.option("--mask", type=_PICTURE, help="Change the reference only where this picture is white."),
    click.option("--image-fit", type=WordChoice(ImageFit), help="How pictures of another shape are fitted."),
    click.option("--pose", type=_PICTURE, help="A picture whose pose, edges or depth a ControlNet follows."),
    click.option(
        "--type-pose", multiple=True, type=WordChoice(ControlType),
        help="What is taken from it; can be given again. [default: the engine's]",
    ),
    click.option("--preprocessed", is_flag=True, help="The pose picture is the control map already."),
    click.option(
        "--control-scale", multiple=True, type=float, help="How strongly; once, or once for each --type-pose."
    ),
    click.option("--control-start", multiple=True, type=float, help="From which part of the steps, 0 to 1."),
    click.option("--control-end", multiple=True, type=float, help="Up to which part of the steps, 0 to 1."),
    click.option(
        "--remove-background", "remove_background_models", multiple=True,
        help="A background remover (an id or a name); several work in this order.",
    ),
    click.option("--background-color", metavar="#RRGGBB", help="What a jpeg gets instead. [default: white]"),
    click.option("--file-type", "said_type", type=WordChoice(ImageFileType), help="Of the picture."),
    click.option("--quality", type=int, help="Of a jpeg or webp, 1 to 100."),
    click.option("--previews", is_flag=True, help="Have rough pictures made on the way: see --preview-to."),
    click.option(
        "--expire-after", type=duration, help="Delete the pictures after so long, such as 12h."
    ),
    click.option("--delete-after-downloads", type=int, help="Delete a picture after so many downloads."),
    click.option(
        "--give-up-after", type=duration,
        help="Fail once it has waited so long for an engine in error, such as 10m. [default: never]",
    ),
    click.option("--priority", type=int, help="Higher ones go first."),
)  # fmt: skip


def job_options(command: Command) -> Command:
    """Give a command every option of a job, in this order."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def job_input(engine_id: str, prompt: str, said: Mapping[str, Said]) -> JobInput:
    """The body for what was said; a list that was not given is left out.

    Raises: UsageError, if something was said, and that there is to be none of it.
    """
    given = {
        name: _value_of(name, value)
        for name, value in said.items()
        if value != () and name not in FILES and name not in _NONE_OF
    }
    return msgspec.convert({"engine_id": engine_id, "prompt": prompt, **given, **_none_of(said)}, JobInput)


def files_of(said: Mapping[str, Said]) -> dict[str, Path]:
    """The files that were named, by the parts of the form that they are sent as."""
    return {part: path for name, part in FILES.items() if isinstance(path := said.get(name), Path)}


def in_options(text: str) -> str:
    """What the server says of a job or an engine, in the words of the command line."""
    for field, option in _OTHER_NAMES.items():
        text = text.replace(field, option)
    return text


def _none_of(said: Mapping[str, Said]) -> dict[str, object]:
    """The fields that are to be empty: what is left out would be the engine's."""
    empty: dict[str, object] = {}
    for flag, (field, option) in _NONE_OF.items():
        if said.get(flag) and said.get(field):
            raise click.UsageError(f"--{flag.replace('_', '-')} contradicts {option}")
        if said.get(flag):
            empty[field] = {} if field == "scheduler_config" else ()
    return empty


def _value_of(name: str, value: Said) -> object:
    """One number about control is for all types, as one; several are a list."""
    is_one = name in _FOR_ALL_TYPES and isinstance(value, tuple) and len(value) == 1
    return value[0] if is_one and isinstance(value, tuple) else value
