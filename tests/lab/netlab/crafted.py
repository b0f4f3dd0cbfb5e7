"""A TCP endpoint made of single packets, for what no kernel sends on request. Uses Scapy.

The local port lies in the range that the lab's kernels are shielded from, so no kernel answers with
a RST of its own. Sequence numbers are relative to nothing: they are what is on the wire. Called by
tests. Checksums are made by Scapy and those received are verified: a packet with a wrong one fails
the test that receives it.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from typing import Any, TypedDict, Unpack

from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Packet

from netlab.counters import CRAFTED_PORT_FIRST, CRAFTED_PORT_LAST
from netlab.names import CLIENT_MAC, END_INTERFACE, INSIDE_MAC, OUTSIDE_MAC, SERVER_MAC, Names
from netlab.topology import Mode
from netlab.wire import Frame, PacketSocket

Options = Sequence[tuple[str, Any]]
FULL_OPTIONS: Options = (
    ("MSS", 1460),
    ("SAckOK", b""),
    ("Timestamp", (1000, 0)),
    ("NOP", None),
    ("WScale", 7),
)
ANSWER_LIMIT_S = 3.0
# A silence is proved by waiting this long: ten times what any packet takes here.
QUIET_S = 0.4


class Fields(TypedDict, total=False):
    """Fields of a packet that replace the connection's current ones."""

    seq: int | None
    ack: int | None
    options: Options | None
    window: int
    urgent: int


_ports = itertools.count(CRAFTED_PORT_FIRST)
_isns = itertools.count(0x1000_0000, 0x0123_4567)


def fresh_port() -> int:
    """A port that no test of this run has used: no flow is in anybody's table."""
    port = next(_ports)
    assert port <= CRAFTED_PORT_LAST, "more crafted endpoints than shielded ports"
    return port


def neighbour_mac(mode: Mode, *, at_client: bool) -> str:
    """Where frames of one end go: the other end on a bridge, the box when it routes."""
    if mode is not Mode.BRIDGE:
        return OUTSIDE_MAC if at_client else INSIDE_MAC
    return SERVER_MAC if at_client else CLIENT_MAC


def option(packet: Packet, name: str) -> Any:  # noqa: ANN401  each option has its own type
    """Value of a TCP option, None when it is absent (an option without value gives b"")."""
    for known, value in packet[TCP].options:
        if known == name:
            return value
    return None


def payload(packet: Packet) -> bytes:
    """TCP payload, without Ethernet padding."""
    network = packet[IP] if packet.haslayer(IP) else packet[IPv6]
    if packet.haslayer(IP):
        length = network.len - network.ihl * 4 - packet[TCP].dataofs * 4
    else:
        length = network.plen - (len(network.payload) - len(packet[TCP])) - packet[TCP].dataofs * 4
    return bytes(packet[TCP].payload)[: max(0, length)]


def checksum_valid(packet: Packet) -> bool:
    """Whether the TCP checksum is the one that Scapy computes for the same bytes."""
    again = packet.copy()
    found = again[TCP].chksum
    del again[TCP].chksum
    computed = Ether(bytes(again))[TCP].chksum
    return bool(found == computed)


class Endpoint:
    """One end of one connection. `seq` is the next to send, `ack` the next expected.

    at_client: it lives in the client's namespace (else in the server's) and has its address.
    """

    def __init__(
        self,
        names: Names,
        mode: Mode,
        *,
        at_client: bool,
        local: str,
        remote: str,
        remote_port: int | None,
        local_port: int | None = None,
    ) -> None:
        namespace = names.client if at_client else names.server
        self._socket = PacketSocket(namespace, END_INTERFACE)
        self.local, self.remote = local, remote
        self.local_port = fresh_port() if local_port is None else local_port
        self.remote_port = remote_port
        self.isn = next(_isns) & 0xFFFFFFFF
        self.seq = self.isn
        self.ack = 0
        self.timestamps: tuple[int, int] | None = None  # (TSval, TSecr) put on each packet
        self._macs = (
            CLIENT_MAC if at_client else SERVER_MAC,
            neighbour_mac(mode, at_client=at_client),
        )

    def __enter__(self) -> Endpoint:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    # -- sending

    def packet(
        self,
        flags: str,
        data: bytes = b"",
        *,
        seq: int | None = None,
        ack: int | None = None,
        options: Options | None = None,
        window: int = 64240,
        urgent: int = 0,
    ) -> Packet:
        """A packet of this connection; numbers not given are the current ones."""
        if options is None:
            options = () if self.timestamps is None else (("NOP", None), ("NOP", None), ("Timestamp", self.timestamps))
        segment = TCP(
            sport=self.local_port,
            dport=self.remote_port,
            flags=flags,
            seq=(self.seq if seq is None else seq) & 0xFFFFFFFF,
            ack=(self.ack if ack is None else ack) & 0xFFFFFFFF if "A" in flags else 0,
            window=window,
            urgptr=urgent,
            options=list(options),
        )
        return self.link() / self.network() / segment / data

    def link(self) -> Packet:
        return Ether(src=self._macs[0], dst=self._macs[1])

    def network(self) -> Packet:
        if ":" in self.local:
            return IPv6(src=self.local, dst=self.remote)
        return IP(src=self.local, dst=self.remote, flags="DF")

    def send_raw(self, packet: Packet) -> None:
        self._socket.send(bytes(packet))

    def send(self, flags: str, data: bytes = b"", **fields: Unpack[Fields]) -> Packet:
        """Send and advance `seq` by what the packet occupies (not when `seq` is given)."""
        packet = self.packet(flags, data, **fields)
        self.send_raw(packet)
        if fields.get("seq") is None:
            self.seq = (self.seq + len(data) + ("S" in flags) + ("F" in flags)) & 0xFFFFFFFF
        return packet

    # -- receiving

    def receive(self, limit_s: float = ANSWER_LIMIT_S) -> Packet | None:
        """The next packet of this connection, None when none came in time."""
        limit = time.monotonic() + limit_s
        while (left_s := limit - time.monotonic()) > 0:
            frame = self._socket.receive(left_s)
            if frame is not None and not frame.sent:
                packet = self._mine(frame)
                if packet is not None:
                    return packet
        return None

    def _mine(self, frame: Frame) -> Packet | None:
        if self.local_port.to_bytes(2, "big") not in frame.data[14:120]:
            return None  # spares Scapy the traffic of others
        packet = Ether(frame.data)
        if not packet.haslayer(TCP):
            return None
        network = packet[IP] if packet.haslayer(IP) else packet[IPv6]
        if (network.src, network.dst) != (self.remote, self.local):
            return None
        segment = packet[TCP]
        if segment.dport != self.local_port or self.remote_port not in (None, segment.sport):
            return None
        assert not frame.checksum_ready or checksum_valid(packet), f"wrong checksum: {packet.summary()}"
        packet.time = frame.at_s
        return packet

    def expect(
        self, flags: str, wanted: Callable[[Packet], bool] = lambda _: True, limit_s: float = ANSWER_LIMIT_S
    ) -> Packet:
        """The next packet with exactly these flags; others are passed over, none is a failure."""
        limit = time.monotonic() + limit_s
        seen = []
        while (packet := self.receive(limit - time.monotonic())) is not None:
            if packet[TCP].flags == flags and wanted(packet):
                return packet
            seen.append(packet.summary())
        raise AssertionError(f"no {flags} packet for port {self.local_port}; seen: {seen or 'nothing'}")

    def expect_data(self, length: int, limit_s: float = ANSWER_LIMIT_S) -> bytes:
        """In-order bytes until `length` are there; advances `ack`, acknowledges nothing."""
        limit = time.monotonic() + limit_s
        got = b""
        while len(got) < length:
            packet = self.receive(limit - time.monotonic())
            assert packet is not None, f"{len(got)} of {length} bytes came: {got[:80]!r}"
            data = payload(packet)
            if data and packet[TCP].seq == self.ack:
                got += data
                self.ack = (self.ack + len(data)) & 0xFFFFFFFF
        return got

    def expect_quiet(self, limit_s: float = QUIET_S) -> None:
        packet = self.receive(limit_s)
        assert packet is None, f"unexpected packet: {packet.summary()}"

    # -- whole handshakes

    def connect(self, options: Options = FULL_OPTIONS) -> Packet:
        """SYN, SYN-ACK, without the final ACK; returns the SYN-ACK."""
        self.send("S", options=options)
        answer = self.expect("SA")
        assert answer[TCP].ack == self.seq
        self.ack = (answer[TCP].seq + 1) & 0xFFFFFFFF
        self._agree(options, answer)
        return answer

    def accept(self, options: Options = FULL_OPTIONS, limit_s: float = ANSWER_LIMIT_S) -> Packet:
        """Wait for a SYN, answer it; returns the SYN. The ACK is left to the test."""
        syn = self.expect("S", limit_s=limit_s)
        self.answer(syn, options)
        return syn

    def answer(self, syn: Packet, options: Options = FULL_OPTIONS, flags: str = "SA") -> None:
        self.remote_port = syn[TCP].sport
        self.ack = (syn[TCP].seq + 1) & 0xFFFFFFFF
        theirs = option(syn, "Timestamp")
        offered = {name for name, _ in syn[TCP].options} | {"MSS", "NOP"}
        agreed = [o for o in options if o[0] in offered]
        if theirs is not None:
            agreed = [("Timestamp", (5000, theirs[0])) if o[0] == "Timestamp" else o for o in agreed]
        self.send(flags, options=agreed)
        self._agree(agreed, syn)

    def _agree(self, mine: Options, theirs: Packet) -> None:
        own = [value for name, value in mine if name == "Timestamp"]
        other = option(theirs, "Timestamp")
        self.timestamps = (own[0][0], other[0]) if own and other is not None else None
