"""What the doctor says of the features that only some jobs need."""

from pathlib import Path

from api.installation.diagnosis import Verdict
from api.installation.driver import Runtime
from api.installation.features import (
    background_removal,
    detector,
    face_packages,
    mcp_packages,
    opencv,
    pose_packages,
)
from kernel.protocol.detectors import DETECTOR_FILES
from kernel.protocol.enums import ControlType


def test_one_onnx_runtime_is_fine_none_is_off_two_are_a_conflict() -> None:
    assert background_removal({"onnxruntime-gpu": "1.31.1"}, Runtime.CPU).verdict is Verdict.OK
    none = background_removal({"onnxruntime-gpu": None, "onnxruntime": None}, Runtime.CPU)
    assert (none.verdict, none.found) == (Verdict.NOTE, "unavailable: onnxruntime is not installed")
    both = background_removal({"onnxruntime-gpu": "1.31.1", "onnxruntime": "1.30.0"}, Runtime.CUDA)
    assert (
        both.found
        == "onnxruntime-gpu 1.31.1 and onnxruntime 1.30.0 are both installed and overwrite each other"
    )
    assert (both.remedy or "").endswith(" -m pip install onnxruntime-gpu")


def test_a_runtime_for_cpus_beside_a_gpu_is_noted_and_one_for_gpus_is_fine_everywhere() -> None:
    idle = background_removal({"onnxruntime": "1.31.1"}, Runtime.CUDA)
    assert (idle.verdict, idle.found) == (Verdict.NOTE, "onnxruntime 1.31.1 does not use the GPU")
    assert "cuda,worker" in (idle.remedy or "")
    for name, kind in (("onnxruntime", Runtime.CPU), ("onnxruntime-gpu", Runtime.CUDA)):
        assert background_removal({name: "1.31.1"}, kind).verdict is Verdict.OK


def test_opencv_without_libgl_names_the_package_of_the_system() -> None:
    assert opencv(None, Runtime.CPU).verdict is Verdict.OK
    missing = "ImportError: libGL.so.1: cannot open shared object file: No such file or directory"
    found = opencv(missing, Runtime.CPU)
    assert (found.verdict, "libgl1" in (found.remedy or "")) == (Verdict.NOTE, True)
    assert "cuda,worker" in (opencv("No module named 'cv2'", Runtime.CUDA).remedy or "")


def test_missing_pose_packages_are_named_with_the_way_to_get_them() -> None:
    assert pose_packages({"controlnet-aux": "0.0.10"}, Runtime.CPU).found == "controlnet-aux 0.0.10"
    absent = pose_packages({"controlnet-aux": None, "mediapipe": None}, Runtime.CPU)
    assert absent.verdict is Verdict.NOTE
    assert "cpu,pose,worker" in (absent.remedy or "")


def test_faces_need_a_package_of_their_own_which_ends_with_python_3_12() -> None:
    there = {"controlnet-aux": "0.0.10", "mediapipe": "0.10.21"}
    assert face_packages(there, Runtime.CPU, (3, 11)).found == "mediapipe 0.10.21"
    absent = there | {"mediapipe": None}
    assert "cpu,faces,worker" in (face_packages(absent, Runtime.CPU, (3, 12)).remedy or "")
    late = face_packages(absent, Runtime.CPU, (3, 13))
    assert (late.found, "Python 3.11 or 3.12" in (late.remedy or "")) == (
        "mediapipe is unavailable; not installed: mediapipe",
        True,
    )


def test_the_files_of_a_detector_are_named_until_they_are_there(tmp_path: Path) -> None:
    midas = DETECTOR_FILES[ControlType.MIDAS]
    absent = detector(midas, tmp_path)
    assert absent.verdict is Verdict.NOTE
    assert absent.remedy == f"put {midas.names[0]} into {tmp_path} (from {midas.source})"
    (tmp_path / midas.names[0]).touch()
    assert detector(midas, tmp_path).verdict is Verdict.OK


def test_openpose_is_never_shown_without_its_licence(tmp_path: Path) -> None:
    openpose = DETECTOR_FILES[ControlType.OPENPOSE]
    assert "non-commercial use only" in (detector(openpose, tmp_path).remedy or "")
    assert "non-commercial use only" in openpose.remedy(openpose.names, str(tmp_path))
    (tmp_path / openpose.names[0]).touch()
    found = detector(openpose, tmp_path).found
    assert found.startswith(f"{tmp_path}, without hand_pose_model.pth and facenet.pth; ")
    assert "non-commercial use only" in found
    for name in openpose.optional:
        (tmp_path / name).touch()
    assert detector(openpose, tmp_path).found.startswith(f"{tmp_path}; licensed for non-commercial use")


def test_agents_need_a_package_of_their_own() -> None:
    assert mcp_packages({"mcp": "2.3.0"}).found == "mcp 2.3.0"
    absent = mcp_packages({"mcp": None})
    assert (absent.verdict, "mcp" in (absent.remedy or "")) == (Verdict.NOTE, True)
