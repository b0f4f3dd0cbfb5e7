"""The beginning of an Ethernet frame as half a line of text: VLANs, addresses, ports, flags, numbers.

Owns the words. Called by commands/capture.py and the terminal interface. Never raises, whatever the bytes are: they
come from an attacker, and may be cut off anywhere. Must not know what the box did with the packet.
"""

from __future__ import annotations

import ipaddress
import struct

TAGS = (0x8100, 0x88A8)  # 802.1Q, 802.1ad
IPV4, IPV6, ARP = 0x0800, 0x86DD, 0x0806
TCP, UDP, ICMP, ICMPV6, NO_NEXT_HEADER = 6, 17, 1, 58, 59
FRAGMENT_HEADER = 44
EXTENSIONS = (0, 43, FRAGMENT_HEADER, 60, 135, 139, 140)  # RFC 8200 section 4, RFC 6275, RFC 7401, RFC 5533
MAX_EXTENSIONS = 8
PROTOCOLS = {UDP: "UDP", ICMP: "ICMP", ICMPV6: "ICMPv6"}
FLAGS = "FSRPAUEC"  # from the lowest bit: FIN, SYN, RST, PSH, ACK, URG, ECE, CWR
CUT = "cut off"


def described(frame: bytes) -> str:
    """For example: 192.0.2.1:1025 > 198.51.100.7:80 TCP S seq 7 win 65535."""
    at, vlans = 12, ""
    while frame[at : at + 2] in (tag.to_bytes(2, "big") for tag in TAGS) and len(frame) >= at + 4:
        vlans += f"vlan {struct.unpack_from('!H', frame, at + 2)[0] & 0xFFF} "
        at += 4
    if len(frame) < at + 2:
        return vlans + CUT
    (kind,) = struct.unpack_from("!H", frame, at)
    packet = frame[at + 2 :]
    if kind == IPV4:
        return vlans + _ipv4(packet)
    if kind == IPV6:
        return vlans + _ipv6(packet)
    return vlans + ("ARP" if kind == ARP else f"EtherType {kind:#06x}")


def _ipv4(packet: bytes) -> str:
    if len(packet) < 20:
        return f"IPv4 {CUT}"
    source, target = (str(ipaddress.IPv4Address(packet[at : at + 4])) for at in (12, 16))
    (place,) = struct.unpack_from("!H", packet, 6)
    header, total = (packet[0] & 15) * 4, struct.unpack_from("!H", packet, 2)[0]
    offset = (place & 0x1FFF) * 8
    return _transport(source, target, packet[9], packet[header:], total - header, offset)


def _ipv6(packet: bytes) -> str:
    if len(packet) < 40:
        return f"IPv6 {CUT}"
    source, target = (str(ipaddress.IPv6Address(packet[at : at + 16])) for at in (8, 24))
    following, total, at, offset = packet[6], struct.unpack_from("!H", packet, 4)[0], 40, 0
    for _ in range(MAX_EXTENSIONS):
        if following not in EXTENSIONS or len(packet) < at + 8:
            break
        if following == FRAGMENT_HEADER:
            offset = struct.unpack_from("!H", packet, at + 2)[0] & 0xFFF8
        length = 8 if following == FRAGMENT_HEADER else 8 + packet[at + 1] * 8
        following, at = packet[at], at + length
    return _transport(f"[{source}]", f"[{target}]", following, packet[at:], total - (at - 40), offset)


def _transport(source: str, target: str, protocol: int, data: bytes, length: int, offset: int) -> str:
    """`length`: of the transport header and what follows, by the IP header's word."""
    ends = f"{source} > {target}"
    if offset:
        return f"{ends} fragment at {offset}"
    if protocol != TCP:
        return f"{ends} {PROTOCOLS.get(protocol, f'protocol {protocol}')}"
    if len(data) < 20:
        return f"{ends} TCP {CUT}"
    sport, dport, seq, ack, size, bits, window = struct.unpack_from("!HHIIBBH", data)
    flags = "".join(name for bit, name in enumerate(FLAGS) if bits >> bit & 1) or "no flags"
    payload = length - (size >> 4) * 4
    parts = [f"{source}:{sport} > {target}:{dport} TCP {flags} seq {seq}"]
    parts += [f"ack {ack}"] if bits & 0x10 else []
    parts += [f"win {window}"]
    parts += [f"{payload} bytes"] if payload > 0 else []
    return " ".join(parts)
