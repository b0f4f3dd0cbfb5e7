"""What the operator decides about a service, as it is on the wire: `window`, `fragments`, `trap`, and no daemon."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator

import pytest
from netlab.process import run
from netlab.services import Services
from netlab.session import FAMILIES, Lab, wait_until
from scapy.layers.inet import IP, TCP, fragment
from scapy.layers.inet6 import IPv6, IPv6ExtHdrFragment, fragment6
from scapy.packet import Packet

CAUGHT = "198.18.0.99"  # no other test's client
TRAP_S = 2
LATE_MS = 200
FRAGMENTED = bytes(range(200)) * 2


@pytest.fixture
def services(lab: Lab) -> Iterator[Services]:
    made = Services(lab)
    yield made
    made.give()


def spoken(client: socket.socket, server: socket.socket) -> None:
    """Bytes go both ways."""
    client.sendall(b"question")
    assert server.recv(20) == b"question"
    server.sendall(b"answer")
    assert client.recv(20) == b"answer"


def test_window_zero_lets_a_client_wait_for_its_server(lab: Lab, family: int, services: Services) -> None:
    services.give("window: zero")
    with lab.listen(family) as listener, lab.capture_client() as wire:
        port = listener.getsockname()[1]
        with lab.connect(family, port) as client, listener.accept()[0] as server:
            spoken(client, server)
            own = client.getsockname()[1]
    said = [packet[TCP] for packet in wire.tcp(lambda packet: own in (packet[TCP].sport, packet[TCP].dport))]
    (synack,) = (segment for segment in said if segment.flags == "SA")
    opened = next(
        at for at, segment in enumerate(said) if segment.sport == port and segment.window and segment is not synack
    )
    assert synack.window == 0
    assert not any(bytes(segment.payload) for segment in said[:opened] if segment.dport == port), (
        "data before the window"
    )


def cut(packet: Packet) -> list[Packet]:
    """The IP packet in pieces, the TCP header in the first."""
    if packet.haslayer(IP):
        packet[IP].flags = 0
        return list(fragment(packet[IP], fragsize=104))  # type: ignore[no-untyped-call]
    inside = IPv6(src=packet[IPv6].src, dst=packet[IPv6].dst) / IPv6ExtHdrFragment(id=78) / packet[TCP]
    return list(fragment6(inside, 160))  # type: ignore[no-untyped-call]


def test_data_in_fragments_arrives_where_fragments_may_pass(lab: Lab, family: int, services: Services) -> None:
    """And a SYN in fragments does not; where they may not pass, the server hears nothing of either."""
    services.give("fragments: pass")
    with lab.listen(family) as listener, lab.crafted_client(family, listener.getsockname()[1]) as client:
        client.connect()
        client.send("A")
        server, _ = listener.accept()
        with server:
            server.settimeout(10.0)
            for data in (FRAGMENTED, FRAGMENTED[::-1]):
                whole = client.packet("PA", data)
                pieces = cut(whole)
                assert len(pieces) > 2
                for piece in pieces:
                    client.send_raw(client.link() / piece)
                client.seq += len(data)
                got = b""
                while len(got) < len(data):
                    got += server.recv(len(data))
                assert got == data
            before = lab.arrived()["syn_real"]
            with lab.crafted_client(family, listener.getsockname()[1]) as other:
                for piece in cut(other.packet("S", FRAGMENTED)):
                    other.send_raw(other.link() / piece)
                other.expect_quiet()
            assert lab.arrived()["syn_real"] == before
            client.send("R", options=())


def blocked(lab: Lab) -> list[str]:
    argv = [str(lab.appliance.levee), "block", "list", "--json", "--socket", str(lab.names.socket)]
    return [entry["prefix"] for entry in json.loads(run(argv).stdout)["entries"]]


def test_a_trap_serves_nobody_and_blocks_who_walks_into_it(lab: Lab, services: Services) -> None:
    def called() -> socket.socket:
        made = lab.socket_at_client(4)
        made.bind((CAUGHT, 0))
        made.connect((lab.server_address(4), listener.getsockname()[1]))
        return made

    with lab.listen(4) as listener:
        services.give(f"trap: {TRAP_S}s")
        before = lab.arrived()["syn_real"]
        with called():
            assert wait_until(lambda: blocked(lab) == [CAUGHT])
        assert wait_until(lambda: not blocked(lab))
        assert lab.arrived()["syn_real"] == before, "the server heard of it"
        services.give()
        with called() as client:
            while True:  # the caught one may have gone on closing until it was served
                server, caller = listener.accept()
                with server:
                    if caller[1] == client.getsockname()[1]:
                        spoken(client, server)
                        break


def test_without_a_daemon_new_connections_pass_where_that_is_wanted(lab: Lab) -> None:
    """`without_daemon: pass`. What is proxied without it: test_restart.py."""
    path = lab.names.lab_dir / "levee.yaml"
    original, engine = path.read_text(), lab.status()["engine"]
    late = f", heartbeat_late_ms: {LATE_MS}" if engine == "bpf" else ""
    path.write_text(f"{original}{engine}: {{without_daemon: pass{late}}}\n")
    try:
        lab.kill_daemon()
        lab.start_daemon()
        lab.kill_daemon()
        time.sleep(2 * LATE_MS / 1000)
        for family in FAMILIES:
            with (
                lab.listen(family) as listener,
                lab.connect(family, listener.getsockname()[1]) as client,
                listener.accept()[0] as server,
            ):
                spoken(client, server)
    finally:
        path.write_text(original)
        lab.start_daemon()
    before = lab.status()["drops"]["syn_answered"]
    with lab.listen(4) as listener, lab.connect(4, listener.getsockname()[1]) as client, listener.accept()[0] as server:
        spoken(client, server)
    assert lab.status()["drops"]["syn_answered"] > before
