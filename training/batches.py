"""Hands each step its batch: made by the step's number alone, in this process or ahead of time in others."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from torch.utils.data import DataLoader, Dataset

Batch = TypeVar("Batch")

AHEAD = 4
"""Batches that each loader process keeps ready."""


@dataclass(frozen=True, slots=True)
class Batches(Dataset[Batch], Generic[Batch]):
    """All batches of a training; number n is made from n alone."""

    make: Callable[[int], Batch]
    count: int

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, step: int) -> Batch:
        return self.make(step)


class Feed(Generic[Batch]):
    """Gives the batches in the order of the steps, beginning with whichever is asked for first."""

    def __init__(self, make: Callable[[int], Batch], steps: int, loaders: int) -> None:
        """Give `make` no state: with loaders it runs in other processes."""
        self._batches = Batches(make, steps)
        self._loaders = loaders
        self._ahead: Iterator[Batch] | None = None

    def __call__(self, step: int) -> Batch:
        """Give the batch of that step; steps are asked for in order."""
        if self._loaders == 0:
            return self._batches[step]
        if self._ahead is None:
            self._ahead = iter(self._loader(step))
        return next(self._ahead)

    def _loader(self, first: int) -> "DataLoader[Batch]":
        return DataLoader(
            self._batches,
            batch_size=None,
            sampler=range(first, len(self._batches)),
            num_workers=self._loaders,
            prefetch_factor=AHEAD,
        )
