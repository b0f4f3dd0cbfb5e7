"""Repeated measurements and what is said of them: median, spread, ratios.

Pure: used by bench.__main__ to run the peers in turn and by report.py to write results down.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field

from bench.download import Download
from bench.flood import Measurement


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


@dataclass
class FloodSeries:
    """All runs of one peer. `ladder` found the peak rate; the others are lists of equal length."""

    ladder: list[Measurement] = field(default_factory=list)
    peak: list[Measurement] = field(default_factory=list)
    half: list[Measurement] = field(default_factory=list)
    overload: list[Measurement] = field(default_factory=list)

    def rate_pps(self) -> Spread:
        """SYNs answered a second at the peak."""
        return Spread.of([run.answered_pps for run in self.peak])

    def overload_pps(self) -> Spread:
        """SYNs answered a second while more come than can be answered."""
        return Spread.of([run.answered_pps for run in self.overload])

    def cpu_peak_us(self) -> Spread:
        """CPU time a SYN at the peak, microseconds."""
        return Spread.of([run.cpu_us_per_syn for run in self.peak])

    def cpu_half_us(self) -> Spread:
        """CPU time a SYN at half the peak rate, microseconds: batches are smaller there."""
        return Spread.of([run.cpu_us_per_syn for run in self.half])

    def foreign_share(self) -> float:
        """The largest share of the box's core that something else than the box's threads had in a run, 0 to 1."""
        runs = [*self.peak, *self.half, *self.overload]
        return max((run.busy_us_per_syn - run.cpu_us_per_syn) * run.answered_pps / 1e6 for run in runs)


@dataclass
class DownloadSeries:
    """All downloads through one peer."""

    runs: list[Download] = field(default_factory=list)

    def gbit_per_s(self) -> Spread:
        """Gbit/s as received."""
        return Spread.of([run.bits_per_s / 1e9 for run in self.runs])


@dataclass
class Results:
    """Everything one run of the benchmark measured; keys are those of the peers."""

    flood: dict[str, FloodSeries] = field(default_factory=dict)
    download: dict[str, DownloadSeries] = field(default_factory=dict)
