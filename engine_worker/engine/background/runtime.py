"""Runs ONNX models with onnxruntime, and reports the device that they really run on."""

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

from engine_worker.engine.runtime.late_import import late_import
from kernel.process.log import line
from kernel.protocol.errors import ModelUnreadable, OutOfMemory

_log = logging.getLogger(__name__)

Tensor = npt.NDArray[np.float32] | npt.NDArray[np.float16]

# On the CPU the sampler needs cores as well, and more than four threads speed up such a model little.
_MAX_THREADS: Final = 4
_ERRORS_ONLY: Final = 3
_CUDA: Final = "CUDAExecutionProvider"
_CPU: Final = "CPUExecutionProvider"
# The sampler needs most of the memory, so allocate no more than requested, and do not benchmark convolutions.
_CUDA_OPTIONS: Final = {
    "arena_extend_strategy": "kSameAsRequested",
    "cudnn_conv_algo_search": "HEURISTIC",
}
# onnxruntime's messages when the device or the host is out of memory.
_OUT_OF_MEMORY: Final = ("Failed to allocate memory", "out of memory", "bad_alloc", "bad allocation")


class Socket(Protocol):
    """An input or output of a model. A side of any length is a name or None in `shape`."""

    name: str
    type: str
    shape: Sequence[int | str | None]


class _Metadata(Protocol):
    custom_metadata_map: Mapping[str, str]


class _Session(Protocol):
    """The interface of onnxruntime.InferenceSession."""

    def get_inputs(self) -> list[Socket]: ...

    def get_outputs(self) -> list[Socket]: ...

    def get_modelmeta(self) -> _Metadata: ...

    def get_providers(self) -> list[str]: ...

    def run(self, output_names: list[str], input_feed: Mapping[str, Tensor]) -> list[Tensor]: ...


class OnnxModel:
    """A loaded model."""

    def __init__(self, session: _Session, name: str) -> None:
        self.name = name
        self._session = session

    @property
    def inputs(self) -> list[Socket]:
        return self._session.get_inputs()

    @property
    def metadata(self) -> Mapping[str, str]:
        """Key-value pairs that the model's author wrote into the file."""
        return self._session.get_modelmeta().custom_metadata_map

    @property
    def is_on_gpu(self) -> bool:
        """True if the model runs on a GPU: the session tells, not the request."""
        return self._session.get_providers()[0] == _CUDA

    def run(self, tensor: Tensor) -> Tensor:
        """The model's first output for its one input.

        Raises: ModelUnreadable, if it fails for this tensor; OutOfMemory.
        """
        socket, first = self.inputs[0], self._session.get_outputs()[0]
        with _translated(f"{self.name} fails"):
            (output,) = self._session.run([first.name], {socket.name: tensor})
        return output


def load_onnx(path: Path, name: str, cuda_device: int | None) -> OnnxModel:
    """Load a model from an ONNX file for a GPU, by its number, or for the CPU (None).

    If onnxruntime cannot use the GPU, or has too little memory there, the model runs on the CPU.
    Raises: NotInstalled; ModelUnreadable, if onnxruntime cannot run the file; OutOfMemory.
    """
    with late_import("background removal", "cuda", "cpu"):
        import onnxruntime

    if cuda_device is not None and _CUDA in onnxruntime.get_available_providers():
        options = {"device_id": str(cuda_device), **_CUDA_OPTIONS}
        try:
            return OnnxModel(_open(path, [_CUDA, _CPU], [options, {}]), name)
        except _runtime_errors() as error:
            _log.warning(line("onnx_on_cpu", name=name, reason=_in_one_line(error)))
    with _translated(f"cannot load {name} as an ONNX model"):
        return OnnxModel(_open(path, [_CPU], [{}]), name)


def _open(path: Path, providers: list[str], provider_options: list[dict[str, str]]) -> _Session:
    from onnxruntime import InferenceSession, SessionOptions

    options = SessionOptions()
    options.intra_op_num_threads = min(_MAX_THREADS, max(1, (os.cpu_count() or 1) // 2))
    options.inter_op_num_threads = 1
    options.log_severity_level = _ERRORS_ONLY
    # Threads that spin while idle would slow down the steps.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session: _Session = InferenceSession(str(path), options, providers, provider_options)
    return session


@contextmanager
def _translated(what: str) -> Iterator[None]:
    """A context that translates errors of onnxruntime. Raises: ModelUnreadable, OutOfMemory."""
    try:
        yield
    except _runtime_errors() as error:
        reason = _in_one_line(error)
        if any(words in reason for words in _OUT_OF_MEMORY):
            raise OutOfMemory(f"{what}: not enough memory") from error
        raise ModelUnreadable(f"{what}: {reason}") from error


def _in_one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def _runtime_errors() -> tuple[type[Exception], ...]:
    """All error classes of onnxruntime, which have no common base."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    found = [kind for kind in vars(state).values() if isinstance(kind, type) and issubclass(kind, Exception)]
    return tuple(found)
