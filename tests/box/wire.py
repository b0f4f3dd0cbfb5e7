"""Frames of a client and a server, and what came out of the box, taken apart and proved sound.

Owns: Path (who talks to whom, over which link) and Seg (a packet in fields). Called by box.py and by tests. Must not
know the data plane. Checksums and lengths of everything taken apart are proved, so a test need not.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypedDict, Unpack

from scapy.compat import raw
from scapy.layers.inet import ICMP, IP, TCP
from scapy.layers.inet6 import (
    ICMPv6DestUnreach,
    ICMPv6PacketTooBig,
    ICMPv6TimeExceeded,
    IPv6,
    IPv6ExtHdrFragment,
)
from scapy.layers.l2 import Dot1Q, Ether
from scapy.packet import Packet, Raw

CLIENT_MAC, SERVER_MAC = "02:00:00:00:00:01", "02:00:00:00:00:02"
MASK = 0xFFFFFFFF
_WORD = struct.Struct(">H")

Option = tuple[str, Any]


class Header(TypedDict, total=False):
    """Fields of a TCP header, Scapy's names."""

    flags: str
    seq: int
    ack: int
    window: int
    options: list[Option]
    urgptr: int


class Fields(Header, total=False):
    """A TCP segment: its header and its payload."""

    data: bytes


@dataclass(frozen=True)
class Seg:
    """A TCP packet. side: towards which it left. layer: "l2" or "l3", or "forward" for a packet that went on.

    options: without padding; seq and ack as on the wire. tags: (TPID, VLAN identifier), outermost first.
    """

    side: str
    layer: str
    macs: tuple[str, str] | None  # source, destination
    tags: tuple[tuple[int, int], ...]
    src: str
    dst: str
    ttl: int
    sport: int
    dport: int
    flags: str
    seq: int
    ack: int
    window: int
    options: tuple[Option, ...]
    data: bytes

    @property
    def names(self) -> tuple[str, ...]:
        """Options by name, in order."""
        return tuple(name for name, _ in self.options)

    def option(self, name: str) -> Any:  # noqa: ANN401  # as many types as there are options
        """Value of an option, None if it is absent."""
        return dict(self.options).get(name)


@dataclass(frozen=True)
class Path:
    """A client, a server, and the link the box sees between them."""

    family: int = 4
    tags: tuple[tuple[int, int], ...] = ()
    client: str = "198.18.0.7"
    server: str = "198.19.0.10"
    cport: int = 40000
    sport: int = 80
    ttl: int = 57

    def other(self, number: int) -> Path:
        """Another client of the same server; numbers up to 64511."""
        return replace(self, cport=1024 + number)

    def from_client(self, **fields: Unpack[Fields]) -> bytes:
        return self.frame(self.client_packet(**fields), inside=False)

    def from_server(self, **fields: Unpack[Fields]) -> bytes:
        return self.frame(self.server_packet(**fields), inside=True)

    def client_packet(self, **fields: Unpack[Fields]) -> Packet:
        return self._network(self.client, self.server) / _tcp(self.cport, self.sport, fields)

    def server_packet(self, **fields: Unpack[Fields]) -> Packet:
        return self._network(self.server, self.client) / _tcp(self.sport, self.cport, fields)

    def syns(self, count: int, options: Sequence[Option] = ()) -> Iterator[bytes]:
        """SYNs of so many other clients, quickly: only port and checksum differ."""
        frame = bytearray(self.other(0).from_client(flags="S", options=list(options)))
        at = 14 + 4 * len(self.tags) + (20 if self.family == 4 else 40)
        (port,) = _WORD.unpack_from(frame, at)
        (was,) = _WORD.unpack_from(frame, at + 16)
        for number in range(count):
            total = (was ^ 0xFFFF) + number  # RFC 1624: the complement of the sum, which grows as the port does
            total = (total & 0xFFFF) + (total >> 16)
            _WORD.pack_into(frame, at, port + number)
            _WORD.pack_into(frame, at + 16, total ^ 0xFFFF)
            yield bytes(frame)

    def icmp(self, kind: str, quoted: bytes, *, inside: bool, code: int = 0, mtu: int = 0, router: str = "") -> bytes:
        """Frame of an ICMP error from a router on one side. kind: "unreachable", "too big" or "time"."""
        source = router or ("198.18.255.1" if self.family == 4 else "2001:db8:18::ffff")
        network = self._network(source, self.client if inside else self.server)
        if self.family == 4:
            types = {"unreachable": 3, "too big": 3, "time": 11}
            header: Packet = ICMP(type=types[kind], code=4 if kind == "too big" else code, nexthopmtu=mtu)
        else:
            header = {
                "unreachable": ICMPv6DestUnreach(code=code),
                "too big": ICMPv6PacketTooBig(mtu=mtu),
                "time": ICMPv6TimeExceeded(code=code),
            }[kind]
        return self.frame(network / header / Raw(quoted), inside=inside)

    def frame(self, packet: Packet, *, inside: bool) -> bytes:
        """The packet in a frame as the box receives it from that side."""
        macs = (SERVER_MAC, CLIENT_MAC) if inside else (CLIENT_MAC, SERVER_MAC)
        link = Ether(src=macs[0], dst=macs[1], type=self.tags[0][0] if self.tags else self.ethertype)
        inner = [tpid for tpid, _ in self.tags[1:]] + [self.ethertype]
        for (_, vid), tpid in zip(self.tags, inner, strict=False):
            link = link / Dot1Q(vlan=vid, prio=3, type=tpid)
        return raw(link / packet)

    @property
    def ethertype(self) -> int:
        return 0x0800 if self.family == 4 else 0x86DD

    def _network(self, source: str, destination: str) -> Packet:
        if self.family == 4:
            return IP(src=source, dst=destination, ttl=self.ttl, id=4711, flags="DF")
        return IPv6(src=source, dst=destination, hlim=self.ttl)


V4 = Path()
V6 = Path(family=6, client="2001:db8:18::7", server="2001:db8:19::10")
PATHS = {
    "ipv4": V4,
    "ipv6": V6,
    "ipv4 in a VLAN": replace(V4, tags=((0x8100, 10),)),
    "ipv6 in a VLAN": replace(V6, tags=((0x8100, 10),)),
    "ipv4 in QinQ": replace(V4, tags=((0x88A8, 300), (0x8100, 10))),
    "ipv6 in QinQ": replace(V6, tags=((0x8100, 300), (0x8100, 10))),
}


def _tcp(sport: int, dport: int, fields: Fields) -> Packet:
    values: dict[str, Any] = dict(fields)
    data = values.pop("data", b"")
    header = TCP(sport=sport, dport=dport, **{"options": [], "flags": "A", **values})
    return header / Raw(data) if data else header


def fragments(path: Path, packet: Packet, first_bytes: int) -> list[bytes]:
    """The two fragments of an IP packet, cut `first_bytes` (a multiple of 8) behind its IP header, as frames."""
    header = 20 if path.family == 4 else 40
    data = raw(packet)[header:]
    cut = [data[:first_bytes], data[first_bytes:]]
    frames = []
    for number, piece in enumerate(cut):
        if path.family == 4:
            head: Packet = IP(src=path.client, dst=path.server, proto=6, id=4711, flags=0 if number else "MF")
            head.frag = number * first_bytes // 8
        else:
            head = IPv6(src=path.client, dst=path.server) / IPv6ExtHdrFragment(
                nh=6, m=1 - number, offset=number * first_bytes // 8, id=4711
            )
        frames.append(path.frame(head / Raw(piece), inside=False))
    return frames


def split_link(data: bytes) -> tuple[tuple[str, str], tuple[tuple[int, int], ...], int, bytes]:
    """(source, destination MAC), tags, EtherType and rest of a frame."""
    macs = (data[6:12].hex(":"), data[:6].hex(":"))
    at, tags = 12, []
    while (tpid := int.from_bytes(data[at : at + 2], "big")) in (0x8100, 0x88A8):
        tci = int.from_bytes(data[at + 2 : at + 4], "big")
        assert tci >> 13 == 3, "the priority of the tag was lost"
        tags.append((tpid, tci & 0xFFF))
        at += 4
    return macs, tuple(tags), tpid, data[at + 2 :]


def checksum(data: bytes) -> int:
    """One's complement sum of 16-bit words, RFC 1071; 0xffff for data that carries a valid checksum."""
    padded = data + bytes(len(data) % 2)
    total = sum(int.from_bytes(padded[at : at + 2], "big") for at in range(0, len(padded), 2))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def prove(data: bytes) -> None:
    """An IP packet's lengths and checksums are right, those of its TCP or ICMP too."""
    if data[0] >> 4 == 4:
        header, ends, proto = (data[0] & 15) * 4, data[12:20], data[9]
        assert checksum(data[:header]) == 0xFFFF, "IPv4 checksum"
        assert int.from_bytes(data[2:4], "big") == len(data), "IPv4 length"
    else:
        header, ends, proto = 40, data[8:40], data[6]
        assert int.from_bytes(data[4:6], "big") == len(data) - 40, "IPv6 length"
    pseudo = ends + (len(data) - header).to_bytes(4, "big") + bytes([0, 0, 0, proto])
    if proto == 1:
        pseudo = b""
    assert checksum(pseudo + data[header:]) == 0xFFFF, "transport checksum"


def segment(side: str, layer: str, data: bytes) -> Seg:
    """Take a frame ("l2", "forward") or an IP packet ("l3") apart."""
    macs: tuple[str, str] | None = None
    tags: tuple[tuple[int, int], ...] = ()
    ethertype = 0x0800 if data[0] >> 4 == 4 else 0x86DD
    if layer != "l3":
        macs, tags, ethertype, data = split_link(data)
    prove(data)
    packet = IP(data) if ethertype == 0x0800 else IPv6(data)
    tcp = packet[TCP]
    return Seg(
        side=side,
        layer=layer,
        macs=macs,
        tags=tags,
        src=packet.src,
        dst=packet.dst,
        ttl=packet.ttl if ethertype == 0x0800 else packet.hlim,
        sport=tcp.sport,
        dport=tcp.dport,
        flags=str(tcp.flags),
        seq=tcp.seq,
        ack=tcp.ack,
        window=tcp.window,
        options=tuple(option for option in tcp.options if option[0] not in ("NOP", "EOL")),
        data=bytes(tcp.payload),
    )
