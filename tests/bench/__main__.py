"""`make bench`: runs every peer in turn, several times, prints a table, writes JSON and a plot.

    python -m bench [--runs N] [--seconds S] [--peers KEY...] [--only flood|download] [--no-save]

Peers take turns within each round, so that a disturbance of the machine meets all of them. The process
itself stays on the client's core. See README.md for what is measured and why so.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence

from netlab.process import LabError

from bench import download, flood, meters, report
from bench.errors import BenchError
from bench.peers import LEVEE, NAIVE, PEERS, ROUTING, SYNPROXY, Peer
from bench.series import DownloadSeries, FloodSeries, Results
from bench.topology import BOX_CPU, CLIENT_CPU, confine, topology, unconfine

FLOOD_PEERS = (SYNPROXY, LEVEE, NAIVE)
DOWNLOAD_PEERS = (ROUTING, SYNPROXY, LEVEE)
LADDER_START_PPS = {SYNPROXY.key: 50_000.0, LEVEE.key: 50_000.0, NAIVE.key: 400.0}
LADDER_SECONDS = 1
BACKGROUND_SECONDS = 1.0
BACKGROUND_SHARE_MAX = 0.03


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; the process's exit code."""
    options = _options(arguments)
    chosen = [peer for peer in PEERS if peer.key in options.peers]
    results = Results()
    try:
        with topology():
            os.sched_setaffinity(0, {CLIENT_CPU})
            background = _background_share()
            if background > BACKGROUND_SHARE_MAX:
                _say(f"warning: core {BOX_CPU} is {background:.0%} busy with something else; figures will be too low")
            if options.only != "download":
                _flood(results, [p for p in chosen if p in FLOOD_PEERS], options.runs, options.seconds)
            os.sched_setaffinity(0, range(os.cpu_count() or 1))
            if options.only != "flood":
                _download(results, [p for p in chosen if p in DOWNLOAD_PEERS], options.runs, options.seconds)
    except (BenchError, LabError) as error:
        _say(f"bench: {error}" + (f"\n  hint: {error.hint}" if error.hint else ""))
        return 1
    print(report.table(results))
    if not options.no_save:
        for path in report.save(results, background):
            print(f"written: {os.path.relpath(path)}")
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench", description="SYNs answered and established throughput, compared")
    keys = [peer.key for peer in PEERS]
    parser.add_argument("--runs", type=int, default=5, help="rounds; medians are taken over them (default 5)")
    parser.add_argument("--seconds", type=int, default=3, help="length of one measurement (default 3)")
    parser.add_argument("--peers", nargs="+", choices=keys, default=keys, metavar="PEER", help=", ".join(keys))
    parser.add_argument("--only", choices=("flood", "download"))
    parser.add_argument("--no-save", action="store_true", help="write no files into results/")
    return parser.parse_args(arguments)


def _flood(results: Results, peers: Sequence[Peer], runs: int, seconds: int) -> None:
    napi = confine()
    try:
        with meters.answer_counter():
            for number in range(runs):
                for peer in peers:
                    series = results.flood.setdefault(peer.key, FloodSeries())
                    with peer.start([BOX_CPU]) as daemons:
                        processes = [*napi, *daemons]
                        if not series.ladder:
                            flood.verify()
                            _say(f"flood: {peer.title}: looking for the peak")
                            series.ladder += flood.find_peak(LADDER_START_PPS[peer.key], LADDER_SECONDS, processes)
                        _flood_round(series, seconds, processes)
                    _say(f"flood: round {number + 1} of {runs}: {peer.title}: "
                         f"{series.peak[-1].answered_pps / 1e3:.1f} kpps")  # fmt: skip
    finally:
        unconfine()


def _flood_round(series: FloodSeries, seconds: int, processes: Sequence[int]) -> None:
    peak_pps = flood.best(series.ladder).offered_pps
    series.peak.append(flood.measure(peak_pps, seconds, processes))
    series.half.append(flood.measure(peak_pps / 2, seconds, processes))
    series.overload.append(flood.measure(0, seconds, processes))


def _download(results: Results, peers: Sequence[Peer], runs: int, seconds: int) -> None:
    for number in range(runs):
        for peer in peers:
            with peer.start(range(os.cpu_count() or 1)):
                run = download.measure(seconds)
            results.download.setdefault(peer.key, DownloadSeries()).runs.append(run)
            _say(f"download: round {number + 1} of {runs}: {peer.title}: {run.bits_per_s / 1e9:.2f} Gbit/s")


def _background_share() -> float:
    """How busy the box's core is before anything of ours runs, 0 to 1."""
    with meters.answer_counter():
        first = meters.read(BOX_CPU)
        time.sleep(BACKGROUND_SECONDS)
        return meters.between(first, meters.read(BOX_CPU)).busy_share


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
