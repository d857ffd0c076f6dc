"""What becomes of a picture after its last step: decoded, cut out, encoded; failures stay with their job."""

from dataclasses import replace
from io import BytesIO
from pathlib import Path
from threading import current_thread

import numpy as np
import pytest
import torch
from msgspec.structs import replace as changed
from onnx_files import remover_source, write_keeper
from PIL import ExifTags, Image
from small_engine import Outcomes, order, source_of, spec

from engine_worker.engine.background.apply_matte import Removers
from engine_worker.engine.background.remover import Remover
from engine_worker.engine.networks.components import Components
from engine_worker.engine.networks.vae import decode, decode_latents
from engine_worker.engine.pipeline.postprocessing import DenoisedImage, Postprocessor
from engine_worker.engine.runtime.open_job import OpenJob
from engine_worker.port import Completed, Failed, ImageEncoded, Outcome
from kernel.protocol.enums import ImageFileType, Stage
from kernel.protocol.errors import JobRejected
from kernel.protocol.ids import ModelId
from kernel.protocol.model_refs import ModelSource
from kernel.protocol.specs import JobOrder

pytestmark = pytest.mark.torch

GREEN = 1
CHECKPOINT = source_of(Path("/models/tiny.safetensors"))


def latents(parts: Components, side: int = 8, seed: int = 3) -> torch.Tensor:
    generator = torch.Generator("cpu").manual_seed(seed)
    return torch.randn((1, parts.vae.latent_channels, side, side), generator=generator)


def cut_order(
    job_id: str, removers: tuple[ModelSource, ...], file_type: ImageFileType, count: int = 1
) -> JobOrder:
    of = changed(
        spec(image_file_type=file_type, count=count, prompt="ein Fuchs 🦊"),
        remove_background=tuple(source.model_id for source in removers),
        background_color="#204060",
        quality=95,
    )
    return changed(order(job_id, of), models=removers)


def finish(parts: Components, outcomes: Outcomes, *orders: JobOrder) -> None:
    postprocessor = Postprocessor(CHECKPOINT, Removers(parts.device))
    for one in orders:
        job = OpenJob(one, steps=0, warnings=(), emit=outcomes.emit)
        for picture in one.pictures:
            postprocessor.put(DenoisedImage(job, picture, latents(parts, seed=picture.index), parts.vae))
    postprocessor.close()


def opened(picture: ImageEncoded) -> Image.Image:
    image = Image.open(BytesIO(picture.data))
    image.load()
    assert (image.size, image.get_format_mimetype()) == (
        (picture.width_px, picture.height_px),
        picture.mime,
    )
    return image


def recipe_in(image: Image.Image) -> str:
    if "parameters" in image.info:
        return str(image.info["parameters"])
    comment = image.getexif().get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.UserComment]
    assert comment.startswith(b"UNICODE\x00")
    return str(comment[8:].decode("utf-16-be"))


@pytest.mark.parametrize("file_type", [ImageFileType.PNG, ImageFileType.WEBP], ids=str)
def test_a_background_is_removed_as_a_stage_of_its_own(
    file_type: ImageFileType, parts: Components, tmp_path: Path
) -> None:
    outcomes = Outcomes()
    remover = remover_source(write_keeper(tmp_path / "greens.onnx", GREEN))
    finish(parts, outcomes, cut_order("job", (remover,), file_type))
    assert outcomes.stages("job") == [Stage.FINISHING, Stage.REMOVING_BACKGROUND]
    (picture,) = outcomes.pictures("job")
    image = opened(picture)
    assert image.mode == "RGBA"
    pixels = decode(parts.vae, latents(parts, seed=0))
    kept = pixels[:, :, GREEN] / 255 > 0.456
    assert 0.05 < kept.mean() < 0.95
    assert np.array_equal(np.array(image)[:, :, 3] > 0, kept)
    if file_type is ImageFileType.PNG:
        assert np.array_equal(np.array(image)[:, :, :3], np.where(kept[:, :, None], pixels, 0))
    assert recipe_in(image).startswith("ein Fuchs 🦊\nSteps: 3")
    assert "Background removed: greens" in recipe_in(image)


def test_a_jpeg_lies_on_the_colour_of_the_job(parts: Components, tmp_path: Path) -> None:
    outcomes = Outcomes()
    none = remover_source(write_keeper(tmp_path / "none.onnx", GREEN, metadata={"mean": "1.0"}))
    finish(parts, outcomes, cut_order("job", (none,), ImageFileType.JPEG))
    image = opened(outcomes.pictures("job")[0])
    assert image.mode == "RGB"
    assert np.abs(np.array(image).astype(int) - (0x20, 0x40, 0x60)).max() <= 1
    assert "Background removed: none, Background color: #204060" in recipe_in(image)
    assert outcomes.ending("job") == Completed(
        outcomes.all[0].job_id, ("the background removers removed an entire image",)
    )


def test_pictures_leave_in_the_order_in_which_they_came(parts: Components, tmp_path: Path) -> None:
    outcomes = Outcomes()
    remover = remover_source(write_keeper(tmp_path / "greens.onnx", GREEN))
    slow = cut_order("slow", (remover,), ImageFileType.PNG, count=4)
    finish(parts, outcomes, slow, order("quick", spec(count=2)))
    made = [(one.job_id, one.index) for one in outcomes.all if isinstance(one, ImageEncoded)]
    assert made == [("slow", 0), ("slow", 1), ("slow", 2), ("slow", 3), ("quick", 0), ("quick", 1)]


def test_a_remover_that_cannot_be_used_fails_its_job_and_no_other(parts: Components, tmp_path: Path) -> None:
    outcomes = Outcomes()
    broken = tmp_path / "broken.onnx"
    broken.write_text("no model")
    absent = remover_source(tmp_path / "absent.onnx")
    unknown = changed(order("unknown", changed(spec(), remove_background=(ModelId("m9"),))), models=())
    finish(
        parts,
        outcomes,
        cut_order("broken", (remover_source(broken),), ImageFileType.PNG),
        cut_order("absent", (absent,), ImageFileType.PNG),
        unknown,
        order("good", spec()),
    )
    for job_id, code, says in (
        ("broken", "model_unreadable", "cannot load broken as an ONNX model"),
        ("absent", "model_unreadable", "absent.onnx is not a file"),
        ("unknown", "job_rejected", "m9 is missing from the job"),
    ):
        failed = outcomes.ending(job_id)
        assert isinstance(failed, Failed)
        assert failed.code == code
        assert says in failed.text
    assert outcomes.names("good") == ["ImageEncoded", "Completed"]


class SmallMemory:
    """A decoder that is out of memory when it decodes in one piece, and in tiles above a size."""

    def __init__(self, parts: Components, largest_tile_px: int = 1024) -> None:
        self._decoder = parts.vae.decoder
        self.largest_tile_px = largest_tile_px
        self.tile_sample_min_size = 4096
        self.tile_latent_min_size = 512

    def decode(self, z: torch.Tensor, *, return_dict: bool) -> tuple[torch.Tensor]:
        raise torch.OutOfMemoryError("one piece is too much")

    def tiled_decode(self, z: torch.Tensor, *, return_dict: bool) -> tuple[torch.Tensor]:
        if self.tile_sample_min_size > self.largest_tile_px:
            raise torch.OutOfMemoryError("a tile is too much")
        self._decoder.tile_sample_min_size = self.tile_sample_min_size
        self._decoder.tile_latent_min_size = self.tile_latent_min_size
        return self._decoder.tiled_decode(z, return_dict=False)


def test_out_of_memory_a_picture_is_decoded_in_tiles(parts: Components) -> None:
    vae = replace(parts.vae, decoder=SmallMemory(parts))
    with torch.inference_mode():
        found = decode_latents(vae, latents(parts, side=16))
        whole = decode(parts.vae, latents(parts, side=16))
    assert found.tile_px == 64
    assert found.pixels.shape == whole.shape
    difference = np.abs(found.pixels.astype(int) - whole)
    assert difference.mean() < 16


def test_tiles_are_told_in_the_recipe(parts: Components) -> None:
    outcomes = Outcomes()
    postprocessor = Postprocessor(CHECKPOINT, Removers(parts.device))
    job = OpenJob(order("job", spec()), steps=0, warnings=(), emit=outcomes.emit)
    vae = replace(parts.vae, decoder=SmallMemory(parts))
    postprocessor.put(DenoisedImage(job, job.order.pictures[0], latents(parts), vae))
    postprocessor.close()
    assert "VAE tiling: 32" in recipe_in(opened(outcomes.pictures("job")[0]))


@pytest.mark.sampled(1)
def test_if_even_tiles_are_too_large_the_job_fails_and_the_next_picture_is_made(parts: Components) -> None:
    outcomes = Outcomes()
    postprocessor = Postprocessor(CHECKPOINT, Removers(parts.device))
    tiny = replace(parts.vae, decoder=SmallMemory(parts, largest_tile_px=0))
    for job_id, vae in (("large", tiny), ("good", parts.vae)):
        job = OpenJob(order(job_id, spec()), steps=0, warnings=(), emit=outcomes.emit)
        postprocessor.put(DenoisedImage(job, job.order.pictures[0], latents(parts), vae))
    postprocessor.close()
    failed = outcomes.ending("large")
    assert isinstance(failed, Failed)
    assert failed.code == "out_of_memory"
    assert isinstance(outcomes.ending("good"), Completed)


@pytest.mark.sampled(1)
def test_what_is_kept_for_later_makes_room_for_a_picture_that_is_decoded(parts: Components) -> None:
    outcomes, decoder = Outcomes(), SmallMemory(parts, largest_tile_px=0)

    def evict() -> None:
        decoder.largest_tile_px = 1024

    postprocessor = Postprocessor(CHECKPOINT, Removers(parts.device), evict=evict)
    job = OpenJob(order("job", spec()), steps=0, warnings=(), emit=outcomes.emit)
    postprocessor.put(
        DenoisedImage(job, job.order.pictures[0], latents(parts), replace(parts.vae, decoder=decoder))
    )
    postprocessor.close()
    assert isinstance(outcomes.ending("job"), Completed)


class Witness(Removers):
    """Notes on which threads a picture is decoded, its background removed, and its file handed out."""

    def __init__(self, parts: Components) -> None:
        super().__init__(parts.device)
        self._decoder = parts.vae.decoder
        self.seen: dict[str, str] = {}

    def decode(self, z: torch.Tensor, *, return_dict: bool) -> tuple[torch.Tensor]:
        self.seen["decode"] = current_thread().name
        return self._decoder.decode(z, return_dict=False)

    def tiled_decode(self, z: torch.Tensor, *, return_dict: bool) -> tuple[torch.Tensor]:
        raise AssertionError("there is memory enough")

    tile_sample_min_size = tile_latent_min_size = 0

    def load(self, source: ModelSource) -> Remover:
        self.seen["remove"] = current_thread().name
        return super().load(source)

    def emit(self, outcome: Outcome) -> None:
        self.seen[type(outcome).__name__] = current_thread().name


def test_no_picture_is_decoded_cut_out_or_encoded_on_the_stepping_thread(
    parts: Components, tmp_path: Path
) -> None:
    witness = Witness(parts)
    remover = remover_source(write_keeper(tmp_path / "green.onnx", GREEN))
    job = OpenJob(cut_order("job", (remover,), ImageFileType.PNG), 0, (), witness.emit)
    postprocessor = Postprocessor(CHECKPOINT, witness)
    vae = replace(parts.vae, decoder=witness)
    postprocessor.put(DenoisedImage(job, job.order.pictures[0], latents(parts), vae))
    postprocessor.close()
    # Files are handed out by the thread that has encoded them.
    found = {what: witness.seen[what] for what in ("decode", "remove", "ImageEncoded")}
    assert found == {"decode": "decoder", "remove": "encoder", "ImageEncoded": "encoder"}


class BrokenVae(SmallMemory):
    """A decoder that gives not-a-number, as SDXL's does in float16."""

    def decode(self, z: torch.Tensor, *, return_dict: bool) -> tuple[torch.Tensor]:
        (decoded,) = self._decoder.decode(z, return_dict=False)
        return (decoded * torch.nan,)


def test_a_vae_that_gives_no_numbers_is_named(parts: Components) -> None:
    vae = replace(parts.vae, decoder=BrokenVae(parts))
    with torch.inference_mode(), pytest.raises(JobRejected, match="the VAE overflowed; use another VAE"):
        decode_latents(vae, latents(parts))


def test_a_gpu_that_onnxruntime_cannot_use_is_told_to_the_owner(parts: Components, tmp_path: Path) -> None:
    """Removers for a GPU, on a machine without one: the session tells what it really got."""
    outcomes = Outcomes()
    remover = remover_source(write_keeper(tmp_path / "greens.onnx", GREEN))
    postprocessor = Postprocessor(CHECKPOINT, Removers(torch.device("cuda:63")))
    job = OpenJob(cut_order("job", (remover,), ImageFileType.PNG), 0, (), outcomes.emit)
    postprocessor.put(DenoisedImage(job, job.order.pictures[0], latents(parts), parts.vae))
    postprocessor.close()
    ending = outcomes.ending("job")
    assert isinstance(ending, Completed)
    assert "greens ran on the CPU" in ending.warnings[0]
