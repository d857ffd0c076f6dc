"""Finding a network's parameters in a checkpoint's files, and reading them one at a time."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from engine_worker.engine.blueprint import NetworkPlan
from engine_worker.engine.header import Header
from engine_worker.engine.ldm_keys import THIRDS, Form, Stored
from kernel.protocol.errors import ModelUnreadable

_NAMES_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Place:
    """Where one parameter is read from."""

    path: Path
    stored: Stored


def find_places(names: Iterable[str], plan: NetworkPlan) -> Mapping[str, Place]:
    """Where each of a network's parameters is.

    Raises: ModelUnreadable, if some are nowhere.
    """
    owners = {key: header.path for header in plan.files for key in header.tensors}
    places: dict[str, Place] = {}
    missing: list[str] = []
    for name in names:
        candidates = plan.locate(name)
        found = next((stored for stored in candidates if stored.key in owners), None)
        if found is None:
            missing.append(candidates[0].key)
        else:
            places[name] = Place(owners[found.key], found)
    if missing:
        raise ModelUnreadable(f"The {plan.network.value} lacks {_listed(missing)}")
    return places


def check_surplus(
    files: Iterable[Header], places: Iterable[Place], is_leftover: Callable[[str], bool]
) -> None:
    """Make sure that no tensor is left over that a network would have needed to be understood.

    Raises: ModelUnreadable, if there is one.
    """
    taken = {(place.path, place.stored.key) for place in places}
    surplus = [
        key
        for header in files
        for key in header.tensors
        if (header.path, key) not in taken and not is_leftover(key)
    ]
    if surplus:
        raise ModelUnreadable(f"There is no use for {_listed(surplus)}: the model is not what it seems")


def read_parameters(
    places: Mapping[str, Place], shapes: Mapping[str, torch.Size], device: torch.device, dtype: torch.dtype
) -> dict[str, Tensor]:
    """A network's parameters, each a copy of its own, so that nothing depends on the file afterwards.

    Raises: ModelUnreadable, if a tensor has another shape than the network, or cannot be read.
    """
    parameters: dict[str, Tensor] = {}
    try:
        for name, tensor in _tensors(places):
            if tensor.shape != shapes[name]:
                key = places[name].stored.key
                raise ModelUnreadable(f"{key} is {list(tensor.shape)} and should be {list(shapes[name])}")
            parameters[name] = torch.empty(tensor.shape, dtype=dtype, device=device).copy_(tensor)
    except (OSError, SafetensorError) as error:
        raise ModelUnreadable(f"The tensors cannot be read: {error}") from error
    return parameters


def _tensors(places: Mapping[str, Place]) -> Iterator[tuple[str, Tensor]]:
    """Each parameter as a view of the mapped file, in the form that the module wants."""
    with ExitStack() as stack:
        paths = {place.path for place in places.values()}
        files = {path: stack.enter_context(safe_open(path, framework="pt", device="cpu")) for path in paths}
        for name, place in places.items():
            yield name, _formed(files[place.path].get_tensor(place.stored.key), place.stored.form)


def _formed(tensor: Tensor, form: Form) -> Tensor:
    if form in THIRDS:
        return tensor.tensor_split(3)[THIRDS.index(form)]
    match form:
        case Form.TRANSPOSED:
            return tensor.T
        case Form.CONV_1X1:
            return tensor.flatten(1)
        case _:
            return tensor


def _listed(names: list[str]) -> str:
    shown = ", ".join(names[:_NAMES_SHOWN])
    more = len(names) - _NAMES_SHOWN
    return f"{shown} and {more} more tensors" if more > 0 else f"the tensor {shown}"
