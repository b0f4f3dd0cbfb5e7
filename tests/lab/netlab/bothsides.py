"""Compares what both ends of one connection saw: each segment that a stack sent, and what became of it.

What the box may do to a connection, and nothing else:

- It answers the client's SYN, and sends the server one with the client's own number and options.
- It takes the server's SYN-ACK, and with it the ACKs by which the client proved itself.
- The client's data of that time it keeps, and sends it in segments of its own: the same bytes.
- After that it changes, by a constant: acknowledgement number, SACK blocks and echoed timestamp of the client's
  segments, sequence number and timestamp of the server's; and the server's window, where the client was told
  another scale.
- A router takes one from the time to live.

Everything else is the same to the bit, in the same order, once for once: options with their padding, flags, urgent
pointer, ECN and service type, IP identification, don't-fragment, flow label. Checksums are verified, not compared. Ends
must not segment or sum up in hardware that is not there (bare_ends()). Called by tests. Knows nothing of the
box's own numbers: the constants are read off the two handshakes.
"""

from __future__ import annotations

import contextlib
import itertools
import os
from collections import defaultdict, deque
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import IPv6
from scapy.packet import Packet

from netlab.names import END_INTERFACE, INSIDE, OUTSIDE
from netlab.process import run
from netlab.session import Lab, NoSuchEnd
from netlab.topology import Mode
from netlab.wire import Capture

TWO_TO_32 = 1 << 32
WINDOW_MAX = 0xFFFF
_OFFLOADS = ("tso", "off", "gso", "off", "gro", "off", "tx", "off")
SYN, ACK, SYN_ACK, RST = 0x02, 0x10, 0x12, 0x04

# Of a TCP option, as Scapy has it: the timestamps and the edges of SACK blocks are tuples.
Value = int | bytes | tuple[int, ...] | None


@contextlib.contextmanager
def bare_ends(lab: Lab) -> Iterator[None]:
    """Every segment is a packet of its own, with its checksum, at both ends and in the box."""
    if lab.mode is Mode.HOST:
        raise NoSuchEnd("the servers are sockets of the box: there is no wire behind it")
    where = [
        (lab.names.client, END_INTERFACE),
        (lab.names.server, lab.names.server_interface),
        (lab.names.box, OUTSIDE),
        (lab.names.box, INSIDE),
    ]
    before = {place: _offloads(*place) for place in where}
    for namespace, interface in where:
        run(["ethtool", "-K", interface, *_OFFLOADS], namespace=namespace)
    try:
        yield
    finally:
        for (namespace, interface), settings in before.items():
            run(["ethtool", "-K", interface, *settings], namespace=namespace)


@contextlib.contextmanager
def on_one_core(lab: Lab) -> Iterator[None]:
    """Both ends and the box work on one core. veth receives where it is sent: segments of one connection that two cores
    send at the same moment overtake each other on their way to the box's queue, which a NIC would not let them do.
    """
    threads = [0, *(int(task.name) for task in Path(f"/proc/{lab.process.pid}/task").iterdir())]
    before = {thread: os.sched_getaffinity(thread) for thread in threads}
    for thread in threads:
        os.sched_setaffinity(thread, {min(before[0])})
    try:
        yield
    finally:
        for thread, cores in before.items():
            os.sched_setaffinity(thread, cores)


def _offloads(namespace: str, interface: str) -> list[str]:
    names = {
        "tcp-segmentation-offload": "tso",
        "generic-segmentation-offload": "gso",
        "generic-receive-offload": "gro",
        "tx-checksumming": "tx",
    }
    found: list[str] = []
    for line in run(["ethtool", "-k", interface], namespace=namespace).stdout.splitlines():
        name, _, value = line.partition(": ")
        if name in names:
            found += [names[name], value.split()[0]]
    return found


@dataclass(frozen=True)
class Segment:
    """What can be compared of one TCP segment."""

    seq: int
    ack: int
    flags: int
    window: int
    urgent: int
    options: tuple[tuple[str, Value], ...]
    data: bytes
    hops: int  # time to live, hop limit
    network: tuple[int, ...]  # service type with ECN, identification, flags; IPv6: traffic class, flow label

    def option(self, name: str) -> Value:
        return next((value for one, value in self.options if one == name), None)

    @property
    def stamps(self) -> tuple[int, int] | None:
        """TSval and TSecr."""
        value = self.option("Timestamp")
        return (value[0], value[1]) if isinstance(value, tuple) else None

    @property
    def scale(self) -> int:
        value = self.option("WScale")
        return value if isinstance(value, int) else 0

    @property
    def is_bare_ack(self) -> bool:
        return self.flags & ~0xC0 == ACK and not self.data

    def __str__(self) -> str:
        flags = "".join(letter for bit, letter in enumerate("FSRPAUEC") if self.flags >> bit & 1)
        names = " ".join(f"{name}={value!r}" for name, value in self.options if name != "NOP")
        return (
            f"{flags} seq {self.seq} ack {self.ack} win {self.window} {len(self.data)} bytes [{names}] ttl {self.hops}"
        )


def _segment(packet: Packet) -> Segment:
    tcp = packet[TCP]
    network: tuple[int, ...]
    if packet.haslayer(IP):
        ip = packet[IP]
        length = ip.len - ip.ihl * 4 - tcp.dataofs * 4
        hops, network = ip.ttl, (ip.tos, ip.id, int(ip.flags))
    else:
        ip = packet[IPv6]
        length = ip.plen - tcp.dataofs * 4
        hops, network = ip.hlim, (ip.tc, ip.fl)
    return Segment(
        tcp.seq,
        tcp.ack,
        int(tcp.flags),
        tcp.window,
        tcp.urgptr,
        tuple((name, tuple(value) if isinstance(value, list) else value) for name, value in tcp.options),
        bytes(tcp.payload)[:length],
        hops,
        network,
    )


def _sums_wrong(packet: Packet) -> bool:
    """Does a checksum differ from the one that Scapy computes?"""
    fresh = packet.copy()
    del fresh[TCP].chksum
    if fresh.haslayer(IP):
        del fresh[IP].chksum
    fresh = packet.__class__(bytes(fresh))
    return bool(
        fresh[TCP].chksum != packet[TCP].chksum or (packet.haslayer(IP) and fresh[IP].chksum != packet[IP].chksum)
    )


@dataclass
class Difference:
    """What nobody allowed, in words; empty when the two sides agree."""

    compared: int = 0
    said: list[str] = field(default_factory=list)

    def add(self, what: str, *segments: Segment) -> None:
        self.said.append("\n    ".join([what, *map(str, segments)]))

    def __str__(self) -> str:
        return "\n".join([f"{len(self.said)} differences in {self.compared} segments", *self.said[:20]])


@dataclass(frozen=True)
class _End:
    """The segments of one connection at one end, in order."""

    sent: list[Segment]
    received: list[Segment]

    @staticmethod
    def of(capture: Capture, port: int, difference: Difference) -> _End:
        end = _End([], [])
        for packet in capture.tcp(lambda p: port in (p[TCP].sport, p[TCP].dport)):
            if packet.sniffed_on == "sent":
                end.sent.append(_segment(packet))
                continue
            end.received.append(_segment(packet))
            if _sums_wrong(packet):
                difference.add("arrived with a wrong checksum:", end.received[-1])
        return end


@dataclass(frozen=True)
class _Constants:
    """Read off the two handshakes: what is added to the server's numbers for the client."""

    seq: int
    ts: int
    own: int  # the server's window scale
    told: int  # that the client was told
    hops: int

    def at_the_server(self, segment: Segment) -> Segment:
        def change(name: str, value: Value) -> Value:
            if name == "SAck" and isinstance(value, tuple):
                return tuple((edge - self.seq) % TWO_TO_32 for edge in value)
            if name == "Timestamp" and isinstance(value, tuple) and segment.flags & ACK and value[1]:
                return value[0], (value[1] - self.ts) % TWO_TO_32
            return value

        ack = (segment.ack - self.seq) % TWO_TO_32 if segment.flags & ACK else segment.ack
        options = tuple((name, change(name, value)) for name, value in segment.options)
        return replace(segment, ack=ack, options=options, hops=segment.hops - self.hops)

    def at_the_client(self, segment: Segment) -> Segment:
        def change(name: str, value: Value) -> Value:
            if name == "Timestamp" and isinstance(value, tuple):
                return (value[0] + self.ts) % TWO_TO_32, value[1]
            return value

        options = tuple((name, change(name, value)) for name, value in segment.options)
        seq = (segment.seq + self.seq) % TWO_TO_32
        window = segment.window if segment.flags & RST else self._window(segment.window)
        return replace(segment, seq=seq, options=options, window=window, hops=segment.hops - self.hops)

    def _window(self, window: int) -> int:
        """Rounded down, but an open one stays open."""
        if self.own == self.told or not window:
            return window
        return min(max(window << self.own >> self.told, 1), WINDOW_MAX)


def _first(segments: list[Segment], flags: int) -> Segment:
    found = next((one for one in segments if one.flags & SYN_ACK == flags), None)
    assert found, "the handshake is not in the capture"
    return found


def _constants(client: _End, server: _End, hops: int) -> _Constants:
    told, own = _first(client.received, SYN_ACK), _first(server.sent, SYN_ACK)
    # A repeated SYN-ACK has another timestamp: the one that the client echoed counts.
    echoed = next((one.stamps[1] for one in client.sent if not one.flags & SYN and one.stamps), 0)
    ts = (echoed - own.stamps[0]) % TWO_TO_32 if own.stamps else 0
    return _Constants((told.seq - own.seq) % TWO_TO_32, ts, own.scale, told.scale, hops)


def _matched(expected: list[Segment], arrived: list[Segment]) -> tuple[list[Segment], list[Segment], list[int]]:
    """Those of `expected` that did not arrive, those that arrived and nobody sent, and the places of the others."""
    places: dict[Segment, deque[int]] = defaultdict(deque)
    for place, segment in enumerate(arrived):
        places[segment].append(place)
    missing: list[Segment] = []
    order: list[int] = []
    for segment in expected:
        if places[segment]:
            order.append(places[segment].popleft())
        else:
            missing.append(segment)
    taken = set(order)
    return missing, [one for place, one in enumerate(arrived) if place not in taken], order


def _in_order(order: list[int], arrived: list[Segment], difference: Difference) -> None:
    """`order`: where each segment arrived, in the order in which they were sent."""
    for before, after in itertools.pairwise(order):
        if after < before:
            difference.add(
                "the second one was sent after the first and arrived before it:", arrived[before], arrived[after]
            )


def _bytes_of(segments: list[Segment]) -> dict[int, int]:
    """The stream by its sequence numbers."""
    return {(one.seq + at) % TWO_TO_32: byte for one in segments for at, byte in enumerate(one.data)}


def _to_the_server(client: _End, server: _End, constants: _Constants, difference: Difference) -> None:
    syn, opening = _first(client.sent, SYN), _first(server.received, SYN)
    if (syn.seq, syn.window) != (opening.seq, opening.window) or not _same_offer(syn, opening):
        difference.add("the server was offered something else than the client did:", syn, opening)
    start = (syn.seq + 1) % TWO_TO_32
    sent = [constants.at_the_server(one) for one in client.sent if not one.flags & SYN]
    missing, made, order = _matched(sent, [one for one in server.received if not one.flags & SYN])
    difference.compared += len(order)
    _in_order(order, server.received, difference)
    kept = _bytes_of(made)
    for one in missing:
        if one.is_bare_ack and one.seq == start and (one.ack - server.sent[0].seq) % TWO_TO_32 == 1:
            continue  # the proof
        if not one.data or any(kept.get(place) != byte for place, byte in _bytes_of([one]).items()):
            difference.add("the client sent this, and nothing like it arrived:", one)
    early = _bytes_of([one for one in missing if one.data])
    for one in made:
        if one.is_bare_ack and one.seq == start:
            continue  # the end of the box's handshake with the server
        if not one.data or any(early.get(place) != byte for place, byte in _bytes_of([one]).items()):
            difference.add("this arrived at the server, and the client did not send it:", one)


def _same_offer(one: Segment, other: Segment) -> bool:
    def offer(segment: Segment) -> dict[str, Value]:
        return {name: value for name, value in segment.options if name not in ("NOP", "Timestamp", "EOL")}

    return offer(one) == offer(other) and (one.stamps is None) == (other.stamps is None)


def _to_the_client(client: _End, server: _End, constants: _Constants, difference: Difference) -> None:
    sent = [constants.at_the_client(one) for one in server.sent if not one.flags & SYN]
    missing, made, order = _matched(sent, [one for one in client.received if not one.flags & SYN])
    difference.compared += len(order)
    _in_order(order, client.received, difference)
    for one in missing:
        difference.add("the server sent this, and nothing like it arrived:", one)
    for one in made:
        difference.add("this arrived at the client, and the server did not send it:", one)


def compare(lab: Lab, client: Capture, server: Capture, port: int) -> Difference:
    """`port`: the client's, of a connection that was opened through the box. The captures have ended."""
    assert (client.lost, server.lost) == (0, 0), (
        "frames are missing in the captures themselves: nothing can be compared"
    )
    difference = Difference()
    ends = _End.of(client, port, difference), _End.of(server, port, difference)
    constants = _constants(*ends, hops=0 if lab.mode is Mode.BRIDGE else 1)
    _to_the_server(*ends, constants, difference)
    _to_the_client(*ends, constants, difference)
    return difference
