"""The fields for a background remover's input format, where its file does not tell it."""

from typing import Annotated, Protocol

from msgspec import Meta

from api.http.contract.validation_errors import ValidationErrors
from kernel.protocol.model_refs import Preparation

Side = Annotated[int, Meta(ge=32, le=4_096)]
Sides = Annotated[tuple[Side, ...], Meta(min_length=1, max_length=2, description="Width and height.")]
InputSize = Side | Sides
Mean = Annotated[tuple[Annotated[float, Meta(ge=0, le=1)], ...], Meta(min_length=3, max_length=3)]
Deviation = Annotated[tuple[Annotated[float, Meta(ge=0.001, le=1)], ...], Meta(min_length=3, max_length=3)]


class Prepared(Protocol):
    """An input with these fields."""

    @property
    def input_size(self) -> InputSize | None: ...

    @property
    def mean(self) -> Mean | None: ...

    @property
    def std(self) -> Deviation | None: ...


def check_preparation(found: Prepared, faults: ValidationErrors, *, is_background: bool) -> None:
    """Check that these fields are only given for a background remover."""
    for field, said in (("input_size", found.input_size), ("mean", found.mean), ("std", found.std)):
        if said is not None and not is_background:
            faults.wrong(field, "applies to models of type background only")


def preparation_of(found: Prepared) -> Preparation | None:
    """The input format as given; None, if no field is."""
    if found.input_size is None and found.mean is None and found.std is None:
        return None
    mean, std = found.mean, found.std
    size = (found.input_size,) if isinstance(found.input_size, int) else found.input_size
    return Preparation(
        input_size=None if size is None else (size[0], size[-1]),
        mean=None if mean is None else (mean[0], mean[1], mean[2]),
        std=None if std is None else (std[0], std[1], std[2]),
    )
