"""Path MTU found by ICMP, in both directions, on established flows.

The error quotes a packet as it was on one side of the box; on the other side it must quote the same
packet with that side's numbers, or the receiver's kernel drops it as forged.
"""

from __future__ import annotations

import pytest
from netlab.crafted import Endpoint
from netlab.pairs import Pair, established, exchange
from netlab.process import run
from netlab.session import Lab
from netlab.streams import DATA, connected, meanwhile, read_all, send_and_finish
from netlab.wire import Capture
from scapy.layers.inet import ICMP, IP, TCP, ICMPerror, IPerror, TCPerror
from scapy.layers.inet6 import ICMPv6PacketTooBig, IPerror6, IPv6
from scapy.packet import Packet

MTU = 1280


def too_big(reporter: Endpoint, cause: Packet) -> Packet:
    """What a router says about `cause`, a packet that `reporter` received and cannot pass on."""
    if cause.haslayer(IP):
        network = IP(src=reporter.local, dst=reporter.remote)
        return reporter.link() / network / ICMP(type=3, code=4, nexthopmtu=MTU) / bytes(cause[IP])[:60]
    network6 = IPv6(src=reporter.local, dst=reporter.remote)
    return reporter.link() / network6 / ICMPv6PacketTooBig(mtu=MTU) / bytes(cause[IPv6])[:1200]


def is_too_big(packet: Packet) -> bool:
    fragmentation_needed = packet.haslayer(ICMP) and (packet[ICMP].type, packet[ICMP].code) == (3, 4)
    return packet.sniffed_on == "received" and bool(fragmentation_needed or packet.haslayer(ICMPv6PacketTooBig))


def reported(packet: Packet) -> tuple[int, int, int, int]:
    """(MTU, source port, destination port, sequence number) that the error speaks of."""
    inner = packet[TCPerror]
    mtu = packet[ICMP].nexthopmtu if packet.haslayer(ICMP) else packet[ICMPv6PacketTooBig].mtu
    return mtu, inner.sport, inner.dport, inner.seq


def quoted_addresses(packet: Packet) -> tuple[str, str]:
    inner = packet[IPerror] if packet.haslayer(IPerror) else packet[IPerror6]
    return inner.src, inner.dst


@pytest.mark.parametrize("sender_is", ["client", "server"])
def test_packet_too_big_is_translated(lab: Lab, family: int, sender_is: str) -> None:
    with established(lab, family) as pair:
        exchange(pair)
        sender, receiver = _roles(pair, sender_is)
        capture = lab.capture_client() if sender_is == "client" else lab.capture_server()
        with capture:
            place = sender.seq
            sender.send("PA", b"m" * 1300)
            cause = receiver.expect("PA")
            receiver.send_raw(too_big(receiver, cause))
            error = _first(capture)
        assert reported(error) == (MTU, sender.local_port, sender.remote_port, place)
        assert quoted_addresses(error) == (sender.local, sender.remote)
        assert error.haslayer(ICMPerror) == 0


def _first(capture: Capture) -> Packet:
    return capture.wait_for(is_too_big)


def _roles(pair: Pair, sender_is: str) -> tuple[Endpoint, Endpoint]:
    return (pair.client, pair.server) if sender_is == "client" else (pair.server, pair.client)


def test_error_about_a_number_not_in_flight_is_dropped(lab: Lab, family: int) -> None:
    """A blind attacker cannot shrink the path MTU (RFC 5927, 7)."""
    with established(lab, family) as pair:
        exchange(pair)
        with lab.capture_server() as capture:
            pair.server.send("PA", b"m" * 1000)
            cause = pair.client.expect("PA")
            cause[TCP].seq = (cause[TCP].seq + 0x2000_0000) % (1 << 32)
            pair.client.send_raw(too_big(pair.client, cause))
            capture.settle()
            assert not [p for p in capture.packets() if is_too_big(p)]


@pytest.mark.parametrize("narrow", ["outside", "inside"])
@pytest.mark.parametrize("direction", ["upload", "download"])
def test_real_kernels_find_the_path_mtu(lab: Lab, family: int, narrow: str, direction: str) -> None:
    """One side's path narrows while a connection is open: the transfer goes on with smaller segments.

    The box's own kernel sends the error here, about packets that the box has translated.
    """
    if lab.mode != "routed":
        pytest.skip("a bridge sends no ICMP: a narrow path lies beyond the lab's ends")
    for namespace in (lab.names.client, lab.names.server):  # what an earlier test taught them about the path
        run(["ip", "-4" if family == 4 else "-6", "route", "flush", "cache"], namespace=namespace)
    with connected(lab, family, direct=False) as (client, server):
        source, sink = (client, server) if direction == "upload" else (server, client)
        run(["ip", "link", "set", narrow, "mtu", "1300"], namespace=lab.names.box)
        try:
            with meanwhile(lambda: send_and_finish(source, DATA)):
                assert read_all(sink) == DATA
        finally:
            run(["ip", "link", "set", narrow, "mtu", "1500"], namespace=lab.names.box)
