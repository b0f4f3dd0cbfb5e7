"""Are the answers that are counted right answers? A few SYNs are sent slowly and each SYN-ACK is looked at.

An answer is right if it goes to the SYN's sender and port, acknowledges its ISN plus one, announces an MSS, and has
correct checksums (unless the kernel left them to an offload: then they are not computed on a veth link).
A process of its own, run in the client's namespace: exit code 0 if every SYN got one right answer and none a wrong one.

    python -m bench.verify --interface lvb-cl --to 02:... --target 198.19.0.10
"""

from __future__ import annotations

import argparse
import socket
import struct
import sys
import time

from scapy.layers.inet import IP, TCP
from scapy.layers.l2 import Ether

SYNS = 128
PPS = 200.0  # what the slowest peer surely answers
WAIT_S = 1.0
_ETH_P_ALL = 0x0003
_SOL_PACKET, _PACKET_AUXDATA = 263, 8
_CHECKSUM_NOT_READY = 1 << 3  # TP_STATUS_CSUMNOTREADY
_PACKET_OUTGOING = 4
_FRAME_MAX_BYTES = 2048


def a_syn(number: int, target: str, port: int) -> IP:
    """A SYN with all options, a different one for each number."""
    options = [("MSS", 1460), ("SAckOK", b""), ("Timestamp", (number, 0)), ("NOP", None), ("WScale", 7)]
    source, isn = f"198.18.64.{number % 250 + 1}", number * 0x01010101 & 0xFFFFFFFF
    return IP(src=source, dst=target) / TCP(sport=1024 + number, dport=port, seq=isn, flags="S", options=options)


def wrong_answer(frame: bytes, *, checksums: bool, isn_of: dict[tuple[str, int], int]) -> str | None:
    """What is wrong with a SYN-ACK, None if nothing is."""
    ip = Ether(frame)[IP]
    tcp = ip[TCP]
    isn = isn_of.get((ip.dst, tcp.dport))
    if isn is None:
        return "it answers no SYN of ours"
    if tcp.ack != (isn + 1) & 0xFFFFFFFF:
        return f"it acknowledges {tcp.ack}, the SYN was {isn}"
    if not dict(tcp.options).get("MSS"):
        return "it announces no MSS"
    if checksums:
        again = ip.copy()
        del again.chksum, again[TCP].chksum
        if bytes(again) != bytes(ip):
            return "a checksum is wrong"
    return None


def main() -> int:
    """Command line of the verifying process."""
    parser = argparse.ArgumentParser(description="look at the SYN-ACKs that a box sends")
    parser.add_argument("--interface", required=True)
    parser.add_argument("--to", required=True, help="Ethernet address of the next hop")
    parser.add_argument("--target", required=True, help="IPv4 address of the service")
    parser.add_argument("--port", type=int, default=80)
    options = parser.parse_args()
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL)) as link:
        link.bind((options.interface, _ETH_P_ALL))
        link.setsockopt(_SOL_PACKET, _PACKET_AUXDATA, 1)
        link.settimeout(WAIT_S)
        source_mac: bytes = link.getsockname()[4]
        target_mac = bytes.fromhex(options.to.replace(":", ""))
        isn_of: dict[tuple[str, int], int] = {}
        for number in range(SYNS):
            syn = a_syn(number, options.target, options.port)
            isn_of[syn.src, syn[TCP].sport] = syn[TCP].seq
            link.send(target_mac + source_mac + b"\x08\x00" + bytes(syn))
            time.sleep(1 / PPS)
        answered: set[tuple[str, int]] = set()
        deadline = time.monotonic() + WAIT_S
        while len(answered) < len(isn_of) and time.monotonic() < deadline:
            try:
                frame, extra, _, address = link.recvmsg(_FRAME_MAX_BYTES, 256)
            except TimeoutError:
                break
            packet = Ether(frame)
            if address[2] == _PACKET_OUTGOING or TCP not in packet or packet[TCP].flags != "SA":
                continue
            status = next((struct.unpack_from("=I", data)[0] for *_, data in extra), 0)
            problem = wrong_answer(frame, checksums=not status & _CHECKSUM_NOT_READY, isn_of=isn_of)
            if problem:
                print(f"wrong SYN-ACK: {problem}: {packet.summary()}", file=sys.stderr)
                return 1
            answered.add((packet[IP].dst, packet[TCP].dport))
    if len(answered) < len(isn_of):
        print(f"{len(answered)} of {len(isn_of)} SYNs were answered", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
