"""The loop that every part is trained by: seeded, resumable, with a bar, a log and a checkpoint that is never
half-written.

Nothing random outlives a step: what a step draws depends on the seed and the step's number alone. So the
weights, the optimizer's moments and the number of steps done are the whole state, and a run that was killed
and resumed ends in the same weights as one that was not.
"""

import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

import torch
from torch import Tensor, nn
from tqdm import tqdm

from kernel.protocol.errors import SpoonError

LOG_EVERY_STEPS = 50
CLIP_NORM = 1.0


@dataclass(frozen=True, slots=True)
class Recipe:
    """How much a part is trained on one kind of device: a CPU gets smaller batches than a GPU."""

    batch: int
    steps: int
    images: int = 0
    """In the gallery; 0 where images are drawn as they are needed."""


class NotTrained(SpoonError):
    """A part builds on another one whose training has not ended."""


@dataclass(frozen=True, slots=True)
class Run:
    """How and where a part is trained."""

    folder: Path
    """Holds the checkpoints and the logs; outside the repository."""
    device: torch.device
    seed: int = 0
    loaders: int = 0
    """Processes that write captions ahead of time; 0 writes them between the steps."""
    steps: int | None = None
    """Instead of the part's own number, for a trial."""
    images: int | None = None
    """In the galleries, likewise."""
    save_every_s: float = 120.0


@dataclass(frozen=True, slots=True)
class Part:
    """What is trained: its name, its modules, and how one step's loss comes about."""

    name: str
    modules: nn.ModuleDict
    optimizer: torch.optim.Optimizer
    steps: int
    rate: Callable[[float], float]
    """The learning rate's factor from the share of steps done."""
    loss: Callable[[int], Tensor]
    """The loss of the step of that number."""
    averages: nn.ModuleDict | None = None
    """Twins of some modules, by the same names, that follow them as a moving average."""
    decay: float = 0.998


def train(part: Part, run: Run) -> None:
    """Train the part from where its checkpoint stands to its last step."""
    path = checkpoint_path(run.folder, part.name)
    path.parent.mkdir(parents=True, exist_ok=True)
    rates = [float(group["lr"]) for group in part.optimizer.param_groups]  # a checkpoint holds scaled ones
    done = _resume(part, path, run.device)
    with _log(path.with_suffix(".jsonl")) as log, _bar(part, done) as bar:
        saved_at = time.monotonic()
        for step in range(done, part.steps):
            loss = _step(part, step, rates)
            bar.update()
            if step % LOG_EVERY_STEPS == 0:
                bar.set_postfix(loss=f"{loss.item():.4f}")
                log({"step": step, "loss": round(loss.item(), 5), "seconds": round(time.time(), 1)})
            if time.monotonic() - saved_at > run.save_every_s:
                _save(part, step + 1, run.folder)
                saved_at = time.monotonic()
    if done < part.steps:
        _save(part, part.steps, run.folder)


def checkpoint_path(folder: Path, name: str) -> Path:
    """Say where a part's training state lies."""
    return folder / f"{name}.pt"


def is_trained(folder: Path, name: str) -> bool:
    """Tell whether a part's training has done its last step."""
    path = checkpoint_path(folder, name)
    if not path.exists():
        return False
    state = _load(path, torch.device("cpu"))
    return state["done"] >= state["steps"]


def mark_trained(folder: Path, name: str, modules: nn.ModuleDict, steps: int) -> None:
    """Write the checkpoint of a part that was trained elsewhere, as if these had been its steps here.

    Nothing is known of the optimizer's moments: a training that goes on from there gathers them anew.
    """
    weights = modules.state_dict()
    folder.mkdir(parents=True, exist_ok=True)
    _write(_State(done=steps, steps=steps, modules=weights, averages=weights, optimizer={}), folder, name)


def trained_weights(folder: Path, name: str, module: str, *, unfinished: bool = False) -> dict[str, Tensor]:
    """Read a module's weights from a part's checkpoint: the moving average where one is kept.

    Raises: NotTrained, if there is none, or if its training has not ended and `unfinished` does not allow
    that.
    """
    path = checkpoint_path(folder, name)
    if not path.exists():
        raise NotTrained(f"{name} has not been trained: {path} is missing")
    state = _load(path, torch.device("cpu"))
    if state["done"] < state["steps"] and not unfinished:
        raise NotTrained(f"{name} has done {state['done']} of {state['steps']} steps")
    averaged = _under(state["averages"], module)
    return averaged or _under(state["modules"], module)


def one_cycle(share: float) -> float:
    """Rise over the first tenth, fall as a cosine to nothing. Source: L. Smith, arXiv 1708.07120."""
    return share / 0.1 if share < 0.1 else 0.5 + 0.5 * math.cos(math.pi * (share - 0.1) / 0.9)


def warm_then_fall(share: float) -> float:
    """Rise over the first fiftieth, stay, and fall over the last third to a twentieth."""
    if share < 0.02:
        return share / 0.02
    return 1.0 if share < 0.67 else max(0.05, 0.5 + 0.5 * math.cos(math.pi * (share - 0.67) / 0.33))


def seeded(run_seed: int, step: int, device: torch.device) -> torch.Generator:
    """Make the generator of one step's noise."""
    return torch.Generator(device).manual_seed((run_seed << 32) + step)


def _step(part: Part, step: int, rates: list[float]) -> Tensor:
    for group, rate in zip(part.optimizer.param_groups, rates, strict=True):
        group["lr"] = rate * part.rate(step / part.steps)
    loss = part.loss(step)
    part.optimizer.zero_grad(set_to_none=True)
    torch.autograd.backward(loss)
    torch.nn.utils.clip_grad_norm_(part.modules.parameters(), CLIP_NORM)
    part.optimizer.step()
    if part.averages is not None:
        _follow(part.averages, part.modules, part.decay, step)
    return loss.detach()


@torch.no_grad()
def _follow(averages: nn.ModuleDict, modules: nn.ModuleDict, decay: float, step: int) -> None:
    """Move the averages toward the weights; faster at first, so that the random start is soon forgotten."""
    share = 1 - min(decay, (1 + step) / (10 + step))
    for name, average in averages.items():
        followed: list[Tensor] = list(average.parameters())
        torch._foreach_lerp_(followed, list(modules[name].parameters()), share)


def _resume(part: Part, path: Path, device: torch.device) -> int:
    if not path.exists():
        return 0
    state = _load(path, device)
    if state["done"] >= part.steps:
        return state["done"]
    part.modules.load_state_dict(state["modules"])
    if state["optimizer"]:
        part.optimizer.load_state_dict(state["optimizer"])
    if part.averages is not None:
        part.averages.load_state_dict(state["averages"])
    return state["done"]


def _bar(part: Part, done: int) -> "tqdm[None]":
    """Show a bar; once in ten seconds where nobody watches, for the sake of the log."""
    interval_s = 0.2 if sys.stderr.isatty() else 10.0
    return tqdm(initial=done, total=part.steps, desc=part.name, mininterval=interval_s)


class _State(TypedDict):
    """What a checkpoint holds."""

    done: int
    steps: int
    modules: dict[str, Tensor]
    averages: dict[str, Tensor]
    optimizer: dict[str, object]


def _load(path: Path, device: torch.device) -> _State:
    """Read a checkpoint; weights only, so that a foreign file runs no code."""
    state: _State = torch.load(path, map_location=device, weights_only=True)
    return state


def _under(weights: Mapping[str, Tensor], module: str) -> dict[str, Tensor]:
    """Give the weights of one module, by their names within it."""
    return {
        key.removeprefix(f"{module}."): value
        for key, value in weights.items()
        if key.startswith(f"{module}.")
    }


def _save(part: Part, done: int, folder: Path) -> None:
    """Keep how far the part has come."""
    state = _State(
        done=done,
        steps=part.steps,
        modules=part.modules.state_dict(),
        averages={} if part.averages is None else part.averages.state_dict(),
        optimizer=part.optimizer.state_dict(),
    )
    _write(state, folder, part.name)


def _write(state: _State, folder: Path, name: str) -> None:
    """Write a checkpoint beside its place and move it there: a kill leaves the old one or the new one."""
    path = checkpoint_path(folder, name)
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


@contextmanager
def _log(path: Path) -> Iterator[Callable[[dict[str, float]], None]]:
    with path.open("a", buffering=1) as file:
        yield lambda entry: print(json.dumps(entry), file=file)


def autocast(device: torch.device, *, is_convolutional: bool = True) -> torch.autocast:
    """Give the context for a forward pass and its loss.

    On a GPU bfloat16 is always faster. On a CPU it makes the VAE's wide feature maps 1.6 times as fast and
    the UNet's small ones slower.
    """
    return torch.autocast(
        device.type, dtype=torch.bfloat16, enabled=device.type == "cuda" or is_convolutional
    )
