"""Packets of our own: Scapy and the parser read what was asked for, with right checksums."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from property import strategies as s
from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether

from cext import wire
from cext.parsed import Options, Tcp


@given(ends=s.addresses, tcp=s.tcp, ttl=s.u8, options=s.segment_options, payload=s.payload)
def test_segment(ends: tuple[bytes, bytes], tcp: Tcp, ttl: int, options: bytes, payload: bytes) -> None:
    src, dst = ends
    raw = wire.write_segment(src, dst, tcp, ttl, options, payload)
    ethertype = 0x0800 if len(src) == 4 else 0x86DD
    found = wire.parse(raw, ethertype)
    assert found.kind == "tcp"
    assert found.ip is not None
    assert (found.ip.src, found.ip.dst, found.ip.ttl, found.ip.end_at) == (src, dst, ttl, len(raw))
    assert found.tcp == replace(tcp, header_len=20 + len(options), payload_len=len(payload))
    assert raw[found.ip.payload_at + 20 :] == options + payload
    assert wire.checksums_ok(raw, ethertype) == (True, True)


@given(ends=s.addresses, tcp=s.tcp, options=s.syn_options, payload=s.payload)
def test_scapy_would_write_the_same_checksums(
    ends: tuple[bytes, bytes], tcp: Tcp, options: Options, payload: bytes
) -> None:
    raw = wire.write_segment(*ends, tcp, 64, wire.write_syn_options(options), payload)
    again = (IP if len(ends[0]) == 4 else IPv6)(raw)
    sums = (getattr(again, "chksum", None), again[TCP].chksum)
    if len(ends[0]) == 4:
        del again.chksum
    del again[TCP].chksum
    made = (IP if len(ends[0]) == 4 else IPv6)(bytes(again))
    assert (getattr(made, "chksum", None), made[TCP].chksum) == sums


@given(ends=st.tuples(s.address4, s.address4), tcp=s.tcp)
def test_ipv4_packets_may_not_be_fragmented(ends: tuple[bytes, bytes], tcp: Tcp) -> None:
    """DF, and so the identification means nothing and is zero: RFC 6864 section 4.1."""
    packet = IP(wire.write_segment(*ends, tcp))
    assert (int(packet.flags), packet.frag, packet.id) == (2, 0, 0)


@given(dst=s.mac, src=s.mac, family=s.family, tags=st.lists(s.tag, max_size=2))
def test_ether(dst: bytes, src: bytes, family: int, tags: list[tuple[int, int]]) -> None:
    raw = wire.write_ether(dst, src, family, tags)
    assert len(raw) == 14 + 4 * len(tags)
    assert raw[:12] == dst + src
    expected = b"".join(proto.to_bytes(2, "big") + tci.to_bytes(2, "big") for proto, tci in tags)
    assert raw[12:] == expected + (b"\x08\x00" if family == 4 else b"\x86\xdd")
    assert Ether(raw).dst == ":".join(f"{byte:02x}" for byte in dst)
