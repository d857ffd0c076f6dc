"""`spoon draw`: from a prompt to image files, in one command."""

import os
import re
import sys
from collections.abc import Mapping
from itertools import count
from pathlib import Path
from typing import Final

import click

from api.cli.client.client_models import Job
from api.cli.client.terminal_image import escape_for
from api.cli.commands.jobs import output_values, post_job, preview_option
from api.cli.context import Invocation
from api.cli.job_options import Said, engine_option, job_options
from api.cli.options import ImagePath, out_option, suffix_of
from kernel.protocol.enums import ImageFileType
from kernel.protocol.prompts import without_lora_tags

_WORDS: Final = 5
_CHARACTERS: Final = 40


@click.command()
@click.argument("prompt", required=False)
@engine_option
@job_options
@preview_option
@out_option(
    ImagePath(types=tuple(ImageFileType)),
    "Save the image to this file (several images as fox-1.png, fox-2.png, ...), or - for stdout. Its name "
    "may have fields such as {date}, {seed} and {image_id}. The suffix sets --file-type. "
    "[default: a new file in the current folder, named after the prompt and the seed]",
)
@click.option("--open", "is_opened", is_flag=True, help="Open the image in the desktop's viewer.")
@click.pass_obj
def draw(
    invocation: Invocation,
    /,
    preview_to: Path | None,
    out: Path | None,
    said_type: str | None,
    is_opened: bool,
    **said: Said,
) -> None:
    """Generate images from PROMPT, save them, and print the names of the files.

    If one checkpoint is registered, no option is needed: an engine is found or created for it. Ctrl-C leaves
    the job running. Terminals that can (iTerm2, WezTerm, kitty, Ghostty) show the images.

    \b
    Examples:
      spoon draw "a red fox in the snow"
      spoon draw "a red fox" --checkpoint dreams --seed 7 --count 4 --open
      spoon draw --like 0197c5f2-8a51-7c31-9c7e-2b1f6d2f8e11 --seed 8
      spoon draw "a fox" --engine portraits --reference fox.jpg --strength 0.5 --out painted.png
      spoon draw "a red fox" --out "{date}-{seed}.png"
    """
    from api.cli.client.downloads import save_all, saved
    from api.cli.client.progress import follow
    from api.cli.client.rest import read

    said |= output_values(said, said_type, out, preview_to, as_json=False)
    with invocation.rest() as rest:
        job_id = read(post_job(invocation, rest, said), Job).job_id
        job = read(follow(rest, job_id, is_watched=True, preview_to=preview_to), Job)
        new = [_new_file(job, index) for index in range(len(job.image_ids))]
        ids, files = job.image_ids, list[Path]()
        for file in save_all(rest, ids, new) if out is None else saved(rest, ids, out):
            _show(file, invocation.environ)
            click.echo(str(file))
            files.append(file)
    if is_opened:
        _open(files)


def _new_file(job: Job, index: int) -> Path:
    """A name that no file has yet: the prompt's first words and the image's seed, such as a-red-fox-7.png."""
    found = re.findall(r"\w+", without_lora_tags(job.prompt or ""))
    words = "-".join(found[:_WORDS])[:_CHARACTERS].rstrip("-").lower()
    stem = f"{words or 'image'}-{job.seed + index}"
    names = (
        f"{stem}{f'-{number}' if number > 1 else ''}{suffix_of(job.image_file_type)}" for number in count(1)
    )
    return next(Path(name) for name in names if not os.path.lexists(name))


def _show(file: Path, environ: Mapping[str, str]) -> None:
    if sys.stdout.isatty() and (escape := escape_for(file.read_bytes(), environ)) is not None:
        click.echo(escape, nl=False)


def _open(files: list[Path]) -> None:
    for file in files:
        if click.launch(str(file), wait=True) != 0:
            click.echo(f"warning: no program to open {file} was found", err=True)
