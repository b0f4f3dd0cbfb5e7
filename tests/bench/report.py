"""Writes results down: tables for the terminal and the README, JSON with every single run, a plot.

Called by bench.__main__ with the reports of all parts. Must not know: how anything was measured.
"""

from __future__ import annotations

import json
import math
import platform
import sys
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import matplotlib as mpl
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from bench.part import Bars, Curves, Report

_RESULTS = Path(__file__).resolve().parent / "results"
_COLUMNS = 2


def tables(reports: Mapping[str, Report]) -> str:
    """All tables as Markdown."""
    return "\n\n".join(table.markdown() for report in reports.values() for table in report.tables)


def save(reports: Mapping[str, Report]) -> list[Path]:
    """Write JSON, tables and plot into results/, named by date; the files written."""
    now = datetime.now(UTC)
    _RESULTS.mkdir(exist_ok=True)
    stem = _RESULTS / now.strftime("%Y-%m-%dT%H%M%SZ")
    document = {
        "date": now.isoformat(timespec="seconds"),
        "kernel": platform.release(),
        "processor": _processor(),
        "python": platform.python_version(),
        "command": " ".join(["python -m bench", *sys.argv[1:]]),
        "parts": {
            name: {"tables": [asdict(table) for table in report.tables], "runs": report.runs}
            for name, report in reports.items()
        },
    }
    written = [stem.with_suffix(".json"), stem.with_suffix(".md")]
    written[0].write_text(json.dumps(document, indent=1) + "\n")
    head = f"{now:%Y-%m-%d}, Linux {platform.release()}, {_processor()}, `{document['command']}`"
    written[1].write_text(f"{head}\n\n{tables(reports)}\n")
    plots = [plot for report in reports.values() for plot in report.plots]
    if plots:
        written.append(stem.with_suffix(".png"))
        _draw(plots, written[2])
    return written


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def _draw(plots: list[Bars | Curves], path: Path) -> None:
    mpl.use("Agg")
    lines = math.ceil(len(plots) / _COLUMNS)
    figure, grid = plt.subplots(lines, _COLUMNS, figsize=(15, 4.5 * lines), layout="constrained", squeeze=False)
    for axes in grid.flat:
        axes.set_visible(False)
    for axes, plot in zip(grid.flat, plots, strict=False):
        axes.set_visible(True)
        if isinstance(plot, Bars):
            _bars(axes, plot)
        else:
            _curves(axes, plot)
        axes.set_title(plot.title)
    figure.savefig(path, dpi=100)
    plt.close(figure)


def _curves(axes: Axes, plot: Curves) -> None:
    for label, points in plot.points.items():
        axes.plot([x for x, _ in points], [y for _, y in points], marker="o", markersize=3, label=label)
    axes.set(xscale="log", yscale="log", xlabel=plot.x, ylabel=plot.y)
    axes.legend()


def _bars(axes: Axes, plot: Bars) -> None:
    for label, spread in plot.spreads.items():
        whisker = [[spread.median - spread.low], [spread.high - spread.median]]
        axes.barh(label, spread.median, xerr=whisker, capsize=3, color="tab:blue" if "evee" in label else "tab:gray")
    axes.invert_yaxis()
    axes.set(xlabel=plot.unit, xscale="log" if plot.logarithmic else "linear")
    axes.tick_params(axis="y", labelsize=8)
