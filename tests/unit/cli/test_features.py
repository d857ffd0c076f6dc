"""What the doctor says of the features that only some jobs need."""

from pathlib import Path

from api.cli.installation.diagnosis import Verdict
from api.cli.installation.features import background_removal, detector, opencv, pose_packages
from api.cli.installation.software import install_command
from kernel.protocol.detectors import DETECTOR_FILES
from kernel.protocol.enums import ControlType


def test_one_onnx_runtime_is_fine_none_is_off_two_are_a_conflict() -> None:
    assert background_removal({"onnxruntime-gpu": "1.31.1"}).verdict is Verdict.OK
    none = background_removal({"onnxruntime-gpu": None, "onnxruntime": None})
    assert (none.verdict, "[cuda]" in (none.remedy or "")) == (Verdict.NOTE, True)
    both = background_removal({"onnxruntime-gpu": "1.31.1", "onnxruntime": "1.30.0"})
    assert (
        both.found
        == "onnxruntime-gpu 1.31.1 and onnxruntime 1.30.0 are both installed and overwrite each other"
    )


def test_opencv_without_libgl_names_the_package_of_the_system() -> None:
    assert opencv(None).verdict is Verdict.OK
    found = opencv("ImportError: libGL.so.1: cannot open shared object file: No such file or directory")
    assert (found.verdict, "libgl1" in (found.remedy or "")) == (Verdict.NOTE, True)
    assert "[worker]'" in (opencv("No module named 'cv2'").remedy or "")


def test_missing_pose_packages_are_named_with_the_way_to_get_them() -> None:
    there = {"controlnet-aux": "0.0.10", "mediapipe": "0.10.21"}
    assert pose_packages(there, (3, 11)).found == "controlnet-aux 0.0.10, mediapipe 0.10.21"
    absent = there | {"mediapipe": None}
    assert pose_packages(absent, (3, 12)).remedy == install_command("pose")
    assert "Python 3.11 or 3.12" in (pose_packages(absent, (3, 13)).remedy or "")


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
