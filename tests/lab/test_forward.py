"""forward_to between real stacks: clients use one port or address, their server has another."""

from __future__ import annotations

import contextlib
import signal
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from netlab.flood import FloodSpec, run_flood
from netlab.session import PROTECTED_LAST, Lab, wait_until
from netlab.streams import DATA, meanwhile, read_all
from netlab.topology import Mode
from scapy.layers.inet import TCP

from appliance import client

USED, OWN = 18080, 18081  # ports: what clients use, what the server has
HOST = 3  # of the server's addresses: what clients use; the server has another
FLOOD_SYNS = 20_000


def services(lab: Lab) -> str:
    """Those of the lab, and in their midst a port and an address that are forwarded."""
    text = (lab.names.lab_dir / "levee.yaml").read_text()
    used = f'["{lab.server_address(6)}", "{lab.server_address(4)}"]'
    more = f"  moved:\n    addresses: {used}\n    ports: [{USED}]\n    forward_to: {{port: {OWN}}}\n"
    if lab.mode is Mode.ROUTED:
        own = lab.server_address(4, PROTECTED_LAST)
        more += (
            f"  elsewhere:\n    addresses: [{lab.server_address(4, HOST)}]\n    ports: [{USED}]\n"
            f"    forward_to: {{port: {OWN}, address: {own}}}\n"
        )
    first = min(USED, OWN)
    return text.replace("    ports: all\n", f"    ports: [1-{first - 1}, {first + 2}-65535]\n", 1).replace(
        "services:\n", f"services:\n{more}", 1
    )


@pytest.fixture(scope="module")
def forwarding(lab: Lab) -> Iterator[None]:
    """The lab's daemon with these services, for the length of this file."""
    if lab.engine == "bpf":
        pytest.skip("the bpf engine has no forward_to")
    path = lab.names.lab_dir / "levee.yaml"
    original = path.read_text()

    def known() -> bool:
        status: dict[str, Any] = client.call(lab.names.socket, "org.levee.Status")
        return "moved" in status["services"]

    path.write_text(services(lab))
    try:
        lab.process.signal(signal.SIGHUP)
        assert wait_until(known), "the services were refused"
        yield
    finally:
        path.write_text(original)
        lab.process.signal(signal.SIGHUP)
    assert wait_until(lambda: not known())


@pytest.fixture(params=["port", "address"])
def used(request: pytest.FixtureRequest, lab: Lab, family: int, forwarding: None) -> tuple[str, int]:  # noqa: ARG001
    """Where a client connects to."""
    if request.param == "port":
        return lab.server_address(family), USED
    if lab.mode is not Mode.ROUTED:
        pytest.skip("an address is forwarded where the box routes")
    if family == 6:
        pytest.skip("the lab's server has one protected IPv6 address")
    return lab.server_address(4, HOST), USED


@contextlib.contextmanager
def served(lab: Lab, family: int, used: tuple[str, int]) -> Iterator[tuple[socket.socket, socket.socket]]:
    with lab.listen(family, OWN) as listener, lab.socket_at_client(family) as caller:
        caller.connect(used)
        server, _ = listener.accept()
        with server:
            server.settimeout(20.0)
            yield caller, server


def everything(sender: socket.socket) -> None:
    sender.sendall(DATA)
    sender.shutdown(socket.SHUT_WR)


def test_bytes_both_ways(lab: Lab, family: int, used: tuple[str, int]) -> None:
    damaged = lab.damaged()
    with served(lab, family, used) as (caller, server):
        assert caller.getpeername()[:2] == used
        assert server.getsockname()[1] == OWN
        assert server.getpeername()[:2] == caller.getsockname()[:2]
        for sender, receiver in ((caller, server), (server, caller)):
            with meanwhile(lambda: everything(sender)):  # noqa: B023  it ends within this turn
                assert read_all(receiver) == DATA
    assert lab.damaged() == damaged


def test_a_closed_port_refuses(lab: Lab, family: int, used: tuple[str, int]) -> None:
    """With the server's own reset: a client has its handshake by then."""

    def ask() -> None:
        with lab.socket_at_client(family) as caller:
            caller.connect(used)
            caller.recv(1)

    with pytest.raises(ConnectionError):
        ask()


def test_the_server_s_own_port_is_closed_to_clients(lab: Lab, family: int, forwarding: None) -> None:  # noqa: ARG001
    with lab.listen(family, OWN), lab.socket_at_client(family) as caller:
        caller.settimeout(1.5)
        with pytest.raises(TimeoutError):
            caller.connect((lab.server_address(family), OWN))


def test_a_flood_stays_outside(lab: Lab, family: int, used: tuple[str, int], no_forged_packet: None) -> None:  # noqa: ARG001
    spec = FloodSpec("syn-options", used[0], FLOOD_SYNS, 30, port=str(USED))
    with lab.listen(family, OWN) as listener:
        run_flood(lab.names, lab.mode, spec)
        with lab.socket_at_client(family) as caller:
            caller.connect(used)
            server, _ = listener.accept()
            server.close()


def test_nothing_of_the_other_name_is_on_the_wire(lab: Lab, family: int, used: tuple[str, int]) -> None:
    """Clients see the port they use, the server its own: on each side no packet has the other one."""
    with lab.capture_client() as outer, lab.capture_server() as inner, served(lab, family, used) as (caller, server):
        caller.sendall(b"question")
        assert server.recv(20) == b"question"
        server.sendall(b"answer")
        assert caller.recv(20) == b"answer"
        port = caller.getsockname()[1]
    if lab.mode is Mode.HOST:
        return  # one wire, and only clients are on it
    for capture, right, wrong in ((outer, USED, OWN), (inner, OWN, USED)):
        mine = capture.tcp(lambda packet: port in ends(packet[TCP]))
        ports = {end for packet in mine for end in ends(packet[TCP])}
        assert right in ports
        assert wrong not in ports


def ends(segment: TCP) -> tuple[int, int]:
    return segment.sport, segment.dport
