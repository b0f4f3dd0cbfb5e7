"""What lies between two texts of the configuration, and what it takes to get from one to the other.

Owns the words. Called by the pages around a change.
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

from appliance.tui.view.line import Line, cut, line
from appliance.tui.view.pages import differences

if TYPE_CHECKING:
    from collections.abc import Sequence

    from appliance.tui.view.snapshot import Reply


def unified(before: str, after: str, names: tuple[str, str]) -> str:
    """As `levee diff` prints it; empty: they are the same."""
    return "\n".join(difflib.unified_diff(before.splitlines(), after.splitlines(), *names, lineterm=""))


def question(diff: str, restarts: Sequence[str], confirm_s: int) -> list[Line]:
    """What would be changed, before it is."""
    if not diff:
        return [line(" Nothing is to be changed: this is in force already.", "dim")]
    step = (
        f" The parts are made anew, for {', '.join(restarts)}; open connections go on where the engine stays."
        if restarts
        else " No open connection is disturbed."
    )
    return [
        *differences(diff, ""),
        Line(),
        line(step, "warn" if restarts else "good"),
        line(f" It is on trial for {confirm_s} s: unless you keep it, the box goes back by itself."),
    ]


def problems(found: Sequence[Reply], width: int) -> list[Line]:
    """The mistakes with their places; the key of each is its line and column."""
    return [
        line(
            cut(f" {one['line']}:{one['column']} {one['key']}: {one['wrong']}, {one['right']}", width),
            "bad",
            f"{one['line']}:{one['column']}",
        )
        for one in found
    ]
