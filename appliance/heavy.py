"""The heaviest among more keys than are kept: a list that never grows, whatever an attacker sends.

Owns the counting. Called by commands/top.py. Must not know what a key is. Source: Misra and Gries, "Finding repeated
elements", Science of Computer Programming 2 (1982). With k counters and n additions, a key that came more often than
n / (k + 1) times is in the list, and its count is too low by at most that.
"""

from __future__ import annotations


class Heavy:
    """Counts keys with at most `capacity` counters."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._counts: dict[str, int] = {}
        self._lost = 0
        self.total = 0

    def add(self, key: str) -> None:
        """One more of this key. Where there is no counter left, every counter gives one away."""
        self.total += 1
        if key in self._counts or len(self._counts) < self._capacity:
            self._counts[key] = self._counts.get(key, 0) + 1
            return
        self._lost += 1
        self._counts = {one: count - 1 for one, count in self._counts.items() if count > 1}

    @property
    def error(self) -> int:
        """Every count is too low by at most this; 0: they are exact."""
        return self._lost

    def top(self, number: int) -> list[tuple[str, int]]:
        """The heaviest first, those of equal weight by name."""
        return sorted(self._counts.items(), key=lambda item: (-item[1], item[0]))[:number]
