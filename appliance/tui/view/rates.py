"""What happens a second, for the last minute and the last hour.

Owns the samples. Given each reply of org.levee.Status in turn. LIMIT: nothing is known from before the interface began.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from appliance.tui.view.words import is_loss

if TYPE_CHECKING:
    from collections.abc import Mapping

    from appliance.report import StatusReport

SERIES = ("SYNs", "validated", "dropped", "forwarded")
MINUTE_S, HOUR_S = 60, 3600


class Meter:
    """The last hour. A daemon that began again begins a new count, and no peak."""

    def __init__(self) -> None:
        self._before: tuple[float, dict[str, int]] | None = None
        self._samples: deque[tuple[float, dict[str, float]]] = deque()
        self.reasons: Mapping[str, str] = {}

    def take(self, status: StatusReport, at_s: float) -> None:
        """The counters of now."""
        now = self._counted(status)
        if self._before is not None and at_s > self._before[0]:
            since_s = at_s - self._before[0]
            rates = {name: max(0, now[name] - self._before[1][name]) / since_s for name in SERIES}
            self._samples.append((at_s, rates))
        self._before = at_s, now
        while self._samples and at_s - self._samples[0][0] > HOUR_S:
            self._samples.popleft()

    def latest(self, name: str) -> float:
        """A second, at the end."""
        return self._samples[-1][1][name] if self._samples else 0.0

    def series(self, name: str, span_s: int, columns: int) -> list[float | None]:
        """The most in each of `columns` equal parts of the last `span_s`, the newest last; None: nothing is known."""
        found: list[float | None] = [None] * columns
        if not self._samples:
            return found
        part_s = span_s / columns
        end = int(
            self._samples[-1][0] / part_s
        )  # parts begin at fixed times, so that a graph moves and does not flicker
        for at_s, rates in self._samples:
            column = columns - 1 - (end - int(at_s / part_s))
            if column >= 0:
                found[column] = max(found[column] or 0.0, rates[name])
        return found

    def _counted(self, status: StatusReport) -> dict[str, int]:
        services = status["services"].values()
        return {
            "SYNs": sum(one["syn_received"] for one in services),
            "validated": sum(one["cookie_valid"] for one in services),
            "dropped": sum(count for name, count in status["drops"].items() if is_loss(name, self.reasons)),
            "forwarded": status["passed"] + status["translated"],
        }
