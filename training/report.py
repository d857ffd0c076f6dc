"""Writes the figures of the last evaluation into training/README.md, between its two marks."""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec

from training.captions import Attribute
from training.effects import Effect, effect_file, trials
from training.exam import Score
from training.families import FAMILIES
from training.speed import Speed

Figure = TypeVar("Figure")

README = Path(__file__).parent / "README.md"
BEGIN, END = "<!-- figures: begin -->\n", "<!-- figures: end -->\n"

GOALS: dict[Attribute, float] = {
    Attribute.BACKGROUND: 0.97,
    Attribute.COLOUR: 0.95,
    Attribute.PLACE: 0.95,
    Attribute.SHAPE: 0.90,
    Attribute.SIZE: 0.90,
}
ALL_FIVE_GOAL = 0.80
EFFECT_GOAL = 0.90
NAMES = {Attribute.COLOUR: "the shape's colour", Attribute.BACKGROUND: "the background's colour"}
AT_ZERO = {None: "", True: "identical", False: "differs"}


def family_table(scores: Mapping[str, Score], speeds: Mapping[str, Speed]) -> str:
    """Make the table of the families' exams."""
    lines = [_row("right", "goal", *scores), _row("---", "---", *("---" for _ in scores))]
    for attribute, goal in GOALS.items():
        shares = [_share(score.right[attribute.value], score.asked) for score in scores.values()]
        lines.append(_row(NAMES.get(attribute, attribute.value), f"{goal:.0%}", *shares))
    shares = [_share(score.all_right, score.asked) for score in scores.values()]
    lines.append(_row("all five", f"{ALL_FIVE_GOAL:.0%}", *shares))
    measured = [speeds.get(name) for name in scores]
    seconds = [f"{speed.seconds_per_image:.2f} s" if speed else "" for speed in measured]
    memory = [f"{speed.peak_memory_bytes / 2**20:.0f} MiB" if speed else "" for speed in measured]
    lines.append(_row("time of an image, two CPU cores", "about 1 s", *seconds))
    lines.append(_row("memory of the whole process", "", *memory))
    return "".join(f"{line}\n" for line in lines)


def effect_table(effects: Sequence[Effect]) -> str:
    """Make the table of the adapters' effects."""
    head = ("adapter", "with it and not without", "goal", "without it", "at weight 0")
    lines = [_row(*head), _row(*("---" for _ in head))]
    for effect in effects:
        with_it, without = _share(effect.shown, effect.asked), _share(effect.without, effect.asked)
        zero = AT_ZERO[effect.is_identical_at_zero]
        lines.append(_row(effect.adapter, with_it, f"{EFFECT_GOAL:.0%}", without, zero))
    return "".join(f"{line}\n" for line in lines)


def insert(text: str, tables: Sequence[str]) -> str:
    """Give the README's text with these tables between its marks."""
    before, _, rest = text.partition(BEGIN)
    return before + BEGIN + "".join(f"\n{table}" for table in tables) + "\n" + END + rest.partition(END)[2]


def main(arguments: Sequence[str] | None = None) -> None:
    """Put the figures of a training folder into the README."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("build/training"))
    chosen = parser.parse_args(arguments).folder
    folder = chosen / "figures"
    names = [family.base.value for family in FAMILIES]
    tables = [family_table(_read(folder, "family", names, Score), _read(folder, "speed", names, Speed))]
    effects = [effect_file(chosen, trial.adapter) for trial in trials()]
    if any(path.exists() for path in effects):
        tables.append(effect_table([_read_one(path, Effect) for path in effects if path.exists()]))
    README.write_text(insert(README.read_text(), tables))


def _read(folder: Path, kind: str, names: Sequence[str], form: type[Figure]) -> dict[str, Figure]:
    """Read the figures of the families that have them."""
    paths = {name: folder / f"{kind}-{name}.json" for name in names}
    return {name: _read_one(path, form) for name, path in paths.items() if path.exists()}


def _read_one(path: Path, form: type[Figure]) -> Figure:
    return msgspec.json.decode(path.read_bytes(), type=form)


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _share(count: int, asked: int) -> str:
    return f"{count / asked:.1%}"


if __name__ == "__main__":
    main()
