"""What a part of the benchmark is given and gives back: effort in, tables, plots and every single run out.

Pure. Used by every part, written down by report.py. Must not know: what is measured.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Effort:
    """rounds: how often everything is measured, peers in turn. seconds: length of one measurement."""

    rounds: int
    seconds: int


@dataclass(frozen=True)
class Spread:
    """Median, smallest and largest of several runs."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """The spread of at least one value."""
        return cls(statistics.median(values), min(values), max(values))

    def text(self, digits: int = 2) -> str:
        """As it stands in tables: median (lowest..highest)."""
        middle, low, high = (f"{value:.{digits}f}" for value in (self.median, self.low, self.high))
        return f"{middle} ({low}..{high})"


@dataclass(frozen=True)
class Table:
    """Rows of text below a head; the first column is what a row is about."""

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()

    def markdown(self) -> str:
        """As a README takes it, and readable in a terminal: columns are padded."""
        lines = [self.head, *self.rows]
        widths = [max(len(line[column]) for line in lines) for column in range(len(self.head))]
        text = [
            "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |"
            for line in lines
        ]
        text.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
        return "\n".join([f"**{self.title}**", "", *text, *(f"\n{note}" for note in self.notes)])


@dataclass(frozen=True)
class Bars:
    """One bar a label, with a whisker over all runs."""

    title: str
    unit: str
    spreads: Mapping[str, Spread]
    logarithmic: bool = False


@dataclass(frozen=True)
class Curves:
    """Lines through points (x, y), by label; both axes logarithmic."""

    title: str
    x: str
    y: str
    points: Mapping[str, Sequence[tuple[float, float]]]


@dataclass(frozen=True)
class Report:
    """A part's results. runs: every single one, of JSON's types."""

    tables: tuple[Table, ...]
    runs: Mapping[str, object]
    plots: tuple[Bars | Curves, ...] = field(default=())
