"""Segments and their options: Scapy packets read into plain values and made from them.

Owns the shape of every packet the proxy makes itself. Called by proxy.py and connection.py. Must not
know: why a packet is sent. Packets are IP packets without a link header; numbers are plain integers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Required, TypedDict, Unpack

from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import IPv6
from scapy.packet import Packet

from reference.cookie import Tuple

OptionList = list[tuple[str, Any]]  # as Scapy has them

FIN, SYN, RST, PSH, ACK, URG, ECE, CWR = (1 << bit for bit in range(8))
MASK = (1 << 32) - 1
TTL = 64
WSCALE_MAX = 14  # RFC 7323 2.3


@dataclass(frozen=True)
class Options:
    """Options of a SYN or SYN-ACK; of other segments only the timestamps (TSval, TSecr)."""

    mss: int = 0  # 0: absent
    wscale: int | None = None
    sack_ok: bool = False
    timestamps: tuple[int, int] | None = None


@dataclass(frozen=True)
class Segment:
    """What the proxy looks at in a TCP segment. `packet` is the Scapy packet it was read from."""

    flow: Tuple
    seq: int
    ack: int
    flags: int
    window: int
    options: Options
    payload: bytes
    ttl: int
    packet: Packet

    def has(self, flags: int) -> bool:
        """All of these flags are set."""
        return self.flags & flags == flags

    @property
    def end(self) -> int:
        """The sequence number after this segment: data, SYN and FIN take room."""
        return self.seq + len(self.payload) + self.has(SYN) + self.has(FIN) & MASK


def within(number: int, low: int, high: int) -> bool:
    """low <= number <= high in sequence space (RFC 9293 section 3.4)."""
    return number - low & MASK <= high - low & MASK


def after(a: int, b: int) -> bool:
    """A lies after b in sequence space."""
    return 0 < (a - b & MASK) < 1 << 31


def read(data: bytes, *, from_client: bool) -> Segment | None:
    """Read an IPv4 or IPv6 packet that carries TCP, else None."""
    packet = IPv6(data) if data[0] >> 4 == 6 else IP(data)
    if TCP not in packet:
        return None
    tcp = packet[TCP]
    flow = Tuple(packet.src, tcp.sport, packet.dst, tcp.dport)
    if not from_client:
        flow = Tuple(packet.dst, tcp.dport, packet.src, tcp.sport)
    flags = int(tcp.flags) & 0xFF
    ttl = packet.hlim if IPv6 in packet else packet.ttl
    payload = bytes(tcp.payload)
    if IP in packet:  # a short packet is padded on Ethernet
        payload = payload[: packet.len - packet.ihl * 4 - tcp.dataofs * 4]
    return Segment(flow, tcp.seq, tcp.ack, flags, tcp.window, _read_options(tcp.options), payload, ttl, packet)


def _read_options(options: OptionList) -> Options:
    """The last option of a kind counts, as in Linux."""
    last = dict(options)
    wscale = last.get("WScale")
    return Options(
        mss=last.get("MSS", 0),
        wscale=None if wscale is None else min(wscale, WSCALE_MAX),
        sack_ok="SAckOK" in last,
        timestamps=last.get("Timestamp"),
    )


def syn_options(options: Options) -> OptionList:
    """Options of a SYN or SYN-ACK in the order Linux writes them, every one on its 32-bit boundary."""
    nop = ("NOP", None)
    out: OptionList = []
    if options.mss:
        out.append(("MSS", options.mss))
    if options.sack_ok:
        out.append(("SAckOK", b""))
    if options.timestamps:
        out += [] if options.sack_ok else [nop, nop]
        out.append(("Timestamp", options.timestamps))
    elif options.sack_ok:
        out += [nop, nop]
    if options.wscale is not None:
        out += [nop, ("WScale", options.wscale)]
    return out


def timestamp_options(timestamps: tuple[int, int] | None) -> OptionList:
    """Options of a segment after the handshake (RFC 7323 appendix A)."""
    return [("NOP", None), ("NOP", None), ("Timestamp", timestamps)] if timestamps else []


class Fields(TypedDict, total=False):
    """What a packet of the proxy's own says; numbers that are left out are 0."""

    flags: Required[int]
    seq: Required[int]
    ack: int
    window: int
    options: OptionList
    payload: bytes
    ecn: int  # of the IP header, RFC 3168 section 5


def make(flow: Tuple, *, to_client: bool, ttl: int = TTL, **fields: Unpack[Fields]) -> bytes:
    """A packet of the proxy's own, from the server's address to the client's or the other way."""
    source, sport, target, dport = flow.client, flow.cport, flow.server, flow.sport
    if to_client:
        source, sport, target, dport = target, dport, source, sport
    tcp = TCP(
        sport=sport,
        dport=dport,
        seq=fields["seq"] & MASK,
        ack=fields.get("ack", 0) & MASK,
        flags=fields["flags"],
        window=fields.get("window", 0),
        options=fields.get("options", []),
    )
    payload = fields.get("payload", b"")
    if flow.family == 6:
        return bytes(IPv6(src=source, dst=target, hlim=ttl, tc=fields.get("ecn", 0)) / tcp / payload)
    # DF, and so ID 0: RFC 6864 section 4.1
    return bytes(IP(src=source, dst=target, ttl=ttl, id=0, flags="DF", tos=fields.get("ecn", 0)) / tcp / payload)
