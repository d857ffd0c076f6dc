"""The options of a job on the command line, and the request made from them."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, TypeVar

import click

from api.cli.completion import checkpoints, controlnets, embeddings, engine_names, loras, removers, vaes
from api.cli.options import WordChoice, duration
from api.cli.scheduler_options import SCHEDULER_NAMES, scheduler_option
from kernel.protocol.enums import (
    CallbackEvent,
    ControlType,
    ImageFileType,
    ImageFit,
    InpaintArea,
    InpaintFill,
    MaskMode,
    PromptTechnique,
    Scheduler,
)
from kernel.protocol.ids import ModelId
from kernel.protocol.model_refs import LoraUse

Command = TypeVar("Command", bound=Callable[..., None])
Said = str | float | bool | Path | tuple[object, ...] | Mapping[str, object] | None

FILES: Final[Mapping[str, str]] = {
    "reference": "reference_image_blob",
    "mask": "mask_image_blob",
    "pose": "pose_image_blob",
}
"""The options that name files, and the form fields that carry them."""
_OTHER_NAMES: Final[Mapping[str, str]] = {
    **{part: f"--{option}" for option, part in FILES.items()},
    **{f"{option}_image_id": f"--{option}-id" for option in FILES},
    "remove_background_models": "--remove-background",
    "image_file_type": "--file-type",
    "scheduler_config.": "--scheduler-option ",
    "scheduler_config": "--scheduler-option",
}
"""Fields of the REST API whose options have other names."""
_NONE_OF: Final[Mapping[str, tuple[str, str]]] = {
    "no_loras": ("loras", "--lora"),
    "no_embeddings": ("embeddings", "--embedding"),
    "no_scheduler_options": ("scheduler_config", "--scheduler-option"),
    "no_lora_tags": ("lora_tags", "--lora-tags"),
    "no_wildcards": ("wildcards", "--wildcards"),
}
"""Flags that ignore a setting of engine or server, with the field that they empty and its option."""
_OF_THE_COMMAND: Final = ("engine", "preset")
"""What the command looks up, so that the job has what it found."""
_EMPTY: Final[Mapping[str, object]] = {"scheduler_config": {}, "lora_tags": False, "wildcards": False}
_FOR_ALL_TYPES: Final = ("control_scale", "control_start", "control_end")
_IMAGE: Final = click.Path(exists=True, dir_okay=False, readable=True, path_type=Path)


class LoraParam(click.ParamType[LoraUse]):
    """A LoRA by id or name, with an optional weight: `detail` or `detail:0.6`."""

    name = "lora"

    def convert(
        self, value: str | LoraUse, param: click.Parameter | None, ctx: click.Context | None
    ) -> LoraUse:
        """The LoRA and its weight. A name may have colons; only a number after the last one is a weight."""
        if isinstance(value, LoraUse):
            return value
        plain = LoraUse(model_id=ModelId(value))
        name, colon, weight = value.rpartition(":")
        try:
            return LoraUse(model_id=ModelId(name), weight=float(weight)) if colon and name else plain
        except ValueError:
            return plain


lora_option = click.option(
    "--lora",
    "loras",
    shell_complete=loras,
    multiple=True,
    type=LoraParam(),
    metavar="LORA[:WEIGHT]",
    help="LoRA (an id or name) and its weight, -10 to 10, e.g. detail:0.6. Repeatable. [default weight: 1]",
)
embedding_option = click.option(
    "--embedding",
    "embeddings",
    shell_complete=embeddings,
    multiple=True,
    metavar="MODEL",
    help="Textual inversion (an id or name) that prompts may use. Repeatable.",
)
vae_option = click.option(
    "--vae",
    metavar="MODEL",
    shell_complete=vaes,
    help="VAE (an id or name), or `checkpoint` for the checkpoint's own VAE.",
)
guidance_rescale_option = click.option(
    "--guidance-rescale",
    type=float,
    help="Keep guidance from overexposing, 0 (off) to 1; v-prediction models want about 0.7. [default: 0]",
)
eta_option = click.option(
    "--eta", type=float, help="Noise that ddim and tcd add in each step, 0 (none) to 1. [default: 0]"
)
clip_skip_option = click.option(
    "--clip-skip",
    type=int,
    metavar="N",
    help="Text encoder layer to use, counted from the end as in A1111: 1 (as trained) to 12.",
)

engine_option = click.option(
    "--engine",
    shell_complete=engine_names,
    metavar="ENGINE",
    help="Engine to run the job (an id or name). [default: $SPOON_ENGINE, else engines.default, else an "
    "engine of the only checkpoint]",
)

like_option = click.option(
    "--like",
    metavar="IMAGE",
    help="Take everything that other options do not say from this image: engine, prompt, seed, size, models, "
    "input images. An id, or an image or text file of this server, A1111, ComfyUI or InvokeAI.",
)

preset_option = click.option(
    "--preset",
    metavar="NAME",
    help="Take what other options do not say from this preset of the server (see `spoon presets`).",
)

_OPTIONS: Final = (
    like_option,
    preset_option,
    click.option(
        "-m", "--checkpoint", metavar="MODEL", shell_complete=checkpoints,
        help="Checkpoint (an id or name), instead of --engine: an engine of it is found or created.",
    ),
    click.option("--negative-prompt", metavar="PROMPT", help="Prompt for content to avoid. [default: empty]"),
    lora_option,
    click.option("--no-loras", is_flag=True, help="Ignore the engine's LoRAs."),
    click.option(
        "--lora-tags", is_flag=True,
        help="Take <lora:NAME:WEIGHT> in PROMPT for a LoRA. [default: prompts.lora_tags, which is on]",
    ),
    click.option("--no-lora-tags", is_flag=True, help="Take <lora:NAME:WEIGHT> in PROMPT for text."),
    click.option(
        "--wildcards", is_flag=True,
        help="Choose one of {a|b} and a line of the list __NAME__ in PROMPT (see `spoon wildcards`). "
        "[default: if wildcards.folders has folders]",
    ),
    click.option("--no-wildcards", is_flag=True, help="Take {a|b} and __NAME__ in PROMPT for text."),
    embedding_option,
    click.option("--no-embeddings", is_flag=True, help="Ignore the engine's textual inversions."),
    vae_option,
    click.option(
        "--long-prompt-technique", type=WordChoice(PromptTechnique),
        help="Prompt weighting syntax and handling of prompts over 75 tokens. [default: the engine's]",
    ),
    clip_skip_option,
    click.option(
        "--seed", type=int, metavar="N", help="Random seed. Same seed, same image. [default: random]"
    ),
    click.option(
        "--count", type=int, metavar="N", help="Number of images, each with its own seed. [default: 1]"
    ),
    click.option(
        "--steps", type=int, metavar="N", help="Number of denoising steps. [default: the engine's]"
    ),
    click.option("--cfg", type=float, help="Guidance scale, 0 to 100. [default: the engine's]"),
    guidance_rescale_option,
    eta_option,
    click.option(
        "--width", type=int, metavar="PIXELS", help="Image width, a multiple of 8. [default: the engine's]"
    ),
    click.option(
        "--height", type=int, metavar="PIXELS", help="Image height, a multiple of 8. [default: the engine's]"
    ),
    click.option(
        "--scheduler", type=WordChoice(Scheduler), metavar="SCHEDULER",
        help=f"Scheduler (sampler), e.g. euler_a. {SCHEDULER_NAMES} [default: the engine's]",
    ),
    scheduler_option,
    click.option("--no-scheduler-options", is_flag=True, help="Ignore the engine's scheduler options."),
    click.option("--reference", type=_IMAGE, help="Initial image for image to image (PNG, JPEG or WebP)."),
    click.option(
        "--reference-id", "reference_image_id", metavar="IMAGE",
        help="Image of the server (an id), instead of --reference. No download of it is counted.",
    ),
    click.option(
        "--strength", type=float,
        help="Denoising strength, 0 (unchanged) to 1 (ignore --reference). [default: 0.75]",
    ),
    click.option("--mask", type=_IMAGE, help="Mask for inpainting: repaint --reference where it is white."),
    click.option(
        "--mask-id", "mask_image_id", metavar="IMAGE", help="Image of the server, instead of --mask."
    ),
    click.option(
        "--mask-mode", type=WordChoice(MaskMode),
        help="What to repaint: where the mask is white (luminance), black (inverted) or transparent (alpha; "
        "without --mask, where --reference is). [default: luminance]",
    ),
    click.option(
        "--mask-blur", type=int, metavar="PIXELS",
        help="How far the repainted part fades into the rest, 0 to 256. [default: 4]",
    ),
    click.option(
        "--inpaint-area", type=WordChoice(InpaintArea),
        help="Draw all of --reference, or only the masked area at full resolution; the image then has the "
        "size of --reference. [default: whole]",
    ),
    click.option(
        "--inpaint-padding", type=int, metavar="PIXELS",
        help="With --inpaint-area masked: how much around the mask is drawn as well. [default: 32]",
    ),
    click.option(
        "--inpaint-fill", type=WordChoice(InpaintFill),
        help="What is under the mask before the first step. [default: original]",
    ),
    click.option(
        "--image-fit", type=WordChoice(ImageFit),
        help="How to fit an input image of another aspect ratio. [default: crop]",
    ),
    click.option("--pose", type=_IMAGE, help="Image whose pose, edges or depth a ControlNet follows."),
    click.option(
        "--pose-id", "pose_image_id", metavar="IMAGE", help="Image of the server, instead of --pose."
    ),
    click.option(
        "--control-model", "control_models", metavar="MODEL", multiple=True, shell_complete=controlnets,
        help="ControlNet (an id or name) to use instead of the engine's. Repeatable.",
    ),
    click.option(
        "--type-pose", multiple=True, type=WordChoice(ControlType),
        help="Control type to extract from --pose. Repeatable. The openpose detector is licensed for "
        "non-commercial use only. [default: those of --control-model, else the engine's --control-net]",
    ),
    click.option("--preprocessed", is_flag=True, help="Use --pose itself as the control map."),
    click.option(
        "--control-scale", multiple=True, type=float,
        help="ControlNet strength, 0 to 10. Give it once, or once per --type-pose. [default: 1]",
    ),
    click.option(
        "--control-start", multiple=True, type=float,
        help="Fraction of the steps at which ControlNet starts (0 to 1). Give it once, or once per "
        "--type-pose. [default: 0]",
    ),
    click.option(
        "--control-end", multiple=True, type=float,
        help="Fraction of the steps at which ControlNet ends (0 to 1). Give it once, or once per "
        "--type-pose. [default: 1]",
    ),
    click.option(
        "--remove-background", "remove_background_models", metavar="MODEL", multiple=True,
        shell_complete=removers,
        help="Background remover (an id or name). Repeatable, applied in the order given.",
    ),
    click.option(
        "--background-color", metavar="#RRGGBB",
        help="Background color for JPEG, which has no transparency. [default: #ffffff]",
    ),
    click.option(
        "--file-type", "said_type", type=WordChoice(ImageFileType),
        help="Output format. [default: by the suffix of --out, else png]",
    ),
    click.option("--quality", type=int, metavar="N", help="JPEG or WebP quality, 1 to 100. [default: 90]"),
    click.option("--previews", is_flag=True, help="Generate live previews. --preview-to saves them."),
    click.option(
        "--expire-after", type=duration,
        help="Delete the images after this long, e.g. 12h. [default: images.expire_after]",
    ),
    click.option(
        "--delete-after-downloads", type=int, metavar="N",
        help="Delete each image after this many downloads. [default: images.delete_after_downloads]",
    ),
    click.option(
        "--give-up-after", type=duration,
        help="Fail after waiting this long for an engine in error, e.g. 10m. [default: the engine's]",
    ),
    click.option(
        "--callback-url", metavar="URL",
        help="Tell this receiver, by signed requests, what becomes of the job (see `spoon webhooks`).",
    ),
    click.option(
        "--callback-event", "callback_events", multiple=True, type=WordChoice(CallbackEvent),
        help="An event that --callback-url is told of. Repeatable. [default: the ends of the job]",
    ),
    click.option(
        "--priority", type=int, metavar="N", help="Priority, -1000 to 1000. Higher runs first. [default: 0]"
    ),
)  # fmt: skip


def job_options(command: Command) -> Command:
    """Give a command every option of a job, in this order."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def job_input(engine_id: str | None, said: Mapping[str, Said]) -> dict[str, object]:
    """The request body for the given options; what was not given is omitted, and has the value of the image
    in --like or of the engine. Without an engine the server chooses it.

    Raises: UsageError, if an option and the flag that empties its field are both given.
    """
    given = {
        name: _value_of(name, value)
        for name, value in said.items()
        if is_said(value) and name not in FILES and name not in _NONE_OF and name not in _OF_THE_COMMAND
    }
    where = {} if engine_id is None else {"engine_id": engine_id}
    return {**where, **given, **_none_of(said)}


def is_said(value: Said) -> bool:
    """Whether an option was given; 0 is a value, and a flag that is not set says nothing."""
    return value is not None and value is not False and value != ()


def files_of(said: Mapping[str, Said]) -> dict[str, Path]:
    """The given files, by the form fields that carry them."""
    return {part: path for name, part in FILES.items() if isinstance(path := said.get(name), Path)}


def in_options(text: str) -> str:
    """A message of the server about a job or an engine, with options in place of field names."""
    for field, option in _OTHER_NAMES.items():
        text = text.replace(field, option)
    return text


def _none_of(said: Mapping[str, Said]) -> dict[str, object]:
    """The fields to send empty, because the engine would fill in omitted ones."""
    empty: dict[str, object] = {}
    for flag, (field, option) in _NONE_OF.items():
        if said.get(flag) and said.get(field):
            raise click.UsageError(f"--{flag.replace('_', '-')} and {option} cannot be used together")
        if said.get(flag):
            empty[field] = _EMPTY.get(field, ())
    return empty


def _value_of(name: str, value: Said) -> object:
    """One control number applies to all types and is sent as a number; several are sent as a list."""
    is_one = name in _FOR_ALL_TYPES and isinstance(value, tuple) and len(value) == 1
    return value[0] if is_one and isinstance(value, tuple) else value
