"""What the parser says at the edges: lengths, extension headers, fragments, addresses, flags, ICMP quotes."""

from __future__ import annotations

import struct

import pytest

from cext import wire
from cext.parsed import Packet

IPV4 = 0x0800
IPV6 = 0x86DD
TCP = 6
CLIENT4, SERVER4 = bytes([198, 18, 0, 1]), bytes([198, 19, 0, 1])
CLIENT6 = bytes.fromhex("20010db8001800000000000000000001")
SERVER6 = bytes.fromhex("20010db8001900000000000000000001")


def tcp(flags: int = 0x10, offset: int = 5, *, sport: int = 4000, dport: int = 80, payload: bytes = b"") -> bytes:
    options = bytes(max(0, offset * 4 - 20))
    return struct.pack("!HHIIBBHHH", sport, dport, 1, 2, offset << 4, flags, 512, 0, 0) + options + payload


def ip4(
    payload: bytes,
    *,
    proto: int = TCP,
    fragment: int = 0,
    version_ihl: int = 0x45,
    total: int | None = None,
    source: bytes = CLIENT4,
) -> bytes:
    options = bytes(max(0, (version_ihl & 15) * 4 - 20))
    length = 20 + len(options) + len(payload) if total is None else total
    header = struct.pack("!BBHHHBBH", version_ihl, 0, length, 0, fragment, 64, proto, 0)
    return header + source + SERVER4 + options + payload


def ip6(
    payload: bytes,
    *,
    first: int = TCP,
    length: int | None = None,
    source: bytes = CLIENT6,
    destination: bytes = SERVER6,
) -> bytes:
    size = len(payload) if length is None else length
    return struct.pack("!IHBB", 6 << 28, size, first, 64) + source + destination + payload


def kind(packet: Packet) -> str:
    return packet.reason or packet.kind


HOP, ROUTING, FRAGMENT, AH, DESTINATION = 0, 43, 44, 51, 60


def extension(following: int, body: bytes = bytes(6), units: int = 0) -> bytes:
    return bytes([following, units]) + body


def chain(number: int, last: bytes) -> bytes:
    """`number` destination options headers in front of TCP."""
    headers = [extension(DESTINATION if left else TCP) for left in range(number - 1, -1, -1)]
    return b"".join(headers) + last


@pytest.mark.parametrize("number", range(1, 9))
def test_up_to_eight_extension_headers_are_followed(number: int) -> None:
    packet = wire.parse(ip6(chain(number, tcp()), first=DESTINATION), IPV6)
    assert packet.kind == "tcp"
    assert packet.ip is not None
    assert packet.ip.payload_at == 40 + 8 * number


def test_nine_extension_headers_are_junk() -> None:
    assert kind(wire.parse(ip6(chain(9, tcp()), first=DESTINATION), IPV6)) == "ipv6_headers"


@pytest.mark.parametrize("header", [HOP, ROUTING, DESTINATION, 135, AH, FRAGMENT])
@pytest.mark.parametrize("present", range(8))
def test_a_cut_extension_header_is_junk(header: int, present: int) -> None:
    body = extension(TCP)[:present]
    assert kind(wire.parse(ip6(body, first=header), IPV6)) == "ipv6_headers"


@pytest.mark.parametrize("header", [HOP, ROUTING, DESTINATION, AH])
def test_an_extension_header_longer_than_the_packet_is_junk(header: int) -> None:
    body = extension(TCP, units=255) + tcp()
    assert kind(wire.parse(ip6(body, first=header), IPV6)) == "ipv6_headers"


def test_authentication_header_counts_32_bit_words() -> None:
    packet = wire.parse(ip6(extension(TCP, bytes(10), 1) + tcp(), first=AH), IPV6)
    assert packet.kind == "tcp"
    assert packet.ip is not None
    assert packet.ip.payload_at == 52


def test_routing_header_that_is_used_up_is_stepped_over() -> None:
    body = extension(TCP, bytes([2, 0, 0, 0, 0, 0]) + SERVER6, 2)
    assert wire.parse(ip6(body + tcp(), first=ROUTING), IPV6).kind == "tcp"


def test_routing_header_with_segments_left_is_junk() -> None:
    """Its destination is not the last one, so neither the service nor the checksum is the one that it seems."""
    body = extension(TCP, bytes([2, 1, 0, 0, 0, 0]) + SERVER6, 2)
    assert kind(wire.parse(ip6(body + tcp(), first=ROUTING), IPV6)) == "ipv6_headers"


@pytest.mark.parametrize("end", ["source", "destination"])
def test_ipv4_mapped_address_on_the_wire_is_junk(end: str) -> None:
    """It would be taken for the IPv4 host of the same number: the core keeps IPv4 addresses in this form."""
    mapped = bytes(10) + b"\xff\xff" + CLIENT4
    packet = ip6(tcp(), source=mapped) if end == "source" else ip6(tcp(), destination=mapped)
    assert kind(wire.parse(packet, IPV6)) == "ip_source"


def fragment_header(following: int, offset_units: int, more: int) -> bytes:
    return struct.pack("!BBHI", following, 0, offset_units << 3 | more, 7)


def test_atomic_fragment_is_a_whole_packet() -> None:
    packet = wire.parse(ip6(fragment_header(TCP, 0, 0) + tcp(), first=FRAGMENT), IPV6)
    assert packet.kind == "tcp"
    assert packet.ip is not None
    assert packet.ip.fragment == 0


def test_first_fragment_with_its_header_says_so() -> None:
    for packet in (
        wire.parse(ip6(fragment_header(TCP, 0, 1) + tcp(), first=FRAGMENT), IPV6),
        wire.parse(ip4(tcp(), fragment=0x2000), IPV4),
    ):
        assert packet.kind == "tcp"
        assert packet.ip is not None
        assert packet.ip.fragment == 1


@pytest.mark.parametrize("length", range(20))
def test_first_fragment_without_its_header_is_a_fragment(length: int) -> None:
    assert wire.parse(ip6(fragment_header(TCP, 0, 1) + tcp()[:length], first=FRAGMENT), IPV6).kind == "fragment"
    assert wire.parse(ip4(tcp()[:length], fragment=0x2000), IPV4).kind == "fragment"


def test_first_fragment_that_cuts_the_options_is_a_fragment() -> None:
    assert wire.parse(ip4(tcp(offset=10)[:30], fragment=0x2000), IPV4).kind == "fragment"


@pytest.mark.parametrize("offset", [1, 2, 100, 0x1FFF])
@pytest.mark.parametrize("more", [0, 1])
def test_later_fragment_of_tcp(offset: int, more: int) -> None:
    body = bytes(64)
    assert wire.parse(ip4(body, fragment=more << 13 | offset), IPV4).kind == "fragment"
    assert wire.parse(ip6(fragment_header(TCP, offset, more) + body, first=FRAGMENT), IPV6).kind == "fragment"


@pytest.mark.parametrize("following", [HOP, ROUTING, FRAGMENT, AH, DESTINATION, 135])
def test_later_fragment_that_may_be_tcp_is_a_fragment(following: int) -> None:
    """Behind an extension header in the first fragment there may be TCP, so this is not a packet to pass."""
    assert wire.parse(ip6(fragment_header(following, 2, 1) + bytes(64), first=FRAGMENT), IPV6).kind == "fragment"


@pytest.mark.parametrize("following", [17, 58, 59, 132])
def test_later_fragment_of_something_else_is_not_ours(following: int) -> None:
    assert wire.parse(ip6(fragment_header(following, 2, 1) + bytes(64), first=FRAGMENT), IPV6).kind == "other"
    assert wire.parse(ip4(bytes(64), proto=17, fragment=2), IPV4).kind == "other"


@pytest.mark.parametrize("length", range(40))
def test_every_cut_of_a_packet_is_junk(length: int) -> None:
    assert kind(wire.parse(ip4(tcp())[:length], IPV4)) == "truncated"
    assert kind(wire.parse(ip6(tcp())[: length + 20], IPV6)) == "truncated"


@pytest.mark.parametrize(
    ("version_ihl", "total", "expected"),
    [
        (0x44, None, "ip_header"),
        (0x40, None, "ip_header"),
        (0x55, None, "ip_header"),
        (0x65, None, "ip_header"),
        (0x45, 0, "ip_header"),
        (0x45, 19, "ip_header"),
        (0x4F, 59, "ip_header"),
        (0x45, 20, "truncated"),
        (0x45, 39, "truncated"),
        (0x45, 41, "truncated"),
        (0x45, 0xFFFF, "truncated"),
        (0x4F, None, "tcp"),
    ],
)
def test_ipv4_lengths(version_ihl: int, total: int | None, expected: str) -> None:
    assert kind(wire.parse(ip4(tcp(), version_ihl=version_ihl, total=total), IPV4)) == expected


@pytest.mark.parametrize(("length", "expected"), [(0, "truncated"), (19, "truncated"), (20, "tcp"), (21, "truncated")])
def test_ipv6_lengths(length: int, expected: str) -> None:
    assert kind(wire.parse(ip6(tcp(), length=length), IPV6)) == expected


def test_padding_behind_the_packet_is_not_payload() -> None:
    for data, ethertype in ((ip4(tcp()), IPV4), (ip6(tcp()), IPV6)):
        packet = wire.parse(data + bytes(6), ethertype)
        assert packet.tcp is not None
        assert packet.tcp.payload_len == 0


@pytest.mark.parametrize("offset", range(16))
def test_tcp_header_lengths(offset: int) -> None:
    for room in (0, 4, 40):
        packet = ip4(tcp(offset=offset)[:20] + bytes(room))
        good = offset >= 5 and 4 * offset <= 20 + room
        assert kind(wire.parse(packet, IPV4)) == ("tcp" if good else "tcp_header")


def test_port_zero_is_junk() -> None:
    assert kind(wire.parse(ip4(tcp(sport=0)), IPV4)) == "tcp_header"
    assert kind(wire.parse(ip4(tcp(dport=0)), IPV4)) == "tcp_header"


@pytest.mark.parametrize("flags", range(256))
def test_flags(flags: int) -> None:
    fin, syn, rst, ack = (bool(flags & bit) for bit in (1, 2, 4, 16))
    good = (syn or rst or ack) and fin + syn + rst <= 1
    assert kind(wire.parse(ip4(tcp(flags)), IPV4)) == ("tcp" if good else "tcp_flags")


def tagged(protos: list[int], inner: bytes, ethertype: int = IPV4) -> tuple[bytes, int]:
    """Bytes after the Ethernet header and the EtherType in it."""
    data = b""
    for number, proto in enumerate([*protos[1:], ethertype]):
        data += struct.pack("!HH", 10 + number, proto)
    return data + inner, protos[0]


@pytest.mark.parametrize("outer", [0x8100, 0x88A8])
def test_vlan_and_qinq(outer: int) -> None:
    data, ethertype = tagged([outer, 0x8100], ip4(tcp()))
    packet = wire.parse(data, ethertype)
    assert packet.kind == "tcp"
    assert packet.tags == ((outer, 10), (0x8100, 11))


def test_tags_in_and_out_of_band_count_together() -> None:
    data, ethertype = tagged([0x8100], ip4(tcp()))
    assert wire.parse(data, ethertype, [(0x88A8, 7)]).tags == ((0x88A8, 7), (0x8100, 10))
    data, ethertype = tagged([0x8100, 0x8100], ip4(tcp()))
    assert wire.parse(data, ethertype, [(0x88A8, 7)]).kind == "other"


def test_three_tags_are_not_looked_into() -> None:
    data, ethertype = tagged([0x8100, 0x8100, 0x8100], ip4(tcp()))
    assert wire.parse(data, ethertype).kind == "other"


@pytest.mark.parametrize("length", range(4))
def test_cut_tag_is_junk(length: int) -> None:
    assert kind(wire.parse(bytes(length), 0x8100)) == "truncated"


@pytest.mark.parametrize("ethertype", [0, 0x0806, 0x8847, 0xFFFF])
def test_other_protocols_are_not_ours(ethertype: int) -> None:
    assert wire.parse(ip4(tcp()), ethertype).kind == "other"


def icmp(family: int, icmp_type: int, quoted: bytes, code: int = 1) -> Packet:
    body = bytes([icmp_type, code, 0, 0, 0, 0, 0, 0]) + quoted
    if family == 4:
        return wire.parse(ip4(body, proto=1), IPV4)
    return wire.parse(ip6(body, first=58), IPV6)


def quote(family: int, tcp_bytes: int) -> bytes:
    return ip4(tcp()[:tcp_bytes], total=1500) if family == 4 else ip6(tcp()[:tcp_bytes], length=1460)


ERRORS = {4: (3, 11, 12), 6: (1, 2, 3, 4)}


@pytest.mark.parametrize("family", [4, 6])
def test_only_errors_about_tcp_are_ours(family: int) -> None:
    for icmp_type in range(256):
        expected = "icmp_error" if icmp_type in ERRORS[family] else "other"
        assert icmp(family, icmp_type, quote(family, 20)).kind == expected
    udp = ip4(tcp(), proto=17) if family == 4 else ip6(tcp(), first=17)
    assert icmp(family, 3, udp).kind == "other"


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("length", range(21))
def test_quote_lengths(family: int, length: int) -> None:
    packet = icmp(family, 3, quote(family, length))
    assert packet.kind == ("icmp_error" if length >= 8 else "other")
    if packet.quote:
        assert (packet.quote.sport, packet.quote.dport, packet.quote.seq) == (4000, 80, 1)
        assert packet.quote.ack == (2 if length >= 12 else None)


@pytest.mark.parametrize("length", [0, 7])
def test_a_quote_that_ends_before_its_ports_is_not_ours(length: int) -> None:
    """By its own length: what follows in the ICMP packet is not part of it."""
    assert icmp(4, 3, ip4(tcp(), total=20 + length)).kind == "other"
    assert icmp(6, 3, ip6(tcp(), length=length)).kind == "other"


@pytest.mark.parametrize("family", [4, 6])
def test_quote_of_a_later_fragment_has_no_ports(family: int) -> None:
    quoted = ip4(tcp(), fragment=1) if family == 4 else ip6(fragment_header(TCP, 1, 0) + tcp(), first=FRAGMENT)
    assert icmp(family, 3, quoted).kind == "other"


def test_fragmented_icmp_is_not_looked_into() -> None:
    body = bytes([3, 1, 0, 0, 0, 0, 0, 0]) + quote(4, 20)
    assert wire.parse(ip4(body, proto=1, fragment=0x2000), IPV4).kind == "other"


@pytest.mark.parametrize(
    ("source", "impossible"),
    [
        ("00000000", True),
        ("00000001", True),
        ("7f000001", True),
        ("e0000001", True),
        ("ffffffff", True),
        ("c6130001", True),  # the server's own: LAND
        ("01000001", False),
        ("dfffffff", False),
        ("0a000001", False),
    ],
)
def test_ipv4_sources(source: str, impossible: bool) -> None:
    assert wire.source_impossible(bytes.fromhex(source), SERVER4) is impossible


@pytest.mark.parametrize(
    ("source", "impossible"),
    [
        ("00000000000000000000000000000000", True),
        ("00000000000000000000000000000001", True),
        ("000000000000000000000000c6120001", True),
        ("00000000000000000000ffffc6120001", True),
        ("ff020000000000000000000000000001", True),
        (SERVER6.hex(), True),
        ("fe800000000000000000000000000001", False),
        ("00640000000000000000000000000001", False),
        (CLIENT6.hex(), False),
    ],
)
def test_ipv6_sources(source: str, impossible: bool) -> None:
    assert wire.source_impossible(bytes.fromhex(source), SERVER6) is impossible
