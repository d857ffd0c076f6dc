"""What was measured, kept in a file of JSON lines: a run that is broken off goes on where it was."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(slots=True)
class Kept:
    """Figures of each side and round, in parts. Without a file they are forgotten with the process."""

    file: Path | None
    figures: dict[str, dict[int, dict[str, float]]] = field(default_factory=dict)
    _parts: set[tuple[str, int, str]] = field(default_factory=set)

    @classmethod
    def read(cls, file: Path | None) -> "Kept":
        kept = cls(file)
        if file is not None and file.exists():
            for line in file.read_text(encoding="utf-8").splitlines():
                found = json.loads(line)
                kept._take(found["side"], found["round"], found["part"], found["figures"])
        return kept

    def has(self, side: str, number: int, part: str) -> bool:
        return (side, number, part) in self._parts

    def add(self, side: str, number: int, part: str, figures: Mapping[str, float]) -> None:
        """Keep a part of a side's round."""
        self._take(side, number, part, figures)
        if self.file is not None:
            line = {"side": side, "round": number, "part": part, "figures": dict(figures)}
            with self.file.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")

    def _take(self, side: str, number: int, part: str, figures: Mapping[str, float]) -> None:
        self._parts.add((side, number, part))
        self.figures.setdefault(side, {}).setdefault(number, {}).update(figures)
