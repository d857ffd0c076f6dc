"""Control maps: one for each control, of the job's size, and never a black one."""

from io import BytesIO

import numpy as np
import pytest
from msgspec import structs
from PIL import Image

from engine_worker.engine.detectors.maps import control_maps
from engine_worker.engine.detectors.render_map import is_empty, render_map
from engine_worker.engine.images.inpainting import inpainting
from engine_worker.port import Inputs, Mapped, Outcome
from kernel.protocol.enums import ControlType, ImageFit, InpaintArea, InputKind, Scheduler
from kernel.protocol.errors import JobRejected
from kernel.protocol.ids import ImageId, JobId, ModelId
from kernel.protocol.model_refs import Control
from kernel.protocol.specs import JobOrder, JobSpec, PictureOrder

WHITE = (255, 255, 255)

NET = ModelId("net")


class Stamp:
    """A detector that sees all that is bright, and remembers the sizes that it was shown."""

    def __init__(self) -> None:
        self.seen: list[tuple[ControlType, tuple[int, int]]] = []

    def detect(self, control_type: ControlType, picture: Image.Image) -> Image.Image:
        self.seen.append((control_type, picture.size))
        return picture.convert("L").point(lambda level: 255 if level > 128 else 0)


def bright_left(width: int = 80, height: int = 40) -> Image.Image:
    image = Image.new("RGB", (width, height), (60, 60, 60))
    image.paste(WHITE, (0, 0, width // 4, height))
    return image


def order(*controls: Control, how: ImageFit = ImageFit.CROP) -> JobOrder:
    return JobOrder(
        job_id=JobId("job"),
        spec=JobSpec(
            prompt="",
            negative_prompt="",
            inputs=(InputKind.POSE,),
            image_fit=how,
            controls=controls,
            seed=1,
            count=1,
            steps=1,
            guidance_scale=1.0,
            width_px=64,
            height_px=96,
            scheduler=Scheduler.EULER,
        ),
        pictures=(PictureOrder(index=0, image_id=ImageId("i"), seed=1),),
    )


def inputs(image: Image.Image) -> Inputs:
    file = BytesIO()
    image.save(file, "PNG")
    return {InputKind.POSE: file.getvalue()}


def test_every_control_gets_its_map_and_every_drawn_one_is_kept_once() -> None:
    emitted: list[Outcome] = []
    midas, canny = (
        Control(control_type=ControlType.MIDAS, control_model=NET),
        Control(control_type=ControlType.CANNY, control_model=NET),
    )
    stamp = Stamp()
    maps = control_maps(order(midas, canny, midas), inputs(bright_left(40, 60)), stamp.detect, emitted.append)
    assert [one.size for one in maps] == [(64, 96)] * 3
    assert [control_type for control_type, _ in stamp.seen] == [ControlType.MIDAS, ControlType.CANNY]
    kept = [one for one in emitted if isinstance(one, Mapped)]
    assert [(one.job_id, one.control_type) for one in kept] == [("job", "midas"), ("job", "canny")]
    image = Image.open(BytesIO(kept[0].data))
    assert image.format == "PNG"
    assert np.array_equal(np.array(image), np.array(maps[0]))


def test_a_map_that_comes_along_is_taken_as_it_is_and_not_emitted() -> None:
    emitted: list[Outcome] = []
    use = Control(control_type=ControlType.OPENPOSE, control_model=NET, is_preprocessed=True)
    stamp = Stamp()
    (taken,) = control_maps(order(use), inputs(bright_left(64, 96)), stamp.detect, emitted.append)
    assert np.array_equal(np.array(taken), np.array(bright_left(64, 96)))
    assert (stamp.seen, emitted) == ([], [])


def test_a_job_without_controls_needs_no_pose_image() -> None:
    assert control_maps(order(), {}, Stamp().detect, [].append) == ()


def test_a_control_without_a_pose_image_is_refused() -> None:
    with pytest.raises(JobRejected, match="canny control requires a pose image"):
        control_maps(
            order(Control(control_type=ControlType.CANNY, control_model=NET)), {}, Stamp().detect, [].append
        )


@pytest.mark.parametrize("control_type", list(ControlType), ids=str)
def test_an_empty_map_is_an_error_that_says_what_to_do(control_type: ControlType) -> None:
    emitted: list[Outcome] = []
    with pytest.raises(JobRejected, match=f"the {control_type} detector found nothing") as caught:
        control_maps(
            order(Control(control_type=control_type, control_model=NET)),
            inputs(Image.new("RGB", (64, 96), (60, 60, 60))),
            Stamp().detect,
            emitted.append,
        )
    assert "or send the control map itself" in caught.value.detail
    assert emitted == []


def test_a_black_map_that_comes_along_is_refused() -> None:
    use = Control(control_type=ControlType.CANNY, control_model=NET, is_preprocessed=True)
    with pytest.raises(JobRejected, match="pose image is black"):
        control_maps(order(use), inputs(Image.new("RGB", (64, 96))), Stamp().detect, [].append)


def test_a_single_line_in_a_large_map_is_enough() -> None:
    drawn = Image.new("RGB", (1024, 1024))
    assert is_empty(drawn)
    drawn.paste(WHITE, (0, 0, 1024, 1))
    assert not is_empty(drawn)


@pytest.mark.parametrize("how", list(ImageFit), ids=str)
@pytest.mark.parametrize("size", [(64, 96), (512, 512), (640, 64)])
def test_a_map_has_exactly_the_size_of_the_job(how: ImageFit, size: tuple[int, int]) -> None:
    drawn = render_map(ControlType.MEDIAPIPE, bright_left(50, 50), size, how, Stamp().detect)
    assert (drawn.mode, drawn.size) == ("RGB", size)


def test_detectors_see_a_small_job_large_and_canny_sees_it_as_it_is() -> None:
    stamp = Stamp()
    for control_type in (ControlType.OPENPOSE, ControlType.CANNY):
        render_map(control_type, bright_left(50, 75), (64, 96), ImageFit.CROP, stamp.detect)
    assert stamp.seen == [(ControlType.OPENPOSE, (512, 768)), (ControlType.CANNY, (64, 96))]


def test_bars_are_added_to_the_map_and_not_shown_to_the_detector() -> None:
    stamp = Stamp()
    drawn = render_map(ControlType.CANNY, bright_left(80, 40), (64, 64), ImageFit.PAD, stamp.detect)
    assert stamp.seen == [(ControlType.CANNY, (64, 32))]
    column = [drawn.getpixel((2, y)) for y in (8, 32, 56)]
    assert column == [(0, 0, 0), WHITE, (0, 0, 0)]


def test_where_only_the_masked_area_is_drawn_the_pose_is_cut_as_the_reference_is() -> None:
    """A pose image of half the reference's size, bright on its left, as the region is."""
    reference, mask = bright_left(320, 160), Image.new("L", (320, 160))
    mask.paste(255, (60, 40, 100, 100))
    control = Control(control_type=ControlType.CANNY, control_model=NET, is_preprocessed=True)
    asked = order(control)
    only = structs.replace(
        asked.spec, inpaint_area=InpaintArea.MASKED, inpaint_padding=0, mask_blur=0, image_fit=None
    )
    overlay = inpainting(reference, mask, only).overlay
    assert overlay.region.box == (60, 40, 100, 100)
    asked = structs.replace(asked, spec=only)
    (drawn,) = control_maps(asked, inputs(bright_left(160, 80)), Stamp().detect, lambda _: None, overlay)
    assert drawn.size == (64, 96)
    # The bright part ends at 80 of 60 to 100.
    assert (drawn.getpixel((24, 50)), drawn.getpixel((48, 50))) == (WHITE, (60, 60, 60))
    with pytest.raises(JobRejected, match="pose image has 80 x 80 pixels, the reference image 320 x 160"):
        control_maps(asked, inputs(bright_left(80, 80)), Stamp().detect, lambda _: None, overlay)
