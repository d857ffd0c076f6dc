"""Reads the infotext of AUTOMATIC1111's web UI, its relatives, and this server.

It is a prompt, a line `Negative prompt: ...`, and a line of `Name: value` pairs that begins with `Steps`. A
value with a comma, a colon or a line break is a JSON string. LoRAs are tags in the prompt,
`<lora:name:weight>`. Lines `Template: ...` and `Negative Template: ...` at the end are what Dynamic Prompts
made the prompts from.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from api.http.contract.enum_choices import find_choice
from api.http.infotext.parsed_infotext import NEEDS_IMAGE, Mention, ParsedInfotext
from kernel.protocol.enums import ModelType, PromptTechnique, Scheduler
from kernel.protocol.model_refs import OWN_VAE
from kernel.protocol.prompts import lora_tags, without_lora_tags
from kernel.protocol.schedulers import AUTOMATIC, KINDS, TAKES_ETA
from kernel.protocol.values import MAX_MODELS

A1111: Final = "a1111"
OURS: Final = "automatic-spoon"
MAX_PAIRS: Final = 1_000
_NEGATIVE: Final = "Negative prompt:"
_TEMPLATES: Final = ("Template:", "Negative Template:")
_STEPS: Final = re.compile(r"Steps: *\d")
_HYPERNET: Final = re.compile(r"<hypernet:[^<>\n]{1,400}>", re.IGNORECASE)
_SIZE: Final = re.compile(r"(\d{1,6}) ?x ?(\d{1,6})")
# Fields of a job by their names in the text.
_FIELDS: Final[Mapping[str, str]] = {
    "Steps": "steps",
    "CFG scale": "cfg",
    "CFG rescale": "guidance_rescale",
    "Seed": "seed",
    "Clip skip": "clip_skip",
    "Prompt technique": "long_prompt_technique",
    "Background color": "background_color",
}
_WITH_IMAGE: Final[Mapping[str, str]] = {
    "Denoising strength": "reference_image_blob",
    "Resize mode": "reference_image_blob",
    "Init image hash": "reference_image_blob",
    "Mask hash": "mask_image_blob",
    "Mask mode": "mask_image_blob",
    "Mask channel": "mask_image_blob",
    "Mask blur": "mask_image_blob",
    "Masked content": "mask_image_blob",
    "Masked area padding": "mask_image_blob",
    "Inpaint area": "mask_image_blob",
    "ControlNet image hash": "pose_image_blob",
}
_OUR_TIMESTEPS: Final = ("automatic", "uniform")
"""The schedule types by which this server says that the noise levels are those of the scheduler itself."""
_HIRES_TOO: Final = ("Denoising strength",)
_IGNORED: Final = frozenset({"Version", "VAE encoder tiling", "VAE tiling"})
"""What says nothing about the image."""


def read_a1111(text: str) -> ParsedInfotext:
    """What an infotext says."""
    text, templates = _without_templates(text)
    prompt, negative, pairs = _parts_of(text)
    named = dict(_pairs(pairs))
    is_ours = named.get("Version", "").startswith(OURS)
    found = ParsedInfotext(OURS if is_ours else A1111)
    hashes = dict(_pairs(named.pop("Lora hashes", "")))
    # Before it named the schedule type, this server had all tags of LoRAs behind the prompt.
    is_old = is_ours and "Schedule type" not in named
    is_text = named.pop("Lora tags", "") == "text" or is_old
    _take_prompt(found, prompt, hashes, is_ours=is_ours, is_text=is_text)
    if negative:
        found.take("negative_prompt", "Negative prompt", negative)
    _take_models(found, named, is_ours=is_ours)
    if is_ours and not is_old:
        found.job["clip_skip"] = 1  # that of the training is not mentioned, and the engine may have another
    if "Prompt technique" not in named:
        found.job["long_prompt_technique"] = PromptTechnique.NONE if is_old else PromptTechnique.SD_EMBED
    for name, value in named.items():
        if name in _HIRES_TOO and any(other.startswith("Hires") for other in named):
            found.leave(
                name, value, "belongs to a second pass at a higher resolution, which this server lacks"
            )
        else:
            _take(found, name, value)
    _take_sampler(found, named, is_ours=is_ours)
    for name, template in templates.items():
        found.job["wildcards"] = False  # the choices have been made
        found.leave(name, template, "the prompt is what was chosen from it")
    return found


def fields_of(text: str) -> dict[str, str]:
    """The prompts and the pairs of an infotext, by A1111's names of them."""
    text, templates = _without_templates(text)
    prompt, negative, pairs = _parts_of(text)
    found = {"Prompt": prompt, "Negative prompt": negative, **templates}
    for name, value in _pairs(pairs):
        size = _SIZE.fullmatch(value)
        found |= {name: value} if size is None else {f"{name}-1": size[1], f"{name}-2": size[2]}
    return found


def _without_templates(text: str) -> tuple[str, dict[str, str]]:
    """The text, and the templates behind it by their names."""
    lines = text.replace("\r\n", "\n").strip().split("\n")
    last = next((n for n, line in enumerate(lines) if _STEPS.match(line)), len(lines))
    begins = [n for n in range(last + 1, len(lines)) if lines[n].startswith(_TEMPLATES)]
    if not begins:
        return text, {}
    ends = [*begins[1:], len(lines)]
    found = ("\n".join(lines[begin:end]) for begin, end in zip(begins, ends, strict=True))
    templates = {name: value.strip() for name, _, value in (one.partition(":") for one in found)}
    return "\n".join(lines[: begins[0]]), templates


def _parts_of(text: str) -> tuple[str, str, str]:
    """The prompt, the negative prompt, and the pairs."""
    lines = text.replace("\r\n", "\n").strip().split("\n")
    last = next((n for n in range(len(lines) - 1, -1, -1) if _STEPS.match(lines[n])), len(lines))
    body, pairs = lines[:last], ", ".join(lines[last:])
    middle = next((n for n, line in enumerate(body) if line.startswith(_NEGATIVE)), len(body))
    negative = "\n".join(body[middle:]).removeprefix(_NEGATIVE).strip()
    return "\n".join(body[:middle]).strip(), negative, pairs


def _pairs(text: str) -> Iterator[tuple[str, str]]:
    """`Name: value` pairs, the first of each name. What has no colon is a name without a value."""
    at, seen = 0, set[str]()
    for _ in range(MAX_PAIRS):
        while at < len(text) and text[at] in ", \n":
            at += 1
        end = _first(text, ":,", at)
        name, value = text[at:end].strip(), ""
        at = end + 1
        if text[end : end + 1] == ":":
            while text[at : at + 1] == " ":
                at += 1
            value, at = _value_at(text, at)
        if not name and at >= len(text):
            return
        if name and name not in seen:
            seen.add(name)
            yield name, value


def _first(text: str, marks: str, at: int) -> int:
    found = [place for place in (text.find(mark, at) for mark in marks) if place >= 0]
    return min(found, default=len(text))


def _value_at(text: str, at: int) -> tuple[str, int]:
    """The value that begins here, and where it ends."""
    if text.startswith('"', at):
        try:
            value, end = json.JSONDecoder().raw_decode(text, at)
            return str(value), end
        except ValueError:
            pass
    end = _first(text, ",", at)
    return text[at:end].strip(), end


def _take_prompt(
    found: ParsedInfotext, prompt: str, hashes: Mapping[str, str], *, is_ours: bool, is_text: bool
) -> None:
    """The prompt without its tags; those in it are text, if `is_text`, unless they are at its end."""
    kept = _without_last_tags(prompt) if is_text else without_lora_tags(prompt)
    for tag in lora_tags(prompt[len(kept) :] if is_text else prompt):
        try:
            weight = tag.weight()
        except ValueError as error:
            found.leave("Lora", tag.text, str(error))
            weight = 1.0
        found.mention(Mention("loras", ModelType.LORA, "Lora", tag.name, hashes.get(tag.name, ""), weight))
    if not is_ours:
        for text in _HYPERNET.findall(kept):
            found.leave("Hypernet", text, "hypernetworks are not supported")
        kept = _HYPERNET.sub("", kept)
    found.take("prompt", "prompt", kept.strip())


def _without_last_tags(prompt: str) -> str:
    """The prompt without the tags at its end, and the blank before each."""
    kept = prompt
    for _ in range(MAX_MODELS):
        start = max(kept.rfind("<"), 0)
        if not kept.endswith(">") or not lora_tags(kept[start:]):
            break
        kept = kept[:start].removesuffix(" ")
    return kept


def _take_models(found: ParsedInfotext, named: dict[str, str], *, is_ours: bool) -> None:
    """Take what names models out of the pairs. Without any, the job has none, whatever its engine has."""
    checkpoint, digest = named.pop("Model", ""), named.pop("Model hash", "")
    if checkpoint or digest:
        found.mention(Mention("checkpoint", ModelType.CHECKPOINT, "Model", checkpoint, digest))
    vae, digest = named.pop("VAE", ""), named.pop("VAE hash", "")
    if vae or digest:
        found.mention(Mention("vae", ModelType.VAE, "VAE", vae, digest))
    found.job |= {"loras": (), "lora_tags": False}  # the tags are no longer in the prompt
    if is_ours:
        found.job |= {"embeddings": (), "scheduler_config": {}} | ({} if vae else {"vae": OWN_VAE})
    for name, digest in _pairs(named.pop("TI hashes", "")):
        found.mention(Mention("embeddings", ModelType.EMBEDDING, "TI hashes", name, digest))
    for name in (named.pop("Background removed", "") or "").split(", "):
        if name:
            field = "remove_background_models"
            found.mention(Mention(field, ModelType.BACKGROUND, "Background removed", name))


def _take(found: ParsedInfotext, name: str, value: str) -> None:
    """Give the job what a pair says."""
    if name in _FIELDS:
        found.take(_FIELDS[name], name, value)
    elif name in _SPECIAL:
        _SPECIAL[name](found, name, value)
    elif name in _WITH_IMAGE or name.startswith("ControlNet"):
        field = _WITH_IMAGE.get(name, "pose_image_blob")
        found.leave(name, value, NEEDS_IMAGE.format(field=field))
    elif name not in _IGNORED and name not in _SAMPLER and not name.startswith("Scheduler "):
        found.leave(name, value)


def _take_size(found: ParsedInfotext, name: str, value: str) -> None:
    size = _SIZE.fullmatch(value)
    if size is None:
        found.leave(name, value, "must be two numbers, such as 512x768")
        return
    found.take("width", name, size[1])
    found.take("height", name, size[2])


def _take_rng(found: ParsedInfotext, name: str, value: str) -> None:
    if value != "CPU":
        found.leave(name, value, "the noise is another one: this server makes it on the CPU")


_SPECIAL: Final[Mapping[str, Callable[[ParsedInfotext, str, str], None]]] = {
    "Size": _take_size,
    "RNG": _take_rng,
}
_SAMPLER: Final = ("Sampler", "Schedule type", "Eta", "Eta DDIM")


def _take_sampler(found: ParsedInfotext, named: Mapping[str, str], *, is_ours: bool) -> None:
    """The scheduler, by the names of sampler and schedule, and what belongs to it."""
    sampler, schedule = named.get("Sampler", ""), named.get("Schedule type", "")
    if is_ours and schedule.lower() in _OUR_TIMESTEPS:
        schedule = ""
    elif schedule.lower() == "automatic":
        word = find_choice(Scheduler, sampler)
        schedule = "" if word is None else AUTOMATIC.get(word, "")
    if sampler:
        found.take_scheduler("Sampler", sampler, "Schedule type", schedule)
    options = {name: value for name, value in named.items() if name.startswith("Scheduler ")}
    if not is_ours:
        for name, value in options.items():
            found.leave(name, value)
    elif options:
        read = {name.removeprefix("Scheduler "): _option(value) for name, value in options.items()}
        found.take("scheduler_config", "Scheduler", read)
    for name in ("Eta", "Eta DDIM"):
        if name in named:
            _take_eta(found, name, named[name])


def _take_eta(found: ParsedInfotext, said_as: str, value: object) -> None:
    """Take eta, if the scheduler adds noise by it."""
    word = found.job.get("scheduler")
    if isinstance(word, Scheduler) and KINDS[word].class_name in TAKES_ETA:
        found.take("eta", said_as, value)
    else:
        found.leave(said_as, value, "has no effect with this scheduler")


def _option(value: str) -> bool | int | float | str:
    """A scheduler's option as it was before it was written."""
    if value in ("True", "False"):
        return value == "True"
    for kind in (int, float):
        try:
            return kind(value)
        except ValueError:
            continue
    return value
