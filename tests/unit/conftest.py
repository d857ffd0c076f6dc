"""Leaves out what needs more than the core where that is all, as in `make lowest` and `make newest`."""

from importlib.util import find_spec

NEED_TORCH = [
    "engine",
    "bench/test_product_gate.py",
    "bench/test_product_options.py",
    "api/test_job_pictures.py",
]
NEED_ONNX = ["worker/test_onnx_files.py", "worker/scanning/test_layouts.py"]

collect_ignore = [
    *(NEED_TORCH if find_spec("torch") is None else ()),
    *(NEED_ONNX if find_spec("onnx") is None else ()),
]
