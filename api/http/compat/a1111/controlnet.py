"""ControlNet units of A1111's extension, and its lists, in our words: one pose image, and types of maps."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from api.http.compat.a1111.answers import ControlNetTypes, ControlTypeItem
from api.http.compat.a1111.models import ModelLists, short_hash
from api.http.compat.a1111.reading import told_of
from api.http.compat.a1111.requests import Json
from api.http.contract.enum_choices import fold
from api.http.contract.json_text import cut
from kernel.protocol.enums import ControlType, ImageFit, ModelType
from kernel.protocol.error_texts import in_words
from kernel.protocol.errors import NotSupported, SpoonError, of_field, wrong_field
from kernel.protocol.rows import ModelRow
from kernel.protocol.type_info import analyzed

UNITS: Final = 3
ARGS: Final = "alwayson_scripts.ControlNet.args"
NO_MODULE: Final = "none"
MODULES: Final[Mapping[str, ControlType]] = {
    "canny": ControlType.CANNY,
    "depth_midas": ControlType.MIDAS,
    "depth": ControlType.MIDAS,
    "depth_anything": ControlType.DEPTH,
    "depth_anything_v2": ControlType.DEPTH,
    "openpose": ControlType.OPENPOSE,
    "mediapipe_face": ControlType.MEDIAPIPE,
}
"""The detectors, by the extension's names."""
_DEPTHS: Final = frozenset({ControlType.DEPTH, ControlType.MIDAS})
"""Maps of depth by two detectors: a ControlNet for one follows those of the other."""
_TYPES: Final[Mapping[ControlType, str]] = {
    ControlType.CANNY: "Canny",
    ControlType.DEPTH: "Depth",
    ControlType.OPENPOSE: "OpenPose",
    ControlType.MEDIAPIPE: "MediaPipe",
    ControlType.MIDAS: "Depth (MiDaS)",
}
_FITS: Final[Mapping[str, ImageFit]] = {
    "0": ImageFit.STRETCH,
    "1": ImageFit.CROP,
    "2": ImageFit.PAD,
    "justresize": ImageFit.STRETCH,
    "stretch": ImageFit.STRETCH,
    "crop": ImageFit.CROP,
    "pad": ImageFit.PAD,
    "scaletofit(innerfit)": ImageFit.CROP,
    "innerfit(scaletofit)": ImageFit.CROP,
    "envelope(outerfit)": ImageFit.PAD,
    "outerfit(envelope)": ImageFit.PAD,
}
_BALANCED: Final = ("balanced", "0")
_USUAL_RES: Final = (-1, 0, 64, 512)
_USUAL_THRESHOLDS: Final = (-1, 0, 0.5, 64, 100, 200)
"""What clients send that set nothing; the detectors have the values that ControlNets were trained with."""

Text = Annotated[str, Meta(max_length=1_000)]


class Unit(msgspec.Struct, frozen=True, kw_only=True):
    """One unit of the extension."""

    enabled: bool = True
    image: str | Json | None = None
    input_image: str | None = None
    mask: str | None = None
    mask_image: str | None = None
    module: Text = NO_MODULE
    model: Text = "None"
    weight: float = 1.0
    resize_mode: int | Text = "Crop and Resize"
    low_vram: bool = False
    lowvram: bool = False
    processor_res: int = 512
    threshold_a: float = 64.0
    threshold_b: float = 64.0
    guidance_start: float = 0.0
    guidance_end: float = 1.0
    guidance: float = 1.0
    control_mode: int | Text = "Balanced"
    pixel_perfect: bool = False
    hr_option: Text | None = None
    save_detected_map: bool = True
    guessmode: bool = False


_KNOWN: Final = frozenset(Unit.__struct_encode_fields__)


class Units:
    """What an answer needs to know of the units of its request."""

    def __init__(self) -> None:
        self.maps: list[ControlType] = []
        """The maps that are drawn, and are to be shown with the images."""


def unit_fields(
    args: Sequence[object],
    init_image: str | None,
    models: ModelLists,
    units: Units,
    warnings: list[str],
) -> dict[str, object]:
    """The fields of a job with these units.

    Raises: InvalidField, NotSupported; ModelMissing, if there is no such ControlNet.
    """
    found = [unit for number, said in enumerate(args) if (unit := _unit(number, said, warnings)).enabled]
    if not found:
        return {}
    images = {text for unit in found if (text := _image_of(unit) or init_image)}
    if not images:
        raise wrong_field(f"{ARGS}.image", "is required")
    if len(images) > 1:
        raise _unsupported("image", "units with different images: a job has one image for all of them")
    return {"pose_image_blob": images.pop(), **_controls(found, models, units, warnings)}


def _unit(number: int, said: object, warnings: list[str]) -> Unit:
    place = f"{ARGS}[{number}]"
    if not isinstance(said, dict):
        raise wrong_field(place, "must be an object")
    known = {name: value for name, value in said.items() if name in _KNOWN and value is not None}
    try:
        unit = msgspec.convert(known, analyzed(Unit), strict=False)
    except msgspec.ValidationError as error:
        path, problem = in_words(str(error))
        raise wrong_field(f"{place}{path}", problem) from error
    if unit.enabled:
        warnings += [told_of(f"{place}.{name}") for name in said if name not in _KNOWN]
        warnings += [f"{place}.{name} has no effect" for name in _vain(unit)]
    return unit


def _vain(unit: Unit) -> list[str]:
    told = {
        "mask": bool(unit.mask or unit.mask_image),
        "processor_res": not unit.pixel_perfect and unit.processor_res not in _USUAL_RES,
        "threshold_a": unit.threshold_a not in _USUAL_THRESHOLDS,
        "threshold_b": unit.threshold_b not in _USUAL_THRESHOLDS,
        "control_mode": str(unit.control_mode).lower() not in _BALANCED,
        "guessmode": unit.guessmode,
    }
    return [name for name, is_said in told.items() if is_said]


def _image_of(unit: Unit) -> str | None:
    image = unit.image or unit.input_image
    if isinstance(image, dict):
        inner = image.get("image")
        image = inner if isinstance(inner, str) else None
    return image or None


def _controls(
    found: Sequence[Unit], models: ModelLists, units: Units, warnings: list[str]
) -> dict[str, object]:
    nets = [_net(unit, models) for unit in found]
    types = [_type_of(unit, net, warnings) for unit, net in zip(found, nets, strict=True)]
    is_map = [_is_map(unit) for unit in found]
    if any(is_map) and len(found) > 1:
        raise _unsupported("module", "several units of which one takes its image as a map: use one unit")
    units.maps = [
        kind
        for unit, kind, is_drawn in zip(found, types, is_map, strict=True)
        if unit.save_detected_map and not is_drawn
    ]
    fits = {fit for unit in found if (fit := _fit(unit))}
    if len(fits) > 1:
        warnings.append(f"{ARGS}.resize_mode: units differ, that of the first is used")
    return {
        "type_pose": types,
        "control_models": [net.model_id for net in nets],
        "preprocessed": any(is_map),
        "control_scale": [unit.weight for unit in found],
        "control_start": [unit.guidance_start for unit in found],
        "control_end": [min(unit.guidance_end, unit.guidance) for unit in found],
        "image_fit": _fit(found[0]),
    }


def _net(unit: Unit, models: ModelLists) -> ModelRow:
    if unit.model.lower() == "none":
        raise wrong_field(f"{ARGS}.model", "is required: GET /controlnet/model_list lists them")
    return models.find(f"{ARGS}.model", unit.model, ModelType.CONTROLNET)


def _is_map(unit: Unit) -> bool:
    return unit.module.lower() in (NO_MODULE, "")


def _type_of(unit: Unit, net: ModelRow, warnings: list[str]) -> ControlType:
    own = net.control_type
    if not _is_map(unit):
        wanted = module_called(f"{ARGS}.module", unit.module)
        if own in _DEPTHS and wanted in _DEPTHS and own is not wanted:
            warnings.append(f"{ARGS}.module: the map is drawn by the detector {own}, that of {net.name}")
            return own
        return wanted
    if own is None:
        raise wrong_field(f"{ARGS}.model", f"the control type of {net.name} is not known")
    return own


def module_called(field: str, name: str) -> ControlType:
    """The detector with this name. Raises: NotSupported, with those that there are."""
    found = MODULES.get(name.lower())
    if found is None:
        known = ", ".join((NO_MODULE, *MODULES))
        raise _of_field(field, f"there is no module {cut(name)!r}; there are {known}")
    return found


def _fit(unit: Unit) -> ImageFit:
    found = _FITS.get(fold(str(unit.resize_mode)))
    if found is None:
        raise wrong_field(f"{ARGS}.resize_mode", "must be Just Resize, Crop and Resize or Resize and Fill")
    return found


def _unsupported(name: str, problem: str) -> SpoonError:
    return _of_field(f"{ARGS}.{name}", problem)


def _of_field(field: str, problem: str) -> SpoonError:
    return of_field(NotSupported, field, f"not supported: {problem}")


def model_names(models: ModelLists) -> tuple[str, ...]:
    """The ControlNets, as the extension lists them."""
    return tuple(_name_of(row) for row in models.ready(ModelType.CONTROLNET))


def module_names() -> tuple[str, ...]:
    """The detectors, as the extension lists them."""
    return (NO_MODULE, *MODULES)


def control_types(models: ModelLists) -> ControlNetTypes:
    """Detectors and ControlNets of each type, and of all together."""
    rows = models.ready(ModelType.CONTROLNET)
    every = _type_item(module_names(), rows)
    found = {"All": every}
    for kind, label in _TYPES.items():
        modules = tuple(name for name, one in MODULES.items() if one is kind)
        of_kind = [row for row in rows if row.control_type is kind]
        found[label] = _type_item((NO_MODULE, *modules), of_kind)
    return ControlNetTypes(control_types=found)


def _type_item(modules: tuple[str, ...], rows: Sequence[ModelRow]) -> ControlTypeItem:
    names = ("None", *(_name_of(row) for row in rows))
    return ControlTypeItem(
        module_list=modules, model_list=names, default_option=modules[-1], default_model=names[-1]
    )


def _name_of(row: ModelRow) -> str:
    digits = short_hash(row)
    return row.name if digits is None else f"{row.name} [{digits[:8]}]"
