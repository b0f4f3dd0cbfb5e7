"""Frames with one and two tags across the bridge: answered, translated and sent on in their own VLAN.

Bridge mode only. The kernel hands over one tag beside the packet and the second one inside of it.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator

import pytest
from netlab import ability, flood, vlans
from netlab.names import END_INTERFACE
from netlab.session import Lab, wait_until
from netlab.topology import Mode
from netlab.vlans import VLANS, Vlan

FORGED_SYNS = 2000
# Several segments, full ones among them, and more than any window here.
VOLUME_BYTES = 300_000
# What a client sends along with its ACK: full segments, so the second tag meets the interface's MTU.
EARLY_BYTES = 8_000


@pytest.fixture(scope="module")
def tagged_ends(lab: Lab) -> Iterator[None]:
    if lab.mode is not Mode.BRIDGE:
        pytest.skip("VLANs are bridged; a routed box is no member of them")
    if not ability.vlans():
        pytest.skip("this kernel has no VLAN interfaces (CONFIG_VLAN_8021Q); the guest has them")
    with vlans.interfaces(lab.names):
        yield


@pytest.fixture(params=VLANS, ids=lambda vlan: vlan.name)
def vlan(request: pytest.FixtureRequest, tagged_ends: None) -> Vlan:  # noqa: ARG001
    chosen: Vlan = request.param
    return chosen


@contextlib.contextmanager
def echo_server(lab: Lab, family: int) -> Iterator[int]:
    """Sends everything back, half close included; the value is its port."""
    with lab.listen(family) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                while data := connection.recv(1 << 16):
                    connection.sendall(data)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            thread.join()


def counted(lab: Lab, vlan: Vlan, name: str) -> int:
    found: int = lab.status()["services"][vlan.service][name]
    return found


def exchange(connection: socket.socket, sent: bytes) -> bytes:
    def send() -> None:
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)

    sender = threading.Thread(target=send)
    sender.start()
    with connection.makefile("rb") as incoming:
        got = incoming.read()
    sender.join()
    return got


def test_bytes_both_ways(lab: Lab, vlan: Vlan, family: int) -> None:
    before = counted(lab, vlan, "opened")
    sent = bytes(range(256)) * (VOLUME_BYTES // 256)
    with echo_server(lab, family) as port, lab.socket_at_client(family) as connection:
        connection.connect((vlan.server(family), port))
        assert exchange(connection, sent) == sent
    assert counted(lab, vlan, "opened") == before + 1


def test_early_data_of_full_segments(lab: Lab, vlan: Vlan, family: int) -> None:
    """Written at once after connect(), so that it is on its way before the server has answered."""
    sent = b"early data " * (EARLY_BYTES // 11)
    with echo_server(lab, family) as port, lab.capture_server() as seen, lab.socket_at_client(family) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.connect((vlan.server(family), port))
        assert exchange(connection, sent) == sent
    arrived = [frame.data for frame in seen.frames() if not frame.sent and frame.data[12:].startswith(vlan.header)]
    assert arrived, "nothing came to the server in this VLAN"


def test_answer_carries_the_tags_of_the_syn(lab: Lab, vlan: Vlan, family: int) -> None:
    with (
        echo_server(lab, family) as port,
        lab.capture_client() as seen,
        lab.socket_at_client(family) as connection,
    ):
        connection.connect((vlan.server(family), port))
        connection.close()
    frames = [frame.data for frame in seen.frames() if not frame.sent and _is_syn_ack(frame.data, port)]
    assert frames
    for data in frames:
        assert data[12:].startswith(vlan.header), data[:40].hex()


def _is_syn_ack(frame: bytes, port: int) -> bool:
    from scapy.layers.inet import TCP
    from scapy.layers.l2 import Ether

    packet = Ether(frame)
    return bool(packet.haslayer(TCP) and packet[TCP].sport == port and packet[TCP].flags == "SA")


def test_closed_port_refuses(lab: Lab, vlan: Vlan, family: int) -> None:
    with lab.listen(family) as listener:
        port = listener.getsockname()[1]
    with lab.socket_at_client(family) as connection:

        def reach() -> None:
            connection.connect((vlan.server(family), port))
            connection.recv(1)

        with pytest.raises(ConnectionError):
            reach()


@pytest.mark.usefixtures("no_forged_packet")
def test_flood_inside_a_vlan_stays_outside(lab: Lab, vlan: Vlan, family: int) -> None:
    before = counted(lab, vlan, "syn_received")
    spec = flood.FloodSpec("syn", vlan.server(family), count=FORGED_SYNS, seconds=10, vlans=vlan.vids)
    with lab.capture_server() as seen:
        sent = flood.run_flood(lab.names, lab.mode, spec).sent
        assert sent > 0
        assert wait_until(lambda: counted(lab, vlan, "syn_received") == before + sent)
    assert not [frame.data.hex() for frame in seen.frames() if not frame.sent and _is_tcp_in(vlan, frame.data)]


def _is_tcp_in(vlan: Vlan, frame: bytes) -> bool:
    """Told by hand: a flood is more than Scapy likes to take apart."""
    network = frame[14 + 4 * len(vlan.tags) :]
    protocol = network[9] if network[0] >> 4 == 4 else network[6]
    return frame[12:].startswith(vlan.header) and protocol == socket.IPPROTO_TCP


@pytest.mark.parametrize("vlan", [v for v in VLANS if v.listed], ids=lambda v: v.name, indirect=True)
def test_service_of_a_vlan_leaves_other_frames_alone(lab: Lab, vlan: Vlan) -> None:
    """The address is protected in its VLAN; reached without a tag it belongs to no service that names one.

    IPv4 only: an IPv6 host answers no solicitation for an address of another of its interfaces.
    """
    before = counted(lab, vlan, "syn_received")
    with echo_server(lab, 4) as port, lab.socket_at_client(4) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, END_INTERFACE.encode())
        connection.connect((vlan.server(4), port))
        assert exchange(connection, b"untagged") == b"untagged"
    assert counted(lab, vlan, "syn_received") == before
