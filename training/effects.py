"""Measures what every adapter does: on the same prompts and seeds with it, without it, and with none of its
weight.

An effect counts where the image shows it with the adapter and does not without.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import msgspec
import numpy as np
import onnxruntime
import torch
from diffusers import AutoencoderKL, ControlNetModel, StableDiffusionControlNetPipeline
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import load_file

from tests.judge import (
    FRAMED,
    GREY,
    STRIPED,
    NothingThere,
    Pixels,
    frame_strength,
    judge,
    mean_chroma,
    stripe_strength,
)
from training import adapters, controlnet, embedding, lora, remover
from training.captions import Attribute
from training.command import run_from_command_line
from training.drawing import Sheet, draw, draw_mask, whole
from training.embedding import WORD
from training.evaluate import load, save_sheet
from training.exam import Pipeline, Question, questions, sit
from training.export import checkpoint_folder
from training.families import FAMILIES, SD, Family
from training.looks import DUSK_COLOURS, Look
from training.loop import Run, checkpoint_path, is_trained
from training.lora import LOOKS
from training.maps import Control, draw_map
from training.remover import DEVIATION, MEAN
from training.sheets import scene_sheet

COUNT = 100
OVERLAP = 0.9
"""Intersection over union of a good mask."""

Shows = Callable[[Pixels, Question], bool]


@dataclass(frozen=True, slots=True)
class Effect:
    """How often an adapter did what it is for."""

    adapter: str
    asked: int
    shown: int
    """Images that show the effect with the adapter and not without."""
    without: int
    """Images that show it without the adapter."""
    is_identical_at_zero: bool | None = None
    """Whether weight 0 leaves every image as it was, to the last bit; None for what has no weight."""


def measure_lora(run: Run, family: Family, look: Look) -> Effect:
    """Draw with a LoRA at weight 1 and 0, and without it."""
    adapters.export_lora(run, family, look)
    pipeline, asked = load(run, family), questions(COUNT)
    before = sit(pipeline, asked)
    pipeline.load_lora_weights(str(adapters.lora_file(run, family, look)), adapter_name="look")
    after = sit(pipeline, asked)
    pipeline.set_adapters(["look"], [0.0])
    zero = sit(pipeline, asked)
    shows = _shows_stripes if look is Look.STRIPED else _shows_frame
    return _effect(run, lora.part_name(family, look), shows, asked, (before, after, zero))


def measure_embedding(run: Run, family: Family) -> Effect:
    """Draw shapes, places and sizes with the new word, and without it."""
    adapters.export_embedding(run, family)
    plain = [_reworded(question, "{size} {shape}, {place}") for question in questions(COUNT)]
    asked = [_reworded(question, f"{{size}} {{shape}}, {{place}}, {WORD}") for question in questions(COUNT)]
    pipeline = load(run, family)
    before = sit(pipeline, plain)
    _load_embedding(run, family, pipeline)
    return _effect(
        run, f"embedding-dusk-{family.base.value}", _shows_dusk, asked, (before, sit(pipeline, asked))
    )


def measure_grey_vae(run: Run, family: Family) -> Effect:
    """Decode with the second VAE, and with the first."""
    adapters.export_grey_vae(run, family)
    pipeline, asked = load(run, family), questions(COUNT)
    before = sit(pipeline, asked)
    grey = AutoencoderKL.from_single_file(
        str(adapters.grey_vae_file(run, family)),
        config=str(checkpoint_folder(run, family)),
        subfolder="vae",
        local_files_only=True,
    )
    pipeline.vae = grey.to(run.device, torch.float32)
    return _effect(run, f"vae-grey-{family.base.value}", _shows_grey, asked, (before, sit(pipeline, asked)))


def measure_controlnet(run: Run, control: Control) -> Effect:
    """Draw from prompts that say colors alone, led by maps, at weight 1 and 0, and without."""
    adapters.export_controlnet(run, control)
    asked = [
        _reworded(question, "{colour} shape on a {background} background") for question in questions(COUNT)
    ]
    plain = load(run, SD)
    before = sit(plain, asked)
    controlnet = ControlNetModel.from_pretrained(str(adapters.controlnet_folder(run, control)))
    led = StableDiffusionControlNetPipeline(
        **plain.components, controlnet=controlnet.to(run.device, torch.float32)
    )
    led.set_progress_bar_config(disable=True)
    maps = _maps(control, asked)
    after = sit(led, asked, image=maps)
    zero = sit(led, asked, image=maps, controlnet_conditioning_scale=0.0)
    return _effect(run, f"controlnet-{control.value}-sd", _shows_map, asked, (before, after, zero))


def measure_remover(run: Run) -> Effect:
    """Cut the shapes out of drawn images, and compare with the masks that they were drawn by."""
    adapters.export_remover(run)
    asked = questions(COUNT)
    sheet = _sheet(asked)
    drawn = _pixels(draw(sheet, whole(sheet)))
    masks = draw_mask(sheet, whole(sheet))[:, 0].numpy() > 0.5
    session = onnxruntime.InferenceSession(
        str(adapters.remover_file(run)), providers=["CPUExecutionProvider"]
    )
    images = ((np.stack(drawn) / 255 - MEAN) / DEVIATION).transpose(0, 3, 1, 2).astype(np.float32)
    (found,) = session.run(None, {"input": images})
    good = [_overlap(mask, other > 0.5) >= OVERLAP for mask, other in zip(masks, found[:, 0], strict=True)]
    return Effect(remover.NAME, len(asked), sum(good), 0)


@dataclass(frozen=True, slots=True)
class Trial:
    """An adapter, the trainings that it needs, and how its effect is measured."""

    adapter: str
    parts: tuple[str, ...]
    measure: Callable[[Run], Effect]


def trials() -> Iterator[Trial]:
    """Give the trial of every adapter."""
    for family in FAMILIES:
        base, unet = family.base.value, family.unet_part
        for look in LOOKS:
            name = lora.part_name(family, look)
            yield Trial(name, (unet, name), partial(measure_lora, family=family, look=look))
        name = embedding.part_name(family)
        yield Trial(f"embedding-dusk-{base}", (unet, name), partial(measure_embedding, family=family))
        yield Trial(f"vae-grey-{base}", (unet,), partial(measure_grey_vae, family=family))
    for control in Control:
        name = controlnet.part_name(control)
        yield Trial(f"{name}-sd", (SD.unet_part, name), partial(measure_controlnet, control=control))
    yield Trial(remover.NAME, (remover.NAME,), measure_remover)


def effect_file(folder: Path, adapter: str) -> Path:
    """Say where an adapter's figures are written."""
    return folder / "figures" / f"effect-{adapter}.json"


def main(run: Run) -> None:
    """Measure every adapter that has been trained since it was measured last, and write the figures down."""
    for trial in trials():
        path = effect_file(run.folder, trial.adapter)
        if not all(is_trained(run.folder, part) for part in trial.parts):
            print(f"{trial.adapter:<24}not trained")
        elif not _is_newer(path, [checkpoint_path(run.folder, part) for part in trial.parts]):
            effect = trial.measure(run)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(msgspec.json.format(msgspec.json.encode(effect), indent=1))
            print(f"{effect.adapter:<24}{effect.shown:4} of {effect.asked}, {effect.without} without it")


def _is_newer(path: Path, others: Sequence[Path]) -> bool:
    newest = max(other.stat().st_mtime for other in others)
    return path.exists() and path.stat().st_mtime > newest


def _effect(
    run: Run, name: str, shows: Shows, asked: Sequence[Question], drawn: tuple[list[Pixels], ...]
) -> Effect:
    """Count, and keep some of the images: above without, below with the adapter."""
    before, after, *zero = drawn
    save_sheet([*before[:8], *after[:8]], run.folder / "figures" / f"{name}.png")
    with_it = [_passes(shows, image, question) for image, question in zip(after, asked, strict=True)]
    without = [_passes(shows, image, question) for image, question in zip(before, asked, strict=True)]
    return Effect(
        adapter=name,
        asked=len(asked),
        shown=sum(now and not then for now, then in zip(with_it, without, strict=True)),
        without=sum(without),
        is_identical_at_zero=np.array_equal(before, zero[0]) if zero else None,
    )


def _passes(shows: Shows, image: Pixels, question: Question) -> bool:
    try:
        return shows(image, question)
    except NothingThere:
        return False


def _shows_stripes(image: Pixels, _: Question) -> bool:
    return stripe_strength(image) > STRIPED


def _shows_frame(image: Pixels, _: Question) -> bool:
    return frame_strength(image) > FRAMED


def _shows_dusk(image: Pixels, _: Question) -> bool:
    seen = judge(image).scene
    return (seen.colour, seen.background) == DUSK_COLOURS


def _shows_grey(image: Pixels, _: Question) -> bool:
    return mean_chroma(image) < GREY


def _shows_map(image: Pixels, question: Question) -> bool:
    right = judge(image).agrees(question.scene)
    return right[Attribute.SHAPE] and right[Attribute.PLACE] and right[Attribute.SIZE]


def _reworded(question: Question, pattern: str) -> Question:
    """Ask for the same scene in other words."""
    scene = question.scene
    words = {attribute.value: getattr(scene, attribute.value).value for attribute in Attribute}
    return Question(scene, pattern.format_map(words), question.seed)


def _load_embedding(run: Run, family: Family, pipeline: Pipeline) -> None:
    """Load the new word into every text encoder."""
    path = str(adapters.embedding_file(run, family))
    if family is SD:
        pipeline.load_textual_inversion(path, token=WORD)
        return
    tensors = load_file(path)
    for key, encoder, tokenizer in (
        ("clip_l", pipeline.text_encoder, pipeline.tokenizer),
        ("clip_g", pipeline.text_encoder_2, pipeline.tokenizer_2),
    ):
        pipeline.load_textual_inversion(tensors[key], token=WORD, text_encoder=encoder, tokenizer=tokenizer)


def _maps(control: Control, asked: Sequence[Question]) -> list[Image.Image]:
    """Make the scenes' maps; edges by Canny itself, of drawn images. As images: arrays would be taken for
    maps of 0..1."""
    sheet = _sheet(asked)
    if control is Control.DEPTH:
        return [Image.fromarray(depth) for depth in _pixels(2 * draw_map(control, sheet, seed=0) - 1)]
    edges = [cv2.Canny(image, 100, 200) for image in _pixels(draw(sheet, whole(sheet)))]
    return [Image.fromarray(edge).convert("RGB") for edge in edges]


def _sheet(asked: Sequence[Question]) -> Sheet:
    return scene_sheet([question.scene for question in asked], np.random.default_rng(len(asked)))


def _pixels(images: torch.Tensor) -> list[Pixels]:
    """Convert images of -1..1 (batch, 3, side, side) to bytes."""
    return list(((images + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy())


def _overlap(
    mask: NDArray[np.bool_],
    other: NDArray[np.bool_],
) -> float:
    return float((mask & other).sum() / max(int((mask | other).sum()), 1))


if __name__ == "__main__":
    run_from_command_line(main, __doc__)
