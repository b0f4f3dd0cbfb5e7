"""SYNs answered by the box on one core: nft synproxy, Levee's nfqueue engine, the naive reference.

SYNs come through a socket here, as the lab's generator sends them; flood.py measures. A ladder of rates finds each
peer's peak, because more SYNs than it can take may make it answer fewer. Peers take turns within each round, so that a
disturbance of the machine meets all of them.

Part `syns` of `python -m bench`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

from bench import flood, meters
from bench.flood import Measurement
from bench.part import Bars, Curves, Effort, Report, Spread, Table
from bench.peers import LEVEE, NAIVE, SYNPROXY, Peer
from bench.topology import BOX_CPU, CLIENT_CPU, confine, say, topology

PEERS = (SYNPROXY, LEVEE, NAIVE)
FOREIGN_SHARE_MAX = 0.1
_LADDER_START_PPS = {SYNPROXY.key: 50_000.0, LEVEE.key: 50_000.0, NAIVE.key: 400.0}
_LADDER_SECONDS = 1
_BACKGROUND_S = 1.0
_BACKGROUND_SHARE_MAX = 0.03


@dataclass
class Series:
    """All runs of one peer. `ladder` found the peak rate; the others are lists of equal length."""

    ladder: list[Measurement] = field(default_factory=list)
    peak: list[Measurement] = field(default_factory=list)
    half: list[Measurement] = field(default_factory=list)
    overload: list[Measurement] = field(default_factory=list)

    def rate_kpps(self) -> Spread:
        """SYNs answered, thousands a second, at the peak."""
        return Spread.of([run.answered_pps / 1e3 for run in self.peak])

    def foreign_share(self) -> float:
        """The largest share of the box's core that something else than the box's threads had in a run, 0 to 1."""
        runs = [*self.peak, *self.half, *self.overload]
        return max((run.busy_us_per_syn - run.cpu_us_per_syn) * run.answered_pps / 1e6 for run in runs)


def run(effort: Effort) -> Report:
    """Every peer in turn, in each round."""
    os.sched_setaffinity(0, {CLIENT_CPU})
    found: dict[str, Series] = {}
    with topology():
        napi = confine()
        with meters.answer_counter():
            background = _background_share()
            if background > _BACKGROUND_SHARE_MAX:
                say(f"warning: core {BOX_CPU} is {background:.0%} busy with something else; figures will be too low")
            for number in range(effort.rounds):
                for peer in PEERS:
                    series = found.setdefault(peer.key, Series())
                    _turn(peer, series, effort.seconds, napi)
                    say(f"syns: round {number + 1} of {effort.rounds}: {peer.title}: "
                        f"{series.peak[-1].answered_pps / 1e3:.1f} kpps")  # fmt: skip
    return report(found, background)


def _turn(peer: Peer, series: Series, seconds: int, napi: Sequence[int]) -> None:
    with peer.start([BOX_CPU]) as daemons:
        processes = [*napi, *daemons]
        if not series.ladder:
            flood.verify()
            say(f"syns: {peer.title}: looking for the peak")
            series.ladder += flood.find_peak(_LADDER_START_PPS[peer.key], _LADDER_SECONDS, processes)
        peak_pps = flood.best(series.ladder).offered_pps
        series.peak.append(flood.measure(peak_pps, seconds, processes))
        series.half.append(flood.measure(peak_pps / 2, seconds, processes))
        series.overload.append(flood.measure(0, seconds, processes))


def _background_share() -> float:
    """How busy the box's core is before anything of ours runs, 0 to 1."""
    first = meters.read(BOX_CPU)
    time.sleep(_BACKGROUND_S)
    return meters.between(first, meters.read(BOX_CPU)).busy_share


def report(found: dict[str, Series], background: float) -> Report:
    """What is said of all the runs; background: share of the box's core that was busy before, 0 to 1."""
    rates = {peer.key: found[peer.key].rate_kpps() for peer in PEERS}
    head = ("one core of the box", "SYNs answered, kpps", "of nft synproxy", "CPU, us a SYN", "at half the rate, us",
            "overloaded, kpps")  # fmt: skip
    rows = tuple(
        (
            peer.title,
            rates[peer.key].text(1),
            f"{rates[peer.key].median / rates[SYNPROXY.key].median:.3g}",
            Spread.of([one.cpu_us_per_syn for one in found[peer.key].peak]).text(),
            Spread.of([one.cpu_us_per_syn for one in found[peer.key].half]).text(),
            Spread.of([one.answered_pps / 1e3 for one in found[peer.key].overload]).text(1),
        )
        for peer in PEERS
    )
    foreign = max(series.foreign_share() for series in found.values())
    notes = []
    if foreign > FOREIGN_SHARE_MAX:
        notes.append(f"NOT QUIET: other programs had up to {foreign:.0%} of the box's core; rates are too low.")
    rungs = {
        peer.title: [
            (rung.offered_pps / 1e3, rung.answered_pps / 1e3)
            for rung in sorted([*found[peer.key].ladder, *found[peer.key].overload], key=lambda rung: rung.offered_pps)
        ]
        for peer in PEERS
    }
    return Report(
        tables=(Table("SYNs through a socket, routed, one core", head, rows, tuple(notes)),),
        runs={
            "background_cpu_share": background,
            "foreign_cpu_share": foreign,
            **{key: asdict(series) for key, series in found.items()},
        },
        plots=(
            Curves("SYNs through a socket, one core", "SYNs offered, kpps", "SYNs answered, kpps", rungs),
            Bars("SYNs through a socket, one core", "kpps", {p.title: rates[p.key] for p in PEERS}, logarithmic=True),
        ),
    )
