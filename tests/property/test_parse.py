"""The packet parser: a view inside the bytes for any bytes, and Scapy's reading for packets that Scapy made."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from property import strategies as s
from scapy.layers.inet import ICMP, IP, TCP
from scapy.layers.inet6 import (
    ICMPv6DestUnreach,
    ICMPv6PacketTooBig,
    ICMPv6ParamProblem,
    ICMPv6TimeExceeded,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
)
from scapy.layers.l2 import Dot1Q, Ether
from scapy.packet import Packet as Frame
from scapy.packet import Raw

from cext import wire
from cext.parsed import Ip, Packet, Tcp

KINDS = {"other", "tcp", "icmp_error", "fragment", "junk"}
EXTENSIONS: dict[str, tuple[type[Frame], dict[str, Any]]] = {
    "hop": (IPv6ExtHdrHopByHop, {}),
    "destination": (IPv6ExtHdrDestOpt, {}),
    "routing": (IPv6ExtHdrRouting, {"segleft": 0, "addresses": ["2001:db8::1"]}),
}


def check_view(packet: Packet, size: int) -> None:
    """The parts of the view are in order and inside the packet."""
    assert packet.kind in KINDS
    assert (packet.reason is not None) == (packet.kind == "junk")
    assert (packet.tcp is not None) == (packet.kind == "tcp")
    assert (packet.quote is not None) == (packet.kind == "icmp_error")
    assert len(packet.tags) <= 2
    if packet.ip:
        check_ip(packet.ip, 0, size)
    if packet.ip and packet.tcp:
        assert 20 <= packet.tcp.header_len <= 60
        assert packet.ip.payload_at + packet.tcp.header_len + packet.tcp.payload_len == packet.ip.end_at
        assert packet.tcp.sport
        assert packet.tcp.dport
        assert s.plausible(packet.tcp.flags)
    if packet.ip and packet.quote:
        check_ip(packet.quote.ip, packet.ip.payload_at + 8, packet.ip.end_at)
        assert packet.quote.ip.end_at - packet.quote.ip.payload_at >= (8 if packet.quote.ack is None else 12)


def check_ip(ip: Ip, start: int, end: int) -> None:
    header = {4: 20, 6: 40}[ip.family]
    assert start <= ip.header_at <= ip.header_at + header <= ip.payload_at <= ip.end_at <= end
    assert len(ip.src) == len(ip.dst) == {4: 4, 6: 16}[ip.family]


@given(data=st.binary(max_size=400), ethertype=s.ethertype, tags=st.lists(s.tag, max_size=2))
def test_any_bytes(data: bytes, ethertype: int, tags: list[tuple[int, int]]) -> None:
    check_view(wire.parse(data, ethertype, tags), len(data))


@st.composite
def made(draw: st.DrawFn) -> tuple[Frame, Frame]:
    """(IP packet, its TCP layer) with everything Scapy lets us choose."""
    src, dst = draw(s.addresses)
    options = draw(s.segment_options)
    segment = TCP(
        sport=draw(s.port),
        dport=draw(s.port),
        seq=draw(s.u32),
        ack=draw(s.u32),
        flags=draw(s.flags),
        window=draw(s.u16),
        dataofs=5 + len(options) // 4,
        urgptr=draw(s.u16),
    )
    body = segment / Raw(options + draw(s.payload))
    if len(src) == 4:
        return IP(src=s.text_of(src), dst=s.text_of(dst), ttl=draw(s.u8), tos=draw(s.u8)) / body, segment
    head: Frame = IPv6(src=s.text_of(src), dst=s.text_of(dst), hlim=draw(s.u8), tc=draw(s.u8))
    for name in draw(st.lists(st.sampled_from(sorted(EXTENSIONS)), max_size=4)):
        layer, fields = EXTENSIONS[name]
        head = head / layer(**fields)
    return head / body, segment


def tcp_of(raw: bytes, at: int) -> Tcp:
    """Scapy's reading of the TCP header."""
    layer = TCP(raw[at:])
    size = layer.dataofs * 4
    return Tcp(
        layer.sport, layer.dport, layer.seq, layer.ack, int(layer.flags), layer.window, size, len(raw) - at - size
    )


@given(packet=made(), padding=st.integers(0, 20))
def test_agrees_with_scapy(packet: tuple[Frame, Frame], padding: int) -> None:
    frame, _ = packet
    raw = bytes(frame)
    version = raw[0] >> 4
    at = raw[0] % 16 * 4 if version == 4 else 40 + sum(8 * (1 + layer.len) for layer in extensions(raw))
    found = wire.parse(raw + bytes(padding), {4: 0x0800, 6: 0x86DD}[version])
    assert found.kind == "tcp"
    assert found.ip is not None
    assert found.ip.payload_at == at
    assert found.ip.end_at == len(raw)
    assert (s.text_of(found.ip.src), s.text_of(found.ip.dst)) == (frame.src, frame.dst)
    assert found.ip.ttl == (frame.ttl if version == 4 else frame.hlim)
    assert found.ip.tos == (frame.tos if version == 4 else frame.tc)
    assert found.tcp == tcp_of(raw, at)


def extensions(raw: bytes) -> list[Frame]:
    """Extension headers of an IPv6 packet as Scapy reads them."""
    found: list[Frame] = []
    layer = IPv6(raw).payload
    while isinstance(layer, (IPv6ExtHdrHopByHop, IPv6ExtHdrDestOpt, IPv6ExtHdrRouting)):
        found.append(layer)
        layer = layer.payload
    return found


@given(packet=made())
def test_checksums_of_scapy_are_right(packet: tuple[Frame, Frame]) -> None:
    raw = bytes(packet[0])
    assert wire.checksums_ok(raw, {4: 0x0800, 6: 0x86DD}[raw[0] >> 4]) == (True, True)


@given(packet=made(), where=st.integers(0, 2**20), bit=st.integers(0, 7))
def test_every_flipped_bit_of_a_segment_is_seen(packet: tuple[Frame, Frame], where: int, bit: int) -> None:
    """In a segment a flipped bit is a wrong checksum or another header; one's complement sums see each single bit."""
    raw = bytearray(bytes(packet[0]))
    ethertype = {4: 0x0800, 6: 0x86DD}[raw[0] >> 4]
    found = wire.parse(bytes(raw), ethertype)
    assert found.ip is not None
    raw[found.ip.payload_at + where % (len(raw) - found.ip.payload_at)] ^= 1 << bit
    assert wire.checksums_ok(bytes(raw), ethertype)[1] in (False, None)


@given(packet=made(), vids=st.lists(s.u16, min_size=1, max_size=2), outer=st.sampled_from([0x8100, 0x88A8]))
def test_tags_are_read_and_stepped_over(packet: tuple[Frame, Frame], vids: list[int], outer: int) -> None:
    inner = packet[0]
    # With both addresses given Scapy asks nobody for them.
    frame: Frame = Ether(dst="02:00:00:00:00:01", src="02:00:00:00:00:02", type=outer)
    for vid in vids:
        frame = frame / Dot1Q(vlan=vid & 0xFFF, prio=vid >> 13, dei=vid >> 12 & 1)
    raw = bytes(frame / inner)
    found = wire.parse(raw[14:], outer)
    plain = wire.parse(bytes(inner), 0x0800 if inner.version == 4 else 0x86DD)
    assert found.tags == tuple(zip([outer, 0x8100], vids, strict=False))
    assert found.tcp == plain.tcp
    assert found.ip is not None
    assert plain.ip is not None
    assert found.ip.payload_at == plain.ip.payload_at + 4 * len(vids)


ERRORS4 = [ICMP(type=3, code=0), ICMP(type=3, code=4), ICMP(type=11), ICMP(type=12)]
ERRORS6 = [ICMPv6DestUnreach(), ICMPv6PacketTooBig(), ICMPv6TimeExceeded(), ICMPv6ParamProblem()]


@given(packet=made(), error=st.integers(0, 3), cut=st.integers(0, 60))
def test_quotes_agree_with_scapy(packet: tuple[Frame, Frame], error: int, cut: int) -> None:
    """The quoted packet may be cut anywhere; ports and sequence number are found as soon as they are there."""
    frame, segment = packet
    quoted = bytes(frame)
    whole = wire.parse(quoted, {4: 0x0800, 6: 0x86DD}[quoted[0] >> 4])
    assert whole.ip is not None
    quoted = quoted[: whole.ip.payload_at + cut]
    present = min(cut, whole.ip.end_at - whole.ip.payload_at)
    if quoted[0] >> 4 == 4:
        raw = bytes(IP(src="198.18.0.9", dst="198.19.0.9") / ERRORS4[error] / Raw(quoted))
        found = wire.parse(raw, 0x0800)
    else:
        raw = bytes(IPv6(src="2001:db8::9", dst="2001:db8::8") / ERRORS6[error] / Raw(quoted))
        found = wire.parse(raw, 0x86DD)
    assert found.kind == ("icmp_error" if present >= 8 else "other")
    if found.quote:
        assert (found.quote.sport, found.quote.dport, found.quote.seq) == (segment.sport, segment.dport, segment.seq)
        assert found.quote.ack == (segment.ack if present >= 12 else None)
        assert (found.quote.ip.src, found.quote.ip.dst) == (whole.ip.src, whole.ip.dst)
