"""Detectors of control maps on a real photograph, and what they say when something is missing or broken."""

import json
import os
import pickle
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from engine_worker.engine.detectors.depth import load_midas
from engine_worker.engine.detectors.poses import PoseDetector
from engine_worker.engine.detectors.registry import Detectors
from engine_worker.engine.detectors.render_map import render_map
from engine_worker.engine.runtime.late_import import late_import
from kernel.protocol.detectors import DETECTOR_FILES
from kernel.protocol.enums import ControlType, ImageFit
from kernel.protocol.errors import JobRejected, ModelUnreadable, NotInstalled

pytestmark = pytest.mark.torch

CPU = torch.device("cpu")

needs_pose = pytest.mark.skipif(find_spec("controlnet_aux") is None, reason="the extra pose is not here")
needs_faces = pytest.mark.skipif(find_spec("mediapipe") is None, reason="the extra faces is not here")


@pytest.fixture(scope="module")
def astronaut() -> Image.Image:
    """A photograph of 512 x 512, with a face between (175, 65) and (275, 185)."""
    import skimage.data

    return Image.fromarray(skimage.data.astronaut())


OPENPOSE_FILES = ("body_pose_model.pth", "hand_pose_model.pth", "facenet.pth")


def write_openpose(folder: Path, *names: str) -> None:
    """Networks of zeros, in files of a few kilobytes: every tensor is one number, seen many times."""
    with late_import("openpose", "pose"):
        from controlnet_aux.open_pose.face import FaceNet
        from controlnet_aux.open_pose.model import bodypose_model, handpose_model

    with torch.device("meta"):
        networks = dict(zip(OPENPOSE_FILES, (bodypose_model(), handpose_model(), FaceNet()), strict=True))
    folder.mkdir(exist_ok=True)
    for name in names:
        zeros = {key: torch.zeros(1).expand(held.shape) for key, held in networks[name].state_dict().items()}
        # The files of bodies and hands name layers without the half of the network that they are in.
        is_short = name != "facenet.pth"
        torch.save({key.partition(".")[2] if is_short else key: zeros[key] for key in zeros}, folder / name)


def write_depth_model(folder: Path) -> None:
    """A tiny depth model with random weights, in the form of transformers."""
    from transformers import DPTConfig, DPTForDepthEstimation, DPTImageProcessor

    torch.manual_seed(0)
    config = DPTConfig(
        hidden_size=16,
        num_hidden_layers=4,
        num_attention_heads=2,
        intermediate_size=16,
        image_size=64,
        patch_size=16,
        backbone_out_indices=[0, 1, 2, 3],
        neck_hidden_sizes=[8, 8, 8, 8],
        fusion_hidden_size=8,
        reassemble_factors=[4, 2, 1, 0.5],
    )
    DPTForDepthEstimation(config).save_pretrained(folder)
    DPTImageProcessor(size={"height": 64, "width": 64}).save_pretrained(folder)


def drawn(control_type: ControlType, picture: Image.Image, folder: Path | None = None, px: int = 256) -> Any:
    detectors = Detectors(folder, CPU)
    with torch.inference_mode():
        return np.array(render_map(control_type, picture, (px, px), ImageFit.CROP, detectors.detect)).max(
            axis=2
        )


@needs_faces
def test_mediapipe_draws_the_face_where_it_is(astronaut: Image.Image) -> None:
    rows, columns = np.nonzero(drawn(ControlType.MEDIAPIPE, astronaut) > 60)
    assert len(rows) > 200
    left, right, top, bottom = columns.min() * 2, columns.max() * 2, rows.min() * 2, rows.max() * 2
    assert 165 < left < 200
    assert 250 < right < 285
    assert 55 < top < 90
    assert 165 < bottom < 195


@needs_faces
def test_mediapipe_finds_a_face_also_for_a_small_picture(astronaut: Image.Image) -> None:
    assert (drawn(ControlType.MEDIAPIPE, astronaut, px=64) > 25).any()


@needs_faces
def test_a_photograph_without_a_face_is_refused(astronaut: Image.Image) -> None:
    with pytest.raises(JobRejected, match="mediapipe detector found nothing in the pose image: show a face"):
        drawn(ControlType.MEDIAPIPE, astronaut.crop((0, 350, 160, 510)))


def test_canny_draws_thin_white_edges_where_the_photograph_has_them(astronaut: Image.Image) -> None:
    edges = drawn(ControlType.CANNY, astronaut, px=512)
    assert set(np.unique(edges)) == {0, 255}
    share = (edges > 0).mean()
    assert 0.03 < share < 0.25
    grey = np.array(astronaut.convert("L"), dtype=float)
    steepness = np.hypot(*np.gradient(grey))
    assert steepness[edges > 0].mean() > 4 * steepness[edges == 0].mean()


def test_a_flat_picture_has_no_edges() -> None:
    with pytest.raises(
        JobRejected, match=r"canny detector found nothing in the pose image: .* more contrast"
    ):
        drawn(ControlType.CANNY, Image.new("RGB", (64, 64), (120, 130, 140)))


@pytest.mark.parametrize("control_type", list(DETECTOR_FILES), ids=str)
def test_a_missing_file_is_named_with_its_folder_and_source(
    control_type: ControlType, astronaut: Image.Image, tmp_path: Path
) -> None:
    needed = DETECTOR_FILES[control_type]
    (tmp_path / control_type).mkdir()
    for name in needed.names[:-1]:
        (tmp_path / control_type / name).touch()
    with pytest.raises(NotInstalled) as caught:
        drawn(control_type, astronaut, tmp_path)
    advice = f"put {needed.names[-1]} into {tmp_path / control_type} (from {needed.source})"
    assert caught.value.detail.endswith(f"{advice}{needed.terms()}")


def test_without_a_folder_its_setting_is_named(astronaut: Image.Image) -> None:
    with pytest.raises(NotInstalled, match=r"models\.detectors_folder"):
        drawn(ControlType.OPENPOSE, astronaut)


class Bomb:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


@needs_pose
@pytest.mark.parametrize(
    ("control_type", "kind"),
    [
        (ControlType.OPENPOSE, "torch"),
        (ControlType.OPENPOSE, "pickle"),
        (ControlType.OPENPOSE, "text"),
        (ControlType.MIDAS, "torch"),
    ],
)
def test_weights_that_are_none_are_refused_and_never_run(
    control_type: ControlType, kind: str, astronaut: Image.Image, tmp_path: Path
) -> None:
    folder = tmp_path / control_type
    folder.mkdir()
    for name in DETECTOR_FILES[control_type].names:
        match kind:
            case "torch":
                torch.save({"weight": Bomb(tmp_path / "run")}, folder / name)
            case "pickle":
                (folder / name).write_bytes(pickle.dumps(Bomb(tmp_path / "run")))
            case _:
                (folder / name).write_text("no weights")
    with pytest.raises(ModelUnreadable, match=f"cannot load the {control_type} detector from {folder}"):
        drawn(control_type, astronaut, tmp_path)
    assert not (tmp_path / "run").exists()


@needs_pose
def test_openpose_that_sees_nobody_is_refused(astronaut: Image.Image, tmp_path: Path) -> None:
    write_openpose(tmp_path / "openpose", *OPENPOSE_FILES)
    with pytest.raises(JobRejected, match="openpose detector found nothing in the pose image: show people"):
        drawn(ControlType.OPENPOSE, astronaut.resize((64, 64)), tmp_path)


@needs_pose
def test_openpose_draws_the_bodies_that_were_found() -> None:
    with late_import("openpose", "pose"):
        from controlnet_aux import OpenposeDetector
        from controlnet_aux.open_pose.body import Body

    class Found(Body):  # type: ignore[misc]
        """Finds one person, whose joints stand in a line."""

        def __init__(self) -> None:
            """Needs no network."""

        def __call__(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            joints = [[20 + 3 * number, 10 + 2 * number, 1.0, number] for number in range(18)]
            return np.array(joints), np.array([[*range(18), 18.0, 18.0]])

    detector = PoseDetector(OpenposeDetector(Found()), [], has_hands=False, has_faces=False)
    figure = np.array(detector.draw(Image.new("RGB", (128, 128)))).max(axis=2)
    assert figure[10:46, 20:74].mean() > 20
    assert not figure[60:].any()


@needs_pose
def test_midas_loads_its_own_network_and_draws_in_grey(astronaut: Image.Image, tmp_path: Path) -> None:
    with late_import("midas", "pose"), torch.device("meta"):
        from controlnet_aux.midas.midas.dpt_depth import DPTDepthModel

        shapes = {key: held.shape for key, held in DPTDepthModel(None, True).state_dict().items()}
    (name,) = DETECTOR_FILES[ControlType.MIDAS].names
    torch.save({key: torch.full((1,), 0.01).expand(shape) for key, shape in shapes.items()}, tmp_path / name)
    grey = np.array(load_midas(tmp_path).draw(astronaut.resize((80, 64))))
    assert grey.shape == (64, 64)
    assert (grey.min(), grey.max()) == (0, 255)


def test_depth_comes_from_a_folder_of_transformers(astronaut: Image.Image, tmp_path: Path) -> None:
    write_depth_model(tmp_path / "depth")
    depth = drawn(ControlType.DEPTH, astronaut, tmp_path, px=128)
    assert depth.shape == (128, 128)
    assert depth.max() - depth.min() > 100


def test_depth_in_metres_is_refused(astronaut: Image.Image, tmp_path: Path) -> None:
    folder = tmp_path / "depth"
    folder.mkdir()
    for name in DETECTOR_FILES[ControlType.DEPTH].names:
        (folder / name).write_text("{}")
    config = {"model_type": "depth_anything", "depth_estimation_type": "metric", "max_depth": 20}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelUnreadable, match="requires a relative depth model"):
        drawn(ControlType.DEPTH, astronaut, tmp_path)


def test_a_package_that_is_missing_is_named_with_its_extra() -> None:
    with (
        pytest.raises(NotInstalled, match=r"the extra \[pose\]: `spoon doctor`"),
        late_import("x", "pose"),
    ):
        import no_such_package  # noqa: F401


def test_a_missing_libgl_is_named_with_the_package_of_the_system() -> None:
    error = ImportError("libGL.so.1: cannot open shared object file: No such file or directory")
    with pytest.raises(NotInstalled, match=r"libgl1 .*mesa-libGL"), late_import("canny", "worker"):
        raise error


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_on_a_gpu_a_detector_is_there_only_while_it_draws(astronaut: Image.Image, tmp_path: Path) -> None:
    write_depth_model(tmp_path / "depth")
    before_bytes = torch.cuda.memory_allocated()
    detectors = Detectors(tmp_path, torch.device("cuda:0"))
    on_gpu = np.array(detectors.detect(ControlType.DEPTH, astronaut)).astype(int)
    assert torch.cuda.memory_allocated() == before_bytes
    on_cpu = np.array(Detectors(tmp_path, CPU).detect(ControlType.DEPTH, astronaut))
    assert np.abs(on_gpu - on_cpu).max() <= 2
