"""What the Manager sees of the folder of detectors."""

from pathlib import Path

from kernel.protocol.detectors import DETECTOR_FILES
from kernel.protocol.enums import ControlType
from kernel.shell.storage_folders import absent_detectors


def test_every_detector_with_files_is_absent_where_there_is_no_folder(tmp_path: Path) -> None:
    absent = absent_detectors(tmp_path / "nowhere")
    assert absent.keys() == DETECTOR_FILES.keys()
    assert str(tmp_path / "nowhere" / "openpose") in absent[ControlType.OPENPOSE]


def test_only_the_files_that_are_missing_are_named(tmp_path: Path) -> None:
    (tmp_path / "depth").mkdir()
    for name in DETECTOR_FILES[ControlType.DEPTH].names[1:]:
        (tmp_path / "depth" / name).write_bytes(b"")
    remedy = absent_detectors(tmp_path)[ControlType.DEPTH]
    assert remedy.startswith(f"put config.json into {tmp_path / 'depth'} (from ")
    (tmp_path / "depth" / "config.json").write_bytes(b"")
    assert ControlType.DEPTH not in absent_detectors(tmp_path)
