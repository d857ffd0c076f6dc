"""Reads a network's parameters from a model's files, one at a time."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from io import FileIO
from itertools import islice
from pathlib import Path
from types import MappingProxyType

import torch
from torch import Tensor

from engine_worker.formats.ldm_keys import THIRDS, Form, Stored
from engine_worker.formats.safetensors_header import Header
from engine_worker.formats.tensor_places import Place
from kernel.protocol.errors import ModelUnreadable

_DTYPES: Mapping[str, torch.dtype] = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
}
# Some trainers store the alpha of a LoRA's layer as an integer.
_NUMBERS: Mapping[str, torch.dtype] = {**_DTYPES, "I64": torch.int64, "I32": torch.int32}
# The length of the header, before it: https://github.com/huggingface/safetensors#format
_LENGTH_BYTES = 8
_READERS = 2
_TENSORS_AHEAD = 4


class ParameterReader:
    """Reads the parameters of networks from open files, in two threads that go on from network to network.

    Most of the time goes into first touches of memory, which two threads do faster than one.
    """

    def __init__(
        self, files: Mapping[Path, FileIO], threads: ThreadPoolExecutor, on_read: Callable[[int], None]
    ) -> None:
        """`on_read` takes the bytes of each parameter, from any thread."""
        self._on_read = on_read
        self._files = {path: (file, _first_byte(file)) for path, file in files.items()}
        self._threads = threads

    def begin(
        self,
        places: Mapping[str, Place],
        device: torch.device,
        dtype: torch.dtype,
        pack: Mapping[str, Callable[[Tensor], Tensor]] = MappingProxyType({}),
    ) -> Callable[[], dict[str, Tensor]]:
        """Begin to read a network's parameters, in the order of the files.

        Files are read, not mapped, so a file that changes later has no effect, and one that is truncated
        meanwhile is an ordinary error. Only a few tensors at a time are in memory twice. Parameters in `pack`
        are converted to the layout of their layer, on the CPU by the threads that read.
        Returns: a function that waits for the parameters. Raises (the function): ModelUnreadable, if a tensor
        cannot be read.
        """
        is_at_home = device.type == "cpu"

        def finished(name: str, tensor: Tensor) -> Tensor:
            sent = tensor.to(device, dtype).contiguous()
            return pack[name](sent) if name in pack else sent

        def read(name: str) -> Tensor:
            place = places[name]
            file, first_byte = self._files[place.header.path]
            tensor = _formed(_read(file, first_byte, place, _DTYPES), place.stored.form)
            read_bytes = tensor.nbytes
            tensor = finished(name, tensor) if is_at_home else tensor
            self._on_read(read_bytes)
            return tensor

        def taken(name: str, reading: Future[Tensor]) -> Tensor:
            return reading.result() if is_at_home else finished(name, reading.result())

        names = sorted(places, key=lambda name: _whereabouts(places[name]))
        # What goes elsewhere is in the host's memory meanwhile; what stays there may as well be read at once.
        ahead = self._ahead(names, read, len(names) if is_at_home else _TENSORS_AHEAD)
        return lambda: {name: taken(name, reading) for name, reading in ahead}

    def _ahead(
        self, names: Sequence[str], read: Callable[[str], Tensor], count: int
    ) -> Iterator[tuple[str, Future[Tensor]]]:
        """Each in turn, with so many begun before it is waited for; the first ones are begun at once."""
        begun = deque((name, self._threads.submit(read, name)) for name in names[:count])

        def rest() -> Iterator[tuple[str, Future[Tensor]]]:
            later = iter(names[count:])
            while begun:
                yield begun.popleft()
                begun.extend((name, self._threads.submit(read, name)) for name in islice(later, 1))

        return rest()


@contextmanager
def parameter_reader(headers: Iterable[Header], on_read: Callable[[int], None]) -> Iterator[ParameterReader]:
    """For these files; what has been begun and not been waited for is given up at the end. `on_read` takes
    the bytes of each parameter that was read.

    Raises: ModelUnreadable, if one cannot be read.
    """
    try:
        with ExitStack() as files:
            opened = {header.path: files.enter_context(header.open()) for header in headers}
            # Packing uses as many threads as the engine's steps will: oneDNN chooses an order by the number,
            # and a thread learns it from torch only when it asks.
            threads = ThreadPoolExecutor(_READERS, initializer=torch.get_num_threads)
            files.callback(threads.shutdown, cancel_futures=True)
            yield ParameterReader(opened, threads, on_read)
    except OSError as error:
        raise ModelUnreadable(f"cannot read the tensors: {error.strerror}") from error


def read_tensors(header: Header, keys: Iterable[str]) -> dict[str, Tensor]:
    """Read some tensors of one file, by their keys and in their stored precision, on the CPU.

    Raises: ModelUnreadable, if one cannot be read.
    """
    places = {key: Place(header, header.tensors[key], Stored(key)) for key in keys}
    try:
        with header.open() as file:
            first_byte = _first_byte(file)
            return {key: _read(file, first_byte, place, _NUMBERS) for key, place in places.items()}
    except OSError as error:
        raise ModelUnreadable(f"cannot read the tensors: {error.strerror}") from error


def _whereabouts(place: Place) -> tuple[Path, tuple[int, int]]:
    return place.header.path, place.entry.data_offsets


def _first_byte(file: FileIO) -> int:
    """The offset of the first tensor: after the header and its length."""
    return _LENGTH_BYTES + int.from_bytes(file.read(_LENGTH_BYTES), "little")


def _read(file: FileIO, first_byte: int, place: Place, dtypes: Mapping[str, torch.dtype]) -> Tensor:
    """The stored tensor; of three joined ones, the requested third."""
    entry, form = place.entry, place.stored.form
    if entry.dtype not in dtypes:
        raise ModelUnreadable(
            f"{place.stored.key} is stored as {entry.dtype}: quantized models are not supported"
        )
    parts = len(THIRDS) if form in THIRDS else 1
    size_bytes = entry.size_bytes // parts
    skipped = THIRDS.index(form) * size_bytes if form in THIRDS else 0
    held = torch.empty(size_bytes, dtype=torch.uint8)
    begin = first_byte + entry.data_offsets[0] + skipped
    buffer, done = held.numpy().data, 0
    while done < size_bytes:
        # Positioned reads, because two threads share the file.
        count = os.preadv(file.fileno(), [buffer[done:]], begin + done)
        if not count:
            raise ModelUnreadable(f"{place.header.path.name} was truncated while it was being read")
        done += count
    first, *rest = entry.shape or (1,)
    tensor = held.view(dtypes[entry.dtype]).reshape(first // parts, *rest)
    return tensor if entry.shape else tensor.reshape(())


def _formed(tensor: Tensor, form: Form) -> Tensor:
    match form:
        case Form.TRANSPOSED:
            return tensor.T
        case Form.CONV_1X1:
            return tensor.flatten(1)
        case _:
            return tensor
