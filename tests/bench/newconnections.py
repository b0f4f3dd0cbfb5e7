"""New connections: how many a second, how long to the first byte, idle, during a flood, and from far away.

Near: the box's work is on its core (topology.py), client and server run where they like. CLIENTS are kept going all the
time, which gives a rate; then PACED_PER_S are begun a second, which says how long one takes when nobody waits for the
others. The flood is SYNs at half of what the bpf engine's gate can answer, the same for all. Far: each frame takes half
of ROUND_TRIP_MS each way between client and box, so whoever costs the client a further round trip shows it.

Part `connections` of `python -m bench`.
"""

from __future__ import annotations

import statistics
import time
from dataclasses import asdict, dataclass, field

from bench import conversation, distance, gate, levee, meters
from bench.conversation import Talks
from bench.gate import Scene
from bench.generator import Generator
from bench.part import Bars, Effort, Report, Spread, Table
from bench.peers import BRIDGE, LEVEE, LEVEE_BPF, ROUTING, SYNPROXY, Peer
from bench.topology import BOX, BOX_CPU, OUTSIDE_IF, Shape, say, topology

PEERS = (BRIDGE, LEVEE_BPF, ROUTING, SYNPROXY, LEVEE)
DIRECT = {LEVEE_BPF.key: BRIDGE, SYNPROXY.key: ROUTING, LEVEE.key: ROUTING}  # without a peer of its own: it is direct
CLIENTS, PACED_CLIENTS, FAR_CLIENTS = 32, 512, 16
PACED_PER_S = 1000
ROUND_TRIP_MS = 20
_FLOOD_WARM_UP_S = 0.3


@dataclass
class Series:
    """All runs of one peer, in order: conversations at full and at given rate, idle and in a flood; from far away."""

    idle: list[Talks] = field(default_factory=list)
    idle_paced: list[Talks] = field(default_factory=list)
    flood: list[Talks] = field(default_factory=list)
    flood_paced: list[Talks] = field(default_factory=list)
    flood_taken_pps: list[float] = field(default_factory=list)
    far: list[Talks] = field(default_factory=list)


def run(effort: Effort) -> Report:
    """Every peer in turn, in each round."""
    found: dict[str, Series] = {}
    flood_pps = _half_of_the_gates_limit()
    say(f"connections: the flood has {flood_pps / 1e3:.0f} kpps")
    for _ in range(effort.rounds):
        for peer in PEERS:
            series = found.setdefault(peer.key, Series())
            _near(peer, series, effort.seconds, flood_pps)
            _far(peer, series, effort.seconds)
            say(f"connections: {peer.title}: {series.idle[-1].per_s:.0f}/s, far {series.far[-1].p50_us / 1e3:.1f} ms"
                + (f", in the flood {series.flood[-1].per_s:.0f}/s" if series.flood else ""))  # fmt: skip
    return report(found, flood_pps)


def _half_of_the_gates_limit() -> float:
    """SYNs a second."""
    with gate.scene(Shape.BRIDGE) as box, levee.running("bpf", [BOX_CPU]):
        return box.flood("", gate.syns(box.shape), seconds=1).core_pps / 2


def _near(peer: Peer, series: Series, seconds: int, flood_pps: float) -> None:
    with gate.scene(peer.shape) as box, peer.start([BOX_CPU]), conversation.server():
        series.idle.append(conversation.connect(seconds, CLIENTS))
        series.idle_paced.append(conversation.connect(seconds, PACED_CLIENTS, PACED_PER_S))
        if peer.key in DIRECT:
            _flooded(box, series, seconds, flood_pps)


def _flooded(box: Scene, series: Series, seconds: int, flood_pps: float) -> None:
    plan = gate.syns(box.shape)
    box.frames.plan(plan)
    with Generator(box.frames, len(plan.frame), box.ifindex, flood_pps):
        time.sleep(_FLOOD_WARM_UP_S)
        before, start_s = meters.received_frames(BOX, OUTSIDE_IF), time.monotonic()
        series.flood.append(conversation.connect(seconds, CLIENTS))
        series.flood_paced.append(conversation.connect(seconds, PACED_CLIENTS, PACED_PER_S))
        taken = meters.received_frames(BOX, OUTSIDE_IF) - before
        series.flood_taken_pps.append(taken / (time.monotonic() - start_s))


def _far(peer: Peer, series: Series, seconds: int) -> None:
    with (
        topology(peer.shape, far=True),
        distance.line(ROUND_TRIP_MS),
        peer.start([BOX_CPU]),
        conversation.server(),
    ):
        series.far.append(conversation.connect(seconds, FAR_CLIENTS))


# ---- what is said of it ----


def report(found: dict[str, Series], flood_pps: float) -> Report:
    """What is said of all the runs, by key of the peer; the flood's rate as it was asked for."""
    peers = [peer for peer in PEERS if peer.key in found]
    near = (f"new connections, {CLIENTS} at once", "a second", "of direct", f"p50, us, at {PACED_PER_S}/s", "p99, us")
    flood = ("new connections in a flood of SYNs", "flood taken, kpps", "a second", "of idle",
             f"p50, us, at {PACED_PER_S}/s", "p99, us", "of those failed")  # fmt: skip
    far = (f"first byte over {ROUND_TRIP_MS} ms", "p50, ms", "p99, ms", "p50 beyond direct, ms")
    return Report(
        tables=(
            Table("New connections, idle", near, tuple(_near_row(found, peer) for peer in peers)),
            Table(
                f"New connections, {flood_pps / 1e3:.0f} kpps of forged SYNs beside them",
                flood,
                tuple(_flood_row(found[peer.key], peer) for peer in peers if found[peer.key].flood),
            ),
            Table("Time to the first byte, far client", far, tuple(_far_row(found, peer) for peer in peers)),
        ),
        runs={"flood_pps": flood_pps, **{key: asdict(series) for key, series in found.items()}},
        plots=(
            Bars("New connections", "a second", {peer.title: _rate(found[peer.key].idle) for peer in peers}),
            Bars(
                f"First byte over {ROUND_TRIP_MS} ms, p50",
                "ms",
                {peer.title: Spread.of([one.p50_us / 1e3 for one in found[peer.key].far]) for peer in peers},
            ),
        ),
    )


def _rate(talks: list[Talks]) -> Spread:
    return Spread.of([one.per_s for one in talks])


def _times(talks: list[Talks]) -> tuple[str, str]:
    """p50 and p99 in microseconds."""
    return Spread.of([one.p50_us for one in talks]).text(0), Spread.of([one.p99_us for one in talks]).text(0)


def _near_row(found: dict[str, Series], peer: Peer) -> tuple[str, ...]:
    series, direct = found[peer.key], DIRECT.get(peer.key)
    share = f"{_rate(series.idle).median / _rate(found[direct.key].idle).median:.2f}" if direct else "-"
    return (peer.title, _rate(series.idle).text(0), share, *_times(series.idle_paced))


def _flood_row(series: Series, peer: Peer) -> tuple[str, ...]:
    failed = sum(one.failed for one in [*series.flood, *series.flood_paced])
    begun = failed + sum(one.finished for one in [*series.flood, *series.flood_paced])
    return (
        peer.title,
        Spread.of([pps / 1e3 for pps in series.flood_taken_pps]).text(0),
        _rate(series.flood).text(0),
        f"{_rate(series.flood).median / _rate(series.idle).median:.2f}",
        *_times(series.flood_paced),
        f"{failed} of {begun}",
    )


def _far_row(found: dict[str, Series], peer: Peer) -> tuple[str, ...]:
    series, direct = found[peer.key], DIRECT.get(peer.key)
    beyond = "-"
    if direct:
        medians = [statistics.median(one.p50_us for one in found[key].far) for key in (peer.key, direct.key)]
        beyond = f"{(medians[0] - medians[1]) / 1e3:.2f}"
    p50, p99 = (Spread.of([getattr(one, name) / 1e3 for one in series.far]) for name in ("p50_us", "p99_us"))
    return (peer.title, p50.text(1), p99.text(1), beyond)
