"""Writes results down: a table for the terminal, JSON with every single run, a plot.

Called by bench.__main__ with complete results. Must not know: how anything was measured.
"""

from __future__ import annotations

import json
import platform
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import matplotlib as mpl
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from bench.peers import LEVEE, NAIVE, PEERS, ROUTING, SYNPROXY
from bench.series import Results, Spread

FOREIGN_SHARE_MAX = 0.1
_RESULTS = Path(__file__).resolve().parent / "results"
_COLOURS = {SYNPROXY.key: "tab:gray", LEVEE.key: "tab:blue", NAIVE.key: "tab:orange", ROUTING.key: "tab:green"}
_TITLES = {peer.key: peer.title for peer in PEERS}


def table(results: Results) -> str:
    """The results as text, one line a peer, medians with (lowest..highest) of the runs."""
    lines: list[str] = []
    if results.flood:
        lines += _flood_lines(results)
    if results.download:
        lines += ["", *_download_lines(results)]
    return "\n".join(lines)


def save(results: Results, background_share: float) -> list[Path]:
    """Write JSON and plot into results/, named by date; the files written."""
    now = datetime.now(UTC)
    _RESULTS.mkdir(exist_ok=True)
    stem = _RESULTS / now.strftime("%Y-%m-%dT%H%M%SZ")
    document = {
        "date": now.isoformat(timespec="seconds"),
        "kernel": platform.release(),
        "processor": _processor(),
        "python": platform.python_version(),
        "command": " ".join(["python -m bench", *sys.argv[1:]]),
        "background_cpu_share": background_share,
        "foreign_cpu_share": max((series.foreign_share() for series in results.flood.values()), default=0.0),
        "summary": _summary(results),
        "runs": {
            "flood": {key: asdict(series) for key, series in results.flood.items()},
            "download": {key: asdict(series) for key, series in results.download.items()},
        },
    }
    written = [stem.with_suffix(".json"), stem.with_suffix(".png")]
    written[0].write_text(json.dumps(document, indent=1) + "\n")
    _plot(results, written[1])
    return written


def _flood_lines(results: Results) -> list[str]:
    heads = ("kpps", "CPU us/SYN", "at half rate", "overloaded kpps", "of nft", "of naive")
    widths = (24, 22, 22, 24, 8, 10)
    head = "".join(f"{text:>{width}}" for text, width in zip(heads, widths, strict=True))
    lines = [f"{'SYNs answered, box on one core':<32}{head}"]
    for key, series in results.flood.items():
        rate = series.rate_pps()
        cells = (
            _spread(rate, 1e3),
            _spread(series.cpu_peak_us()),
            _spread(series.cpu_half_us()),
            _spread(series.overload_pps(), 1e3),
            _ratio(results, rate, SYNPROXY.key),
            _ratio(results, rate, NAIVE.key),
        )
        lines.append(
            f"{_TITLES[key]:<32}" + "".join(f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True))
        )
    foreign = max(series.foreign_share() for series in results.flood.values())
    if foreign > FOREIGN_SHARE_MAX:
        lines.append(f"NOT QUIET: other programs had up to {foreign:.0%} of the box's core; rates are too low")
    return lines


def _download_lines(results: Results) -> list[str]:
    lines = [f"{'download, one TCP stream':<32}{'Gbit/s':>24}{'of direct':>12}{'of nft synproxy':>18}"]
    for key, series in results.download.items():
        rate = series.gbit_per_s()
        shares = [
            f"{rate.median / results.download[base].gbit_per_s().median:.2f}" if base in results.download else "-"
            for base in (ROUTING.key, SYNPROXY.key)
        ]
        lines.append(f"{_TITLES[key]:<32}{_spread(rate):>24}{shares[0]:>12}{shares[1]:>18}")
    return lines


def _spread(spread: Spread, unit: float = 1.0) -> str:
    low, middle, high = (f"{value / unit:.2f}" for value in (spread.low, spread.median, spread.high))
    return f"{middle} ({low}..{high})"


def _ratio(results: Results, rate: Spread, base: str) -> str:
    if base not in results.flood:
        return "-"
    return f"{rate.median / results.flood[base].rate_pps().median:.2f}"


def _summary(results: Results) -> dict[str, dict[str, object]]:
    return {
        "flood": {
            key: {
                "answered_pps": asdict(series.rate_pps()),
                "overload_answered_pps": asdict(series.overload_pps()),
                "cpu_us_per_syn_at_peak": asdict(series.cpu_peak_us()),
                "cpu_us_per_syn_at_half": asdict(series.cpu_half_us()),
                "of_nft_synproxy": _ratio(results, series.rate_pps(), SYNPROXY.key),
                "of_naive": _ratio(results, series.rate_pps(), NAIVE.key),
            }
            for key, series in results.flood.items()
        },
        "download": {key: {"gbit_per_s": asdict(series.gbit_per_s())} for key, series in results.download.items()},
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def _plot(results: Results, path: Path) -> None:
    mpl.use("Agg")
    figure, (ladder, rate, download) = plt.subplots(1, 3, figsize=(15, 4.5), layout="constrained")
    for key, series in results.flood.items():
        rungs = sorted([*series.ladder, *series.overload], key=lambda rung: rung.offered_pps)
        ladder.plot(
            [rung.offered_pps / 1e3 for rung in rungs],
            [rung.answered_pps / 1e3 for rung in rungs],
            marker="o", markersize=3, color=_COLOURS[key], label=_TITLES[key],
        )  # fmt: skip
    ladder.set(xscale="log", yscale="log", xlabel="SYNs offered, kpps", ylabel="SYNs answered, kpps",
               title="Offered and answered")  # fmt: skip
    if results.flood:
        ladder.legend()
    _bars(rate, {key: series.rate_pps() for key, series in results.flood.items()}, 1e3)
    rate.set(yscale="log", ylabel="kpps", title="SYNs answered, box on one core")
    _bars(download, {key: series.gbit_per_s() for key, series in results.download.items()}, 1.0)
    download.set(ylabel="Gbit/s", title="Established download, one stream")
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _bars(axes: Axes, spreads: dict[str, Spread], unit: float) -> None:
    """One bar a peer at the median, with a whisker over all runs."""
    for key, spread in spreads.items():
        middle = spread.median / unit
        whisker = [[middle - spread.low / unit], [spread.high / unit - middle]]
        axes.bar(_TITLES[key], middle, yerr=whisker, color=_COLOURS[key], capsize=4)
    axes.tick_params(axis="x", rotation=12, labelsize=8)
