"""What is seen on the wire: options of SYN and SYN-ACK, data with the final ACK, closed ports."""

from __future__ import annotations

import signal
import socket
import statistics
import threading
from pathlib import Path

import pytest
from netlab import clients
from netlab.crafted import FULL_OPTIONS, Options, fresh_port, neighbour_mac, option, payload
from netlab.session import Lab
from netlab.streams import connected, read_all, send_and_finish
from scapy.layers.inet import TCP

REPEATS = 25
FLIGHTS, FLIGHT_BYTES = 400, 14_000
REFUSED = (ConnectionRefusedError, ConnectionResetError)
DIRECT_FACTOR = 1.2
# A reset that is lost or not accepted shows as TCP's first retransmission: 1 s and more.
AT_ONCE_S = 0.5


def test_syn_ack_carries_options(lab: Lab, family: int, nginx: Path) -> None:  # noqa: ARG001
    """After one connection the server is known: the SYN-ACK announces what the server itself does."""
    clients.curl(lab.names, lab.server_address(family))
    with lab.crafted_client(family, 80) as client:
        answer = client.connect()
        assert option(answer, "MSS") == (1460 if family == 4 else 1440)
        assert option(answer, "SAckOK") is not None
        assert option(answer, "Timestamp")[1] == dict(FULL_OPTIONS)["Timestamp"][0]
        assert option(answer, "WScale") == _server_wscale(lab, family)
        assert answer[TCP].window > 0, "a real window: the client may send at once"
        client.send("R")


def _server_wscale(lab: Lab, family: int) -> int:
    """Window scale that the server's own kernel announces, seen on a direct connection."""
    with lab.capture_client() as capture, lab.connect(family, 80, direct=True) as connection:
        port = connection.getsockname()[1]  # the box may repeat its answers to others meanwhile
        answer = capture.wait_for(lambda p: p.haslayer(TCP) and p[TCP].flags == "SA" and p[TCP].dport == port)
    return int(option(answer, "WScale"))


@pytest.mark.parametrize(
    "offered",
    [
        (),
        (("MSS", 536),),
        (("MSS", 1220), ("NOP", None), ("WScale", 3)),
        (("MSS", 1460), ("SAckOK", b"")),
        (("MSS", 1360), ("SAckOK", b""), ("Timestamp", (7, 0))),
        (("MSS", 8960), ("SAckOK", b""), ("Timestamp", (7, 0)), ("NOP", None), ("WScale", 14)),
        (("MSS", 1460), ("NOP", None), ("WScale", 0)),
    ],
    ids=lambda offered: (
        "+".join(f"{name}{value}" if name in ("MSS", "WScale") else name for name, value in offered if name != "NOP")
        or "none"
    ),
)
def test_options_are_only_what_the_client_offered(lab: Lab, family: int, offered: Options) -> None:
    """No option in the SYN-ACK that was not in the SYN; the server gets the client's own ones."""
    with lab.crafted_server(family) as server, lab.crafted_client(family, server.local_port) as client:
        answer = client.connect(offered)
        names = {name for name, _ in offered}
        for name in ("SAckOK", "Timestamp", "WScale"):
            if name not in names:
                assert option(answer, name) is None, f"{name} was not offered"
        client.send("A")
        syn = server.accept()
        for name, value in offered:
            if name == "Timestamp":
                assert option(syn, name)[0] == value[0]
            elif name != "NOP":
                assert option(syn, name) == value
        for name in ("MSS", "SAckOK", "Timestamp", "WScale"):
            if name not in names:
                assert option(syn, name) is None, f"{name} was not the client's"
        assert syn[TCP].sport == client.local_port
        assert syn[TCP].seq == client.isn, "the server sees the client's own sequence numbers"


def test_no_syn_at_the_server_before_the_client_proved_itself(lab: Lab, family: int) -> None:
    with lab.crafted_server(family) as server, lab.crafted_client(family, server.local_port) as client:
        client.connect()
        server.expect_quiet()


def test_data_with_the_final_ack_reaches_the_server(lab: Lab, family: int) -> None:
    """One packet completes the handshake and carries data; the client sends no other one."""
    with lab.crafted_server(family) as server, lab.crafted_client(family, server.local_port) as client:
        client.connect()
        client.send("PA", b"first words")
        server.accept()
        assert server.expect_data(11) == b"first words"


def test_data_before_the_server_answered_arrives_in_order(lab: Lab, family: int) -> None:
    """Many segments while the server is still silent: all of them are held and delivered."""
    segments = [bytes([65 + n]) * 1000 for n in range(20)]
    with lab.crafted_server(family) as server, lab.crafted_client(family, server.local_port) as client:
        client.connect()
        for segment in segments:
            client.send("PA", segment)
        server.accept()
        assert server.expect_data(20_000) == b"".join(segments)


def test_client_that_speaks_first_pays_no_extra_round_trip(lab: Lab, family: int, nginx: Path) -> None:  # noqa: ARG001
    """A real kernel's request is delivered without a retransmission of it."""
    with lab.capture_client() as capture:
        assert clients.curl(lab.names, lab.server_address(family)).returncode == 0
        capture.settle()
        requests = capture.tcp(lambda p: p.sniffed_on == "sent" and payload(p).startswith(b"GET"))
    assert len(requests) == 1


def test_segments_right_behind_the_final_ack_are_all_taken(lab: Lab, family: int) -> None:
    """A first flight of ten segments comes while the box is still busy with the ACK before them: each is believed."""
    before = lab.service_status()["cookie_invalid"]
    with lab.listen(family) as listener:
        for _ in range(FLIGHTS):
            with lab.connect(family, listener.getsockname()[1]) as client:
                send_and_finish(client, bytes(FLIGHT_BYTES))
                server, _ = listener.accept()
                with server:
                    assert len(read_all(server)) == FLIGHT_BYTES
    assert lab.service_status()["cookie_invalid"] == before


def test_frames_keep_the_ends_macs(lab: Lab, family: int, nginx: Path) -> None:  # noqa: ARG001
    """A bridge has no MAC of its own in any frame: each end sees the other end's. A host is an end."""
    with lab.capture_client() as at_client, lab.capture_server() as at_server:
        assert clients.curl(lab.names, lab.server_address(family)).returncode == 0
        at_client.settle()
        at_server.settle()
        seen = at_client.tcp(), at_server.tcp()
    macs = [{packet.src for packet in each} | {packet.dst for packet in each} for each in seen]
    if lab.mode != "routed":
        assert macs[0] == macs[1]
    else:
        assert len(macs[0] & macs[1]) == 0, "a router has its own MAC on each side"


def test_what_a_sender_leaves_to_its_nic_arrives_as_frames(lab: Lab, family: int) -> None:
    """Segmentation offload: one packet of many segments crosses the box, and each segment has its own header."""
    sent = bytes(range(256)) * 1000
    with connected(lab, family, direct=False) as (client, server):
        with lab.capture_client() as seen:
            sender = threading.Thread(target=server.sendall, args=(sent,))
            sender.start()
            with client.makefile("rb") as incoming:
                assert incoming.read(len(sent)) == sent
            sender.join()
        sources = {frame.data[6:12].hex(":") for frame in seen.frames() if not frame.sent}
    assert sources == {neighbour_mac(lab.mode, at_client=True)}


def test_data_that_waited_behind_the_servers_answer(lab: Lab, family: int) -> None:
    """Both are there when the box has time again: the answer opens the connection, then comes data of a kernel that
    left the checksum to its NIC. It is translated, and arrives with a right one (crafted ends verify each)."""
    with lab.crafted_server(family) as server, lab.connect(family, server.local_port) as client:
        syn = server.expect("S")
        lab.process.signal(signal.SIGSTOP)
        try:
            server.answer(syn)
            client.sendall(b"patience")
        finally:
            lab.process.signal(signal.SIGCONT)
        server.expect("A", lambda p: p[TCP].ack == server.seq)
        assert server.expect_data(8, AT_ONCE_S) == b"patience"


# ---- closed port


def _refusal_s(lab: Lab, family: int, *, direct: bool) -> float:
    port = fresh_port() - 20000  # below the shielded range: the server's kernel answers
    address = lab.direct_address(family) if direct else lab.server_address(family)
    return clients.curl_seconds(lab.names, address, port)


def test_closed_port_is_refused_as_fast_as_directly(lab: Lab, family: int) -> None:
    """Wall-clock time of a whole client program, both paths in turn in one run.

    A busy machine adds time and never takes any, so besides the medians the best times are compared.
    """
    pairs = [(_refusal_s(lab, family, direct=True), _refusal_s(lab, family, direct=False)) for _ in range(REPEATS)]
    direct, through = zip(*pairs, strict=True)
    medians = statistics.median(through) / statistics.median(direct)
    best = min(through) / min(direct)
    print(f"closed port, direct: median {statistics.median(direct) * 1e3:.1f} ms, best {min(direct) * 1e3:.1f} ms")
    print(f"through the box: {statistics.median(through) * 1e3:.1f} and {min(through) * 1e3:.1f} ms")
    print(f"ratios: {medians:.2f} and {best:.2f}")
    assert min(medians, best) <= DIRECT_FACTOR


def _connect_and_read(connection: socket.socket, address: str, data: bytes = b"") -> None:
    """To the discard port, which nobody listens on."""
    connection.connect((address, 9))
    connection.sendall(data)
    connection.recv(1)


def test_closed_port_gives_a_reset_and_no_time_out(lab: Lab, family: int) -> None:
    """The client's kernel accepts the reset at once: ECONNREFUSED or ECONNRESET."""
    with lab.capture_client() as capture, lab.socket_at_client(family) as connection:
        connection.settimeout(AT_ONCE_S)
        with pytest.raises(REFUSED):
            _connect_and_read(connection, lab.server_address(family))
        capture.wait_for(lambda p: p.haslayer(TCP) and p.sniffed_on == "received" and "R" in p[TCP].flags)


def test_closed_port_with_data_sent_at_once(lab: Lab, family: int) -> None:
    with lab.socket_at_client(family) as connection:
        connection.settimeout(AT_ONCE_S)
        with pytest.raises((*REFUSED, BrokenPipeError)):
            _connect_and_read(connection, lab.server_address(family), b"anybody there?")


def test_refusals_are_counted(lab: Lab) -> None:
    before = lab.service_status()["refused"]
    with lab.socket_at_client(4) as connection, pytest.raises(REFUSED):
        _connect_and_read(connection, lab.server_address(4))
    assert lab.service_status()["refused"] == before + 1


def test_syns_at_the_server_are_the_opened_flows(lab: Lab, family: int, nginx: Path) -> None:  # noqa: ARG001
    """Statistics agree with the wire: as many SYNs arrive as flows were opened."""
    opened, syns = lab.service_status()["opened"], lab.arrived()["syn_real"]
    for _ in range(10):
        assert clients.curl(lab.names, lab.server_address(family)).returncode == 0
    assert lab.service_status()["opened"] - opened == 10
    assert lab.arrived()["syn_real"] - syns == 10


def test_protect_off_is_left_alone(lab: Lab, family: int) -> None:
    """The handshake of the direct service is the server's own: no cookie answers it."""
    with lab.listen(family) as listener:
        port = listener.getsockname()[1]
        before = lab.status()["services"]["direct"]["synack_sent"]
        with lab.connect(family, port, direct=True) as connection:
            accepted, _ = listener.accept()
            with accepted:
                accepted.sendall(b"direct")
                assert connection.recv(6) == b"direct"
        assert lab.status()["services"]["direct"]["synack_sent"] == before
