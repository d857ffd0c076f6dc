"""Training that was stopped and resumed ends in the same weights as training that was not."""

import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from training.loop import (
    NotTrained,
    Part,
    Run,
    checkpoint_path,
    is_trained,
    mark_trained,
    one_cycle,
    seeded,
    train,
    trained_weights,
)

pytestmark = pytest.mark.torch
CPU = torch.device("cpu")


class _Killed(Exception):
    """Stands for a signal."""


def _part(steps: int, killed_at: int | None = None) -> Part:
    torch.manual_seed(0)
    line = nn.Linear(3, 1)

    def loss(step: int) -> Tensor:
        if step == killed_at:
            raise _Killed
        inputs = torch.randn(8, 3, generator=seeded(0, step, CPU))
        return (line(inputs) - inputs.sum(1, keepdim=True)).square().mean()

    return Part(
        name="line",
        modules=nn.ModuleDict({"line": line}),
        optimizer=torch.optim.AdamW(line.parameters(), lr=0.1),
        steps=steps,
        rate=one_cycle,
        loss=loss,
        averages=nn.ModuleDict({"line": nn.Linear(3, 1)}).requires_grad_(False),
    )


def _run(folder: Path) -> Run:
    return Run(folder=folder, device=CPU, save_every_s=0)


def test_a_killed_and_resumed_training_ends_in_the_same_weights(tmp_path: Path) -> None:
    train(_part(30), _run(tmp_path / "whole"))
    with pytest.raises(_Killed):
        train(_part(30, killed_at=13), _run(tmp_path / "killed"))
    train(_part(30), _run(tmp_path / "killed"))
    for folder in ("whole", "killed"):
        assert is_trained(tmp_path / folder, "line")
    whole, killed = (trained_weights(tmp_path / folder, "line", "line") for folder in ("whole", "killed"))
    assert all(torch.equal(whole[name], killed[name]) for name in whole)


def test_a_finished_training_does_nothing_more(tmp_path: Path) -> None:
    train(_part(5), _run(tmp_path))
    written = checkpoint_path(tmp_path, "line").stat().st_mtime_ns
    train(_part(5, killed_at=0), _run(tmp_path))
    assert checkpoint_path(tmp_path, "line").stat().st_mtime_ns == written


def test_a_kill_while_saving_leaves_the_checkpoint_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(_part(5), _run(tmp_path))
    before = checkpoint_path(tmp_path, "line").read_bytes()

    def killed(_: int) -> None:
        raise _Killed

    monkeypatch.setattr(os, "fsync", killed)
    with pytest.raises(_Killed):
        train(_part(6), _run(tmp_path))
    assert checkpoint_path(tmp_path, "line").read_bytes() == before


def test_an_unfinished_training_is_not_built_upon_unless_that_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(NotTrained, match="has not been trained"):
        trained_weights(tmp_path, "line", "line")
    with pytest.raises(_Killed):
        train(_part(10, killed_at=4), _run(tmp_path))
    with pytest.raises(NotTrained, match="4 of 10 steps"):
        trained_weights(tmp_path, "line", "line")
    assert trained_weights(tmp_path, "line", "line", unfinished=True).keys() == {"weight", "bias"}


def test_what_was_trained_elsewhere_is_built_upon_and_trained_further(tmp_path: Path) -> None:
    part = _part(5)
    mark_trained(tmp_path, "line", part.modules, steps=5)
    train(_part(5, killed_at=0), _run(tmp_path))  # has nothing left to do
    before = trained_weights(tmp_path, "line", "line")
    assert torch.equal(before["weight"], part.modules["line"].weight)
    train(_part(60), _run(tmp_path))
    after = trained_weights(tmp_path, "line", "line")
    assert (after["weight"] - 1).abs().mean() < (before["weight"] - 1).abs().mean() / 2


def test_the_average_is_what_counts_as_trained(tmp_path: Path) -> None:
    part = replace(_part(40), decay=0.5)
    train(part, _run(tmp_path))
    assert part.averages is not None
    weights = trained_weights(tmp_path, "line", "line")
    assert torch.equal(weights["weight"], part.averages["line"].weight)
    assert torch.allclose(weights["weight"], torch.ones(1, 3), atol=0.2)


def test_the_rate_rises_and_falls_to_nothing() -> None:
    assert one_cycle(0.0) == 0.0
    assert one_cycle(0.1) == pytest.approx(1.0)
    assert one_cycle(1.0) == pytest.approx(0.0)
