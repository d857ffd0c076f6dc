"""docs/states.md: the state machines as diagrams and tables, drawn from the tables of the code."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

from docs import state_words
from engine_worker.session import states as session
from kernel.core.state import tables


@dataclass(frozen=True, slots=True)
class Machine:
    """One machine: its moves, in the order of the code's table, each with when it is made."""

    name: str
    about: str
    states: tuple[Enum, ...]
    """The first one is where it begins."""
    moves: Mapping[tuple[Enum, Enum], str]


_INTRODUCTION: Final = (
    "Every change of a state is checked against these tables: a change that is not drawn here cannot happen.",
    "They are in `kernel/core/state/tables.py` and, for the worker's own side,",
    "`engine_worker/session/states.py`. The REST API shows those of models, engines, jobs and deliveries.",
)


def states_page(notice: str) -> str:
    """The whole page. `notice` is the line that says that it is generated."""
    lines = ["# States", "", notice, "", *_INTRODUCTION]
    for machine in machines():
        lines += ["", *_section(machine)]
    return "\n".join(lines) + "\n"


def machines() -> tuple[Machine, ...]:
    """Every machine.

    Raises: LookupError, if a move of the code has no words in state_words, or words have no move.
    """
    return (
        _of_core("Model", "A registered model.", tables.MODEL_MOVES, state_words.MODEL),
        _of_core(
            "Engine",
            "Its state follows from its workers, and is computed in one place: "
            "`kernel/core/lifecycle/engines.py:refresh`.",
            tables.ENGINE_MOVES,
            state_words.ENGINE,
        ),
        _of_core("Job", "What a person asked for.", tables.JOB_MOVES, state_words.JOB),
        _of_core(
            "Delivery",
            "What is sent to one receiver about one event of a job.",
            tables.DELIVERY_MOVES,
            state_words.DELIVERY,
        ),
        _of_core(
            "Worker", "A worker process, as the Manager sees it.", tables.WORKER_MOVES, state_words.WORKER
        ),
        _of_core("Manager", "The server's own life.", tables.PHASE_MOVES, state_words.MANAGER),
        _of_session(),
    )


def _of_core(name: str, about: str, moves: tables.Moves[tables.State], words: state_words.Words) -> Machine:
    found = [(old, new) for old in moves for new in sorted(moves[old])]
    missing = set(found) ^ set(words)
    if missing:
        raise LookupError(f"docs/state_words.py and the moves of {name} differ in {missing}")
    return Machine(name, about, tuple(moves), {move: words[move] for move in found})


def _of_session() -> Machine:
    """Several causes may make the same move: they share a line."""
    causes: dict[tuple[Enum, Enum], list[str]] = {}
    for old, moves in session.MOVES.items():
        for cause, new in moves.items():
            causes.setdefault((old, new), []).append(state_words.CAUSES[cause])
    about = "The same worker, as it sees itself; its phases cross no border."
    return Machine(
        "Worker's session",
        about,
        tuple(session.MOVES),
        {move: "; or ".join(words) for move, words in causes.items()},
    )


def _section(machine: Machine) -> Iterator[str]:
    yield from (f"## {machine.name}", "", machine.about, "", "```mermaid", "stateDiagram-v2")
    yield f"    [*] --> {_word(machine.states[0])}"
    yield from (f"    {_word(old)} --> {_word(new)}" for old, new in machine.moves)
    left = {old for old, _ in machine.moves}
    yield from (f"    {_word(state)} --> [*]" for state in machine.states if state not in left)
    yield from ("```", "", "| from | to | when |", "|---|---|---|")
    yield from (f"| {_word(old)} | {_word(new)} | {when} |" for (old, new), when in machine.moves.items())


def _word(state: Enum) -> str:
    return state.name.lower()
