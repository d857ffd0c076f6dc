"""The control maps of a job, one per control: detected in the pose image, or the pose image itself."""

from collections.abc import Callable
from io import BytesIO

from PIL import Image

from engine_worker.engine.detectors.render_map import Detect, is_empty, render_map
from engine_worker.engine.images.inpainting import Overlay, laid_on_reference
from engine_worker.engine.images.input_image import decode_image, fit
from engine_worker.port import Inputs, Mapped
from kernel.protocol.enums import ControlType, ImageFit, InpaintArea, InputKind
from kernel.protocol.errors import JobRejected
from kernel.protocol.specs import JobOrder

_NAME = "pose image"


def check_pose(order: JobOrder, inputs: Inputs) -> None:
    """Raises: JobRejected, if the job has controls and no pose image."""
    controls = order.spec.controls
    if controls and InputKind.POSE not in inputs:
        raise JobRejected(f"{controls[0].control_type} control requires a {_NAME}")


def control_maps(
    order: JobOrder,
    inputs: Inputs,
    detect: Detect,
    emit: Callable[[Mapped], None],
    overlay: Overlay | None = None,
) -> tuple[Image.Image, ...]:
    """The control map of each of the job's controls, in their order, in RGB and at the job's size.

    Where only the masked area is drawn, the pose image lies on the reference image, and is cut as that is.

    Each detected map is emitted as Mapped, once per type.
    Raises: JobRejected, if the pose image is missing or unreadable, or its map is empty; what `detect`
    raises.
    """
    spec = order.spec
    if not spec.controls:
        return ()
    check_pose(order, inputs)
    image = decode_image(inputs[InputKind.POSE], _NAME)
    if spec.inpaint_area is InpaintArea.MASKED and overlay is not None:
        image = overlay.region.cut(laid_on_reference(image, overlay.original.size, _NAME))
    image_fit = spec.image_fit or ImageFit.STRETCH
    size = (spec.width_px, spec.height_px)
    drawn: dict[ControlType, Image.Image] = {}
    for control_type in [use.control_type for use in spec.controls if not use.is_preprocessed]:
        if control_type not in drawn:
            drawn[control_type] = render_map(control_type, image, size, image_fit, detect)
            emit(Mapped(order.job_id, control_type, _as_png(drawn[control_type])))
    return tuple(
        _taken_as_map(image, size, image_fit) if use.is_preprocessed else drawn[use.control_type]
        for use in spec.controls
    )


def _taken_as_map(image: Image.Image, size: tuple[int, int], how: ImageFit) -> Image.Image:
    fitted = fit(image, *size, how)
    if is_empty(fitted):
        raise JobRejected(f"the {_NAME} is black: as a control map (preprocessed) it has no effect")
    return fitted


def _as_png(image: Image.Image) -> bytes:
    file = BytesIO()
    image.save(file, "PNG")
    return file.getvalue()
