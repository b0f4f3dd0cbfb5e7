#!/usr/bin/env python3
"""Writes the seeds of the fuzz targets into corpus/: packets made by Scapy, and small stories for the engine.

Owns: what every target starts from. Called by: a developer after a target's input format has changed; the seeds are
kept in the repository. Must not know: how the targets are run. Output is the same at every run.
"""

from __future__ import annotations

import shutil
import struct
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import (
    ICMPv6DestUnreach,
    ICMPv6PacketTooBig,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
)
from scapy.layers.l2 import Dot1AD, Dot1Q
from scapy.packet import Packet, Raw

CORPUS = Path(__file__).resolve().parent / "corpus"

CLIENT4, SERVER4 = "198.18.0.1", "198.19.0.1"
CLIENT6, SERVER6 = "2001:db8:18::1", "2001:db8:19::1"

# EtherTypes in the order of the targets' tables.
IPV4, IPV6, VLAN, QINQ = range(4)

FIN, SYN, RST, PSH, ACK, URG, ECE, CWR = (1 << bit for bit in range(8))

SYN_OPTIONS = [("MSS", 1460), ("SAckOK", b""), ("Timestamp", (1000, 0)), ("NOP", None), ("WScale", 7)]


def ip4(**fields: Any) -> Packet:  # noqa: ANN401
    return IP(src=CLIENT4, dst=SERVER4, **fields)


def ip6(**fields: Any) -> Packet:  # noqa: ANN401
    return IPv6(src=CLIENT6, dst=SERVER6, **fields)


def tcp(flags: str = "S", **fields: Any) -> Packet:  # noqa: ANN401
    return TCP(sport=4000, dport=80, seq=100, flags=flags, **fields)


def packets() -> Iterator[tuple[int, Packet]]:
    """(EtherType, packet) of everything the parser has a branch for."""
    for options in ([], SYN_OPTIONS, [("MSS", 536)], [("MD5", b"m" * 16)], [(253, b"xyz"), ("EOL", None)]):
        yield IPV4, ip4() / tcp(options=options)
        yield IPV6, ip6() / tcp(options=options)
    for flags in ("A", "PA", "FA", "R", "RA", "SA", "SEC", "F", "SF", "", "UA"):
        yield IPV4, ip4() / tcp(flags) / Raw(b"data")
    sack = [("NOP", None), ("Timestamp", (1, 2)), ("SAck", (1, 2, 3, 4))]
    yield IPV4, ip4() / tcp("A", options=sack)
    yield IPV6, ip6() / tcp("A", options=sack) / Raw(b"x" * 100)
    yield IPV4, ip4(flags="MF") / tcp()
    yield IPV4, ip4(frag=3) / Raw(bytes(32))
    yield IPV4, ip4(options=[b"\x07\x04\x04\x00"]) / tcp()
    yield IPV4, ip4() / UDP(sport=4000, dport=53)
    yield IPV6, ip6() / IPv6ExtHdrHopByHop() / IPv6ExtHdrDestOpt() / tcp()
    yield IPV6, ip6() / IPv6ExtHdrRouting(segleft=0, addresses=[SERVER6]) / tcp()
    yield IPV6, ip6() / IPv6ExtHdrFragment(m=1) / tcp()
    yield IPV6, ip6() / IPv6ExtHdrFragment(offset=4) / Raw(bytes(32))
    yield IPV6, ip6() / IPv6ExtHdrFragment() / tcp()
    yield IPV6, ip6(nh=51) / Raw(bytes([6, 2]) + bytes(14)) / tcp()
    yield VLAN, Dot1Q(vlan=10, type=0x0800) / ip4() / tcp()
    yield QINQ, Dot1AD(vlan=10, type=0x8100) / Dot1Q(vlan=20, type=0x86DD) / ip6() / tcp()
    quoted4 = IP(src=SERVER4, dst=CLIENT4) / TCP(sport=80, dport=4000, seq=7, flags="A")
    quoted6 = IPv6(src=SERVER6, dst=CLIENT6) / TCP(sport=80, dport=4000, seq=7, flags="A")
    for icmp in (ICMP(type=3, code=1), ICMP(type=3, code=4), ICMP(type=11), ICMP(type=12), ICMP(type=8)):
        yield IPV4, ip4() / icmp / quoted4
    yield IPV4, ip4() / ICMP(type=3, code=1) / Raw(bytes(quoted4)[:28])
    yield IPV6, ip6() / ICMPv6DestUnreach(code=4) / quoted6
    yield IPV6, ip6() / ICMPv6PacketTooBig(mtu=1280) / quoted6


def packet_seeds() -> Iterator[bytes]:
    """Target packet: EtherType, tags out of band and eights of bytes missing, packet."""
    for number, (ethertype, packet) in enumerate(packets()):
        data = bytes(packet)
        yield bytes([ethertype, number % 3]) + data
        yield bytes([ethertype, 3]) + data[:-8]


def option_bytes() -> Iterator[bytes]:
    """Options as they stand in a header, good and malformed."""
    for _, packet in packets():
        if TCP in packet and (options := bytes(packet[TCP])[20 : packet[TCP].dataofs and packet[TCP].dataofs * 4]):
            yield options
    stamps = bytes([8, 10, 0, 0, 0, 1, 0, 0, 0, 2])
    blocks = bytes([5, 34, *range(32)])
    yield from (b"\1" + stamps, b"\1\1" + stamps + stamps, b"\1" + blocks, b"\1\1" + blocks)
    yield from (bytes([2, 0]), bytes([2, 3, 1]), bytes([3, 3, 200]), bytes([5, 11, *range(9)]), bytes([8, 255]), b"\2")


def option_seeds() -> Iterator[bytes]:
    """Target options: "a SYN?", options."""
    for options in option_bytes():
        yield b"\0" + options
        yield b"\1" + options


def cookie_seeds() -> Iterator[bytes]:
    """Target cookie: secret, connection, options, epoch, clock, then rounds of (bit, jump of the epoch, ms)."""
    rounds = b"".join(struct.pack("!BbI", bit, jump, ms) for bit, jump, ms in ((1, 1, 32000), (9, -1, 500), (31, 2, 9)))
    for family in (0, 1):
        for mss, wscale, sack in ((1460, 7, 1), (0, 15, 0), (9000, 14, 1), (536, 0, 0)):
            head = bytes(range(32)) + bytes([family]) + bytes(range(32))
            options = struct.pack("!HHIHBB", 4000, 80, 100, mss, wscale, sack)
            yield head + options + struct.pack("!II", 1000, 2**32 - 9000) + rounds


def translate_seeds() -> Iterator[bytes]:
    """Target translate: direction, flags, four scales, two differences, segment."""
    for number, options in enumerate(option_bytes()):
        padded = options + bytes(-len(options) % 4)
        if len(padded) > 40:
            continue
        header = struct.pack("!HHIIBBHHH", 4000, 80, 100, 200, (20 + len(padded)) // 4 << 4, 0x10, 300, 0, 0)
        flow = struct.pack("!BBBBBBII", number, 7 | (number & 2) << 6, 7, number % 15, 2, 9, 0x80000001, 0xFFFFFFF0)
        yield flow + header + padded + b"odd" * (number % 4)


# The engine's commands, and whose and which numbers a segment takes.
RAW, OUTSIDE, INSIDE, ICMP_ERROR, TIME, EPOCH, RESTART, TICK = range(8)
TO_OUTSIDE, TO_INSIDE, FROM_OUTSIDE, FROM_INSIDE = range(4)
SEQ, END, ACKED, ZERO = range(4)


def number(whose: int, which: int, delta: int = 0) -> bytes:
    return struct.pack("!Bb", whose | which << 2, delta)


START = number(FROM_OUTSIDE, ZERO, 100)
NEXT_C, NEXT_S = number(FROM_OUTSIDE, END), number(FROM_INSIDE, END)
ACK_C, ACK_S = number(TO_OUTSIDE, END), number(TO_INSIDE, END)


def segment(
    side: int,
    flags: int,
    seq: bytes,
    ack: bytes,
    *,
    who: int = 0,
    data: int = 0,
    options: bytes = b"",
    window: int = 500,
) -> bytes:
    """`data` counts units of eight bytes."""
    padded = options + b"\1" * (-len(options) % 4)
    return bytes([side, who, flags]) + seq + ack + struct.pack("!HBB", window, data, len(padded) // 4) + padded


def far(whose: int, which: int, delta: int) -> bytes:
    """As number(), for a distance of 32 bits."""
    return struct.pack("!BI", whose | which << 2 | 0x80, delta)


def raw(ethertype: int, data: bytes) -> bytes:
    return bytes([RAW, ethertype << 4 | 2]) + struct.pack("!H", len(data)) + data


def time(amount: int, unit: int) -> bytes:
    """`amount` (up to 63) of 1 ms, 64 ms, 1 s, 1 min."""
    return bytes([TIME, unit << 6 | amount])


LINUX = bytes.fromhex("020405b40402080a000000010000000001030307")
STAMPS = bytes.fromhex("0101080a0000000200000001")


def opened(who: int = 0, options: bytes = LINUX, early: int = 0, server: bytes = LINUX) -> bytes:
    """Both handshakes."""
    stamps = STAMPS if len(options) > 8 else b""
    return (
        segment(OUTSIDE, SYN, START, START, who=who, options=options)
        + segment(OUTSIDE, ACK, NEXT_C, ACK_C, who=who, data=early, options=stamps)
        + segment(INSIDE, SYN | ACK, number(FROM_INSIDE, ZERO, 50), ACK_S, who=who, options=server)
    )


def closed(who: int = 0) -> bytes:
    """FIN of the client, FIN of the server, last ACK."""
    return (
        segment(OUTSIDE, FIN | ACK, NEXT_C, ACK_C, who=who)
        + segment(INSIDE, FIN | ACK, NEXT_S, ACK_S, who=who)
        + segment(OUTSIDE, ACK, NEXT_C, ACK_C, who=who)
    )


def stories() -> Iterator[bytes]:
    """Rows of commands that reach every room of the engine."""
    syn = segment(OUTSIDE, SYN, START, START, options=LINUX)
    proof = segment(OUTSIDE, ACK, NEXT_C, ACK_C, options=STAMPS)
    talk = segment(OUTSIDE, ACK | PSH, NEXT_C, ACK_C, data=10) + segment(INSIDE, ACK | PSH, NEXT_S, ACK_S, data=100)
    refused = segment(INSIDE, RST | ACK, number(FROM_INSIDE, ZERO), ACK_S)
    sack = bytes([1, 1, 5, 10, *range(8)])
    yield opened() + talk + closed()
    yield opened(who=8) + talk.replace(bytes([OUTSIDE, 0]), bytes([OUTSIDE, 8])) + closed(8)
    yield opened(options=b"", server=b"") + talk + closed()
    yield opened(options=b"\2\4\2\x18", early=100) + talk
    yield opened(early=175) + segment(OUTSIDE, FIN | ACK, NEXT_C, ACK_C) + talk
    yield opened(who=4, early=2) + segment(OUTSIDE, ACK, NEXT_C, ACK_C, who=4, options=sack)
    yield opened(server=b"\2\4\5\xb4") + segment(OUTSIDE, ACK, NEXT_C, ACK_C, options=STAMPS + sack[:12])
    yield opened() + segment(OUTSIDE, RST, NEXT_C, ACK_C) + segment(INSIDE, ACK, NEXT_S, ACK_S)
    yield opened() + segment(INSIDE, RST | ACK, NEXT_S, ACK_S) + syn + proof
    yield opened() + segment(OUTSIDE, RST, number(FROM_OUTSIDE, END, 9), ACK_C) + syn
    yield opened() + closed() + syn + proof + segment(INSIDE, SYN | ACK, number(FROM_INSIDE, ZERO, 99), ACK_S)
    yield syn + proof + segment(OUTSIDE, ACK, NEXT_C, ACK_C, data=20) * 3 + refused
    yield syn + proof + time(1, 2) * 12
    yield syn + proof + segment(OUTSIDE, RST, NEXT_C, ACK_C)
    yield syn + proof + segment(OUTSIDE, SYN, number(FROM_OUTSIDE, ZERO, 1), START)
    yield syn + proof + segment(INSIDE, ACK, number(FROM_INSIDE, ZERO, 7), number(TO_INSIDE, END, 3)) + time(1, 2)
    yield syn + time(1, 2) * 9 + proof
    yield syn + bytes([EPOCH, 1]) + proof
    yield syn + bytes([EPOCH, 3]) + syn + bytes([EPOCH, 2]) + proof + time(40, 2)
    yield syn + segment(OUTSIDE, ACK, NEXT_C, number(TO_OUTSIDE, END, 1)) + segment(OUTSIDE, RST, NEXT_C, ACK_C)
    yield b"".join(segment(OUTSIDE, SYN, START, START, who=who) for who in (0, 1, 2, 3, 4, 5, 8, 9, 10, 12)) + proof
    yield b"".join(opened(who) for who in (0, 1, 2, 3, 8, 9, 10, 11)) + opened(64)
    yield b"".join(opened(who, early=100)[:-30] for who in (0, 1, 2, 3))
    yield opened() + bytes([RESTART]) + talk + closed()
    yield syn + proof + bytes([RESTART]) + time(31, 2)
    yield opened() + time(62, 3) + time(62, 3) + time(62, 3)
    yield opened() + talk + bytes([ICMP_ERROR, 0, 3, 1, 6]) + bytes([ICMP_ERROR, 1, 3, 4, 6])
    yield opened(who=8) + bytes([ICMP_ERROR, 2, 1, 0, 9]) + bytes([ICMP_ERROR, 3, 2, 0, 9])
    for units in (2, 3, 4, 9):  # quotes that end after 4, 12, 20 bytes of TCP, or after the packet
        yield opened() + talk + bytes([ICMP_ERROR, 0, 3, 1, units])
        yield opened() + talk[: len(talk) // 2] + bytes([ICMP_ERROR, 1, 3, 4, units])
    yield syn + proof + bytes([ICMP_ERROR, 1, 3, 1, 6])
    yield syn + proof + bytes([ICMP_ERROR, 1, 3, 4, 6]) + bytes([ICMP_ERROR, 0, 11, 0, 6])
    yield segment(INSIDE, SYN, START, START) + segment(OUTSIDE, SYN | ACK, START, START) + closed()
    yield segment(INSIDE, ACK, START, START, data=9) + segment(OUTSIDE, ACK, START, START) + closed() + syn + proof
    yield segment(INSIDE, SYN | ACK, START, START) + segment(OUTSIDE, FIN, START, START)
    yield opened() + segment(INSIDE, SYN | ACK, number(FROM_INSIDE, SEQ), number(FROM_INSIDE, ACKED)) + syn
    yield segment(OUTSIDE, SYN, START, START, who=16) + segment(OUTSIDE, SYN, START, START, options=b"\x13\x02")
    yield opened() + closed() + time(61, 2) + bytes([TICK]) * 3
    capable = segment(OUTSIDE, SYN | ECE | CWR, START, START) + proof
    capable += segment(INSIDE, SYN | ACK | ECE, number(FROM_INSIDE, ZERO, 50), ACK_S)
    yield capable + segment(INSIDE, ACK, NEXT_S, ACK_S, who=128, data=9) + capable
    yield opened() + segment(OUTSIDE, RST, far(FROM_OUTSIDE, END, 1 << 31), ACK_C) + time(62, 3) * 3 + bytes([TICK]) * 9
    yield syn + proof + segment(OUTSIDE, ACK, NEXT_C, ACK_C, data=175) * 5
    yield bytes([EPOCH, 1]) * 2 + segment(OUTSIDE, ACK, START, number(FROM_OUTSIDE, ZERO, 1))
    yield time(15, 1) * 40 + segment(OUTSIDE, ACK, START, number(FROM_OUTSIDE, ZERO, 2))
    yield raw(IPV4, bytes(10)) + raw(IPV4, bytes(20)) + raw(IPV4, bytes(ip4(chksum=1) / tcp()))
    yield raw(IPV4, bytes(IP(src="127.0.0.1", dst=SERVER4) / tcp())) + raw(IPV4, bytes(ip4() / TCP(dport=80, sport=0)))
    yield raw(IPV6, bytes(ip6(nh=60) / Raw(bytes(4))))
    for ethertype, packet in packets():
        yield raw(ethertype, bytes(packet))


AUTO, TRAP, BLOCKED, LIMITED = 16, 32, 64, 128  # in the byte of the window scale, for service 2 and for the IPv4 client


def guarded_stories() -> Iterator[tuple[int, bytes]]:
    """(What service 2 and the client are, commands): watched handshakes and the flood that ends them, trap, block."""
    syn = [segment(OUTSIDE, SYN, START, START, who=who, options=LINUX) for who in (4, 5, 6, 7, 12, 13, 14)]
    answer = segment(INSIDE, SYN | ACK, number(FROM_INSIDE, ZERO, 50), NEXT_C, who=4, options=LINUX)
    refusal = segment(INSIDE, RST | ACK, number(FROM_INSIDE, ZERO), NEXT_C, who=4)
    proof = segment(OUTSIDE, ACK, NEXT_C, NEXT_S, who=4, options=STAMPS)
    talk = segment(OUTSIDE, ACK | PSH, NEXT_C, NEXT_S, who=4, data=10)
    talk += segment(INSIDE, ACK | PSH, NEXT_S, NEXT_C, who=4, data=100)
    yield AUTO, syn[0] + answer + proof + talk
    yield AUTO, syn[0] + refusal + syn[0]
    yield AUTO, syn[0] + answer + b"".join(syn[1:]) + syn[0] + proof + talk
    yield AUTO, b"".join(syn) + time(4, 2) + syn[0] + opened(who=5)
    yield LIMITED, opened(who=4) + opened(who=5)
    yield LIMITED, opened(who=4) + time(8, 2) + opened(who=5) + time(8, 2) + opened(who=6)
    yield 0, segment(OUTSIDE, SYN, START, START, who=4, options=b"\x13\x02")
    yield TRAP, opened(who=4) + opened(who=12)
    yield BLOCKED, opened() + opened(who=8) + raw(IPV4, bytes(ip4(flags="MF") / tcp()))


def engine_seeds() -> Iterator[bytes]:
    """Target engine: policy, window scale, story. Each story under another policy."""
    policies = (0, 1, 2, 4, 8, 16, 32, 64, 128, 192, 2 + 8 + 16)
    for number_of, story in enumerate(stories()):
        yield bytes([policies[number_of % len(policies)] & ~1 if number_of % 7 else 0, 7 * (number_of % 3)]) + story
    for policy, story in guarded_stories():
        yield bytes([0, policy]) + story


def attribute(kind: int, value: bytes) -> bytes:
    """A netlink attribute, in host byte order."""
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def message(kind: int, body: bytes) -> bytes:
    return struct.pack("=IHHII", 16 + len(body), kind, 0, 0, 0) + body


def netlink_seeds() -> Iterator[bytes]:
    """Target netlink: datagrams of the netfilter queue (linux/netfilter/nfnetlink_queue.h)."""
    packet_kind, header, vlan, l2, payload = 3 << 8, 1, 19, 20, 10
    queued = attribute(header, struct.pack("!IHB", 7, 0x0800, 0))
    source = attribute(9, struct.pack("!HH", 6, 0) + bytes([2, 0, 0, 0, 0, 1, 0, 0]))
    numbers = b"".join(attribute(kind, struct.pack("!I", kind)) for kind in (5, 7, 13, 14))
    tag = attribute(vlan | 0x8000, attribute(2, struct.pack("!H", 10)) + attribute(1, struct.pack("!H", 0x8100)))
    data = bytes(ip4() / tcp())
    rest = source + tag + attribute(l2, bytes(14)) + attribute(payload, data)
    whole = message(packet_kind, bytes(4) + queued + numbers + rest)
    yield from (whole, whole + whole)
    yield message(packet_kind, bytes(4) + queued + attribute(payload, data[:21]))
    yield message(packet_kind, bytes(4) + attribute(payload, data))
    yield message(packet_kind, bytes(4) + queued)
    yield message(2, struct.pack("=i", -1) + message(packet_kind, b""))
    yield message(3, bytes(4))
    yield whole[:-3]


def service_seeds() -> Iterator[bytes]:
    """Target services: number of intervals, their rules, where they begin, gaps and lengths, then packets."""
    places = [(at, edge, side) for at in range(5) for edge in (0, 1) for side in range(3)]
    questions = b"".join(bytes([2 * at + edge, 66, side, 1, 2, 4]) for at, edge, side in places)
    for intervals in (0, 1, 2, 3, 5, 40):
        rules = bytes(range(0x40, 0x40 + 3 * intervals))
        yield bytes([intervals]) + rules + bytes([1, 7]) + bytes([5, 3, 9]) * intervals + questions
        yield bytes([intervals]) + rules + bytes([192, 200]) + bytes([0, 1, 0]) * intervals + questions


def hold_seeds() -> Iterator[bytes]:
    """Target hold: blocks, bytes a flow may hold, then (operation and flow, length, offset)."""
    release, read, append = (
        [struct.pack("!BHH", kind << 2 | flow, 1460, 100) for flow in range(4)] for kind in (0, 1, 2)
    )
    yield struct.pack("!BH", 6, 65535) + append[0] * 5 + read[0] + append[1] * 5 + release[0] + append[2] * 3 + read[2]
    yield struct.pack("!BH", 3, 5000) + append[3] * 5 + read[3] + release[3] + append[3]
    yield struct.pack("!BH", 0, 5000) + append[0]
    yield struct.pack("!BH", 2, 0) + append[0] + release[0]


TARGETS: dict[str, Callable[[], Iterator[bytes]]] = {
    "packet": packet_seeds,
    "options": option_seeds,
    "cookie": cookie_seeds,
    "translate": translate_seeds,
    "engine": engine_seeds,
    "hold": hold_seeds,
    "netlink": netlink_seeds,
    "services": service_seeds,
}


def main() -> int:
    for target, seeds in TARGETS.items():
        folder = CORPUS / target
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        unique = sorted(set(seeds()))
        for at, seed in enumerate(unique):
            (folder / f"{at:03}").write_bytes(seed)
        print(f"{target}: {len(unique)} seeds")
    return 0


if __name__ == "__main__":
    sys.exit(main())
