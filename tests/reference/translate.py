"""One TCP stream out of two halves: what is changed in a segment of an open connection.

The server's sequence numbers differ from those the client was promised by a constant, so do its
timestamps; windows are rescaled when the server's or client's scale is not the one the other was told;
an option that the other side did not agree to is overwritten with NOPs, so lengths never change.

Owns the arithmetic. Called by connection.py. Must not know: states.
"""

from __future__ import annotations

from dataclasses import dataclass

from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import IPv6
from scapy.packet import Packet

from reference.segment import ACK, MASK, RST, OptionList, Segment

_TIMESTAMP_BYTES = 10


@dataclass(frozen=True)
class Scales:
    """Window scale of one end: the one its windows have, and the one the other end was told."""

    own: int = 0
    told: int = 0

    def rescale(self, window: int) -> int:
        """The window field to send on: rounded down, never a non-zero one to zero."""
        if self.own == self.told or not window:
            return window
        return min(max(window << self.own >> self.told, 1), 0xFFFF)


@dataclass(frozen=True)
class Translation:
    """The constants of one connection."""

    seq: int  # added to the server's sequence numbers on the way to the client
    ts: int  # added to the server's TSval
    client: Scales
    server: Scales
    client_ts: bool = False  # the client was told that timestamps are on
    server_ts: bool = False  # the server agreed to them
    client_sack: bool = False  # the client was told that SACK is on
    server_sack: bool = False  # the server agreed to it
    hide_ecn: bool = False  # the server uses ECN, the client does not

    def to_server(self, segment: Segment) -> bytes:
        """The client's segment as the server shall see it."""
        tcp = segment.packet[TCP]
        if segment.has(ACK):
            tcp.ack = segment.ack - self.seq & MASK
        if not segment.has(RST):
            tcp.window = self.client.rescale(segment.window)
        options: OptionList = []
        for kind, value in tcp.options:
            if kind == "SAck" and self.server_sack:
                options.append((kind, tuple(edge - self.seq & MASK for edge in value)))
            elif kind == "SAck":
                options += _blank_sack(value)
            elif kind == "Timestamp" and not self.server_ts:
                options += [("NOP", None)] * _TIMESTAMP_BYTES
            elif kind == "Timestamp" and segment.has(ACK) and value[1]:
                options.append((kind, (value[0], value[1] - self.ts & MASK)))
            else:
                options.append((kind, value))
        tcp.options = options
        return _rebuilt(segment.packet)

    def to_client(self, segment: Segment) -> bytes:
        """The server's segment as the client shall see it."""
        tcp = segment.packet[TCP]
        tcp.seq = segment.seq + self.seq & MASK
        if not segment.has(RST):
            tcp.window = self.server.rescale(segment.window)
        options: OptionList = []
        for kind, value in tcp.options:
            if kind == "SAck" and not self.client_sack:
                options += _blank_sack(value)
            elif kind == "Timestamp" and self.client_ts:
                options.append((kind, (value[0] + self.ts & MASK, value[1])))
            else:
                options.append((kind, value))
        tcp.options = options
        if self.hide_ecn:  # its packets would be marked on the way instead of dropped
            _clear_ecn(segment.packet)
        return _rebuilt(segment.packet)


def _blank_sack(edges: tuple[int, ...]) -> OptionList:
    return [("NOP", None)] * (2 + 4 * len(edges))


def _clear_ecn(packet: Packet) -> None:
    """Not ECN-capable: RFC 3168 section 5."""
    if IP in packet:
        packet[IP].tos &= 0xFC
    else:
        packet[IPv6].tc &= 0xFC


def _rebuilt(packet: Packet) -> bytes:
    """Bytes of a changed packet, checksums made anew."""
    del packet[TCP].chksum
    if IP in packet:
        del packet[IP].chksum
    return bytes(packet)
