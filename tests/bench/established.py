"""Open connections: how much an iperf3 stream carries, and how long a byte there and back takes.

Both engines beside what carries packets without them: the bare bridge, the bare bridge with an XDP program that does
nothing (veth cannot take TSO under one, a NIC can), plain routing, nft synproxy. Links are as the kernel makes them, no
pinning; "no TSO" switches segmentation offloads off at both ends.

Part `established` of `python -m bench`.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field

from bench import conversation
from bench.conversation import Talks
from bench.levee import THROUGHPUT_PORT
from bench.part import Bars, Effort, Report, Spread, Table
from bench.peers import BRIDGE, BRIDGE_PASS, LEVEE, LEVEE_BPF, ROUTING, SYNPROXY, Peer
from bench.topology import CLIENT, CLIENT_IF, SERVER, SERVER_ADDRESS, SERVER_IF, inside, say, topology
from bench.topology import run as command

PEERS = (BRIDGE, BRIDGE_PASS, LEVEE_BPF, ROUTING, SYNPROXY, LEVEE)
_BASES = {LEVEE_BPF.key: (BRIDGE, BRIDGE_PASS), LEVEE.key: (ROUTING,), SYNPROXY.key: (ROUTING,)}
_CONNECT_MS = 5000


@dataclass(frozen=True)
class Way:
    """One kind of transfer."""

    streams: int
    download: bool
    tso: bool

    @property
    def title(self) -> str:
        """As it stands in the table's head."""
        return f"{'down' if self.download else 'up'}, {self.streams}{'' if self.tso else ', no TSO'}"


WAYS = tuple(Way(streams, download, tso) for tso in (True, False) for streams in (1, 8) for download in (True, False))


@dataclass
class Series:
    """All runs of one peer: bits a second by way, conversations."""

    bits_per_s: dict[str, list[float]] = field(default_factory=dict)
    talks: list[Talks] = field(default_factory=list)

    def gbits(self, way: Way) -> Spread:
        """Gbit/s as received."""
        return Spread.of([value / 1e9 for value in self.bits_per_s[way.title]])

    def per_s(self) -> Spread:
        """Conversations a second."""
        return Spread.of([one.per_s for one in self.talks])


def run(effort: Effort) -> Report:
    """Every peer in turn, in each round."""
    found: dict[str, Series] = {}
    for _ in range(effort.rounds):
        for peer in PEERS:
            with topology(peer.shape), peer.start(range(os.cpu_count() or 1)):
                _turn(peer, found.setdefault(peer.key, Series()), effort.seconds)
    return report(found)


def _turn(peer: Peer, series: Series, seconds: int) -> None:
    with conversation.server():
        series.talks.append(conversation.exchange(seconds))
    with conversation.listening(f"iperf3 --server --port {THROUGHPUT_PORT}", THROUGHPUT_PORT):
        for tso in (True, False):
            _segmentation_offload(on=tso)
            for way in WAYS:
                if way.tso == tso:
                    series.bits_per_s.setdefault(way.title, []).append(_transfer(way, seconds))
    carried = ", ".join(f"{title}: {values[-1] / 1e9:.1f}" for title, values in series.bits_per_s.items())
    say(f"established: {peer.title}: {series.talks[-1].per_s:.0f} conversations/s; Gbit/s {carried}")


def _segmentation_offload(*, on: bool) -> None:
    state = "on" if on else "off"
    for namespace, interface in ((CLIENT, CLIENT_IF), (SERVER, SERVER_IF)):
        command(inside(namespace, f"ethtool -K {interface} tso {state} gso {state}"))


def _transfer(way: Way, seconds: int) -> float:
    """Bits a second that the receiver saw."""
    text = command(
        inside(
            CLIENT,
            f"iperf3 --client {SERVER_ADDRESS} --port {THROUGHPUT_PORT} --json --time {seconds} "
            f"--parallel {way.streams} --connect-timeout {_CONNECT_MS}" + (" --reverse" if way.download else ""),
        )
    )
    return float(json.loads(text)["end"]["sum_received"]["bits_per_second"])


# ---- what is said of it ----


def report(found: dict[str, Series]) -> Report:
    """What is said of all the runs, by key of the peer."""
    peers = [peer for peer in PEERS if peer.key in found]
    transfers = [(peer.title, *(found[peer.key].gbits(way).text() for way in WAYS)) for peer in peers]
    ratios = [
        (f"{peer.title} / {base.title}", *(_ratio(found, peer, base, way) for way in WAYS))
        for peer in peers
        for base in _BASES.get(peer.key, ())
        if base.key in found
    ]
    talks = [_talk_row(found, peer) for peer in peers]
    titles = tuple(way.title for way in WAYS)
    return Report(
        tables=(
            Table("Open connections, Gbit/s (direction, streams)", ("iperf3", *titles), tuple(transfers)),
            Table("The same, ratios of medians", ("", *titles), tuple(ratios)),
            Table(
                "Open connection, one byte there and back", ("", "a second", "p50, us", "p99, us", "of"), tuple(talks)
            ),
        ),
        runs={key: asdict(series) for key, series in found.items()},
        plots=(
            *(
                Bars(f"iperf3, {way.title}", "Gbit/s", {peer.title: found[peer.key].gbits(way) for peer in peers})
                for way in WAYS
                if way.tso and way.streams == 1
            ),
            Bars("One byte there and back", "a second", {peer.title: found[peer.key].per_s() for peer in peers}),
        ),
    )


def _ratio(found: dict[str, Series], peer: Peer, base: Peer, way: Way) -> str:
    return f"{found[peer.key].gbits(way).median / found[base.key].gbits(way).median:.2f}"


def _talk_row(found: dict[str, Series], peer: Peer) -> tuple[str, ...]:
    series = found[peer.key]
    shares = [
        f"{series.per_s().median / found[base.key].per_s().median:.2f} {base.title}"
        for base in _BASES.get(peer.key, ())
        if base.key in found
    ]
    return (
        peer.title,
        series.per_s().text(0),
        Spread.of([one.p50_us for one in series.talks]).text(1),
        Spread.of([one.p99_us for one in series.talks]).text(1),
        ", ".join(shares) or "-",
    )
