"""A graph of numbers, in characters that every console has.

Owns the drawing: two steps a row, with the lower half block and the full block (both in code page 437).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from appliance.screen import number
from appliance.tui.view.line import Line

if TYPE_CHECKING:
    from collections.abc import Sequence

FULL, HALF, NOTHING, UNKNOWN = "\u2588", "\u2584", " ", "\u00b7"
SCALE_COLUMNS = 7


def top_of_scale(most: float) -> int:
    """The next of 1, 2, 5, 10, 20 ... that is not below."""
    unit = 1
    while True:
        for step in (1, 2, 5):
            if most <= step * unit:
                return step * unit
        unit *= 10


def bars(values: Sequence[float | None], rows: int, top: float) -> list[str]:
    """Rows from the top down. Anything above 0 is seen."""
    steps = [
        None if value is None else min(2 * rows, round(2 * rows * value / top) or int(value > 0)) for value in values
    ]
    return ["".join(_cell(step, row) for step in steps) for row in range(rows - 1, -1, -1)]


def _cell(step: int | None, row: int) -> str:
    if step is None:
        return UNKNOWN if row == 0 else NOTHING
    return FULL if step >= 2 * row + 2 else HALF if step == 2 * row + 1 else NOTHING


def graph(title: str, now: float, values: Sequence[float | None], rows: int) -> list[Line]:
    """A title with the value of now, then `rows` with the scale to their left."""
    top = top_of_scale(max((value for value in values if value is not None), default=0.0))
    scale = [number(top), *[""] * (rows - 2), "0"]
    head = Line(((f"{title:<12}", "title"), (f"{number(round(now)):>8}", "text"), (" /s", "dim")))
    drawn = zip(scale, bars(values, rows, top), strict=True)
    return [head, *(Line(((f"{mark:>{SCALE_COLUMNS - 1}}\u2502", "dim"), (row, "graph"))) for mark, row in drawn)]
