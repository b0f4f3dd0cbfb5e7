"""The demo as a picture: requests, failures, latency and forged packets over time, side by side."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from demo.measure import Phase, median_ms

GOOD, BAD, FLOOD = "#1b6ca8", "#c8412b", "#f2e3c6"


def draw(phases: list[Phase], picture: Path) -> None:
    """Write a PNG; its folder is made."""
    picture.parent.mkdir(parents=True, exist_ok=True)
    figure, grid = plt.subplots(3, len(phases), figsize=(12, 8), sharex="col", sharey="row", squeeze=False)
    for column, phase in enumerate(phases):
        _draw_phase(phase, [grid[row][column] for row in range(3)])
    for row, label in enumerate(("requests a second", "latency, median (ms)", "forged SYNs a second")):
        grid[row][0].set_ylabel(label)
    figure.suptitle("The same clients, the same flood, the same server")
    figure.tight_layout()
    figure.savefig(picture, dpi=110)
    plt.close(figure)


def _draw_phase(phase: Phase, axes: list[Axes]) -> None:
    at = [sample.at_s for sample in phase.samples]
    rates, latency, forged = axes
    rates.set_title(phase.title)
    rates.plot(at, [s.done / s.length_s for s in phase.samples], color=GOOD, label="answered")
    rates.plot(at, [s.failed / s.length_s for s in phase.samples], color=BAD, label="failed")
    times = [median_ms(s.requests) for s in phase.samples]
    known = [(when, value) for when, value in zip(at, times, strict=True) if value is not None]
    latency.plot([when for when, _ in known], [value for _, value in known], color=GOOD, marker=".")
    latency.set_yscale("log")
    forged.plot(at, [s.absorbed / s.length_s for s in phase.samples], color=GOOD, label="absorbed by Levee")
    forged.plot(at, [s.reached / s.length_s for s in phase.samples], color=BAD, label="reached the server")
    forged.set_xlabel("seconds")
    flooded = [sample.at_s for sample in phase.samples if sample.flooding]
    for each in axes:
        each.grid(alpha=0.3)
        if flooded:
            each.axvspan(flooded[0], flooded[-1], color=FLOOD, zorder=0)
    rates.legend(loc="center right")
    forged.legend(loc="center right")
