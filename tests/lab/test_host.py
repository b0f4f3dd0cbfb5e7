"""Mode host: the servers are sockets of the box itself. Only what is different there; run with --mode host.

The way of a packet: from outside into the queue, from there to the sockets; what the sockets send goes through the
queue on its way out. What stays inside the machine, and what it opens itself, is none of levee's business.
"""

from __future__ import annotations

import socket

from netlab import netns
from netlab.session import Lab
from netlab.streams import DATA, meanwhile, read_all, send_and_finish


def stream_socket(namespace: str, family: int) -> socket.socket:
    made = netns.new_socket(namespace, socket.AF_INET6 if family == 6 else socket.AF_INET, socket.SOCK_STREAM)
    made.settimeout(20.0)
    return made


def test_connection_within_the_machine_is_left_alone(lab: Lab, family: int) -> None:
    before = lab.service_status()["syn_received"]
    with lab.listen(family) as listener, stream_socket(lab.names.box, family) as near:
        near.connect((lab.server_address(family), listener.getsockname()[1]))
        far, _ = listener.accept()
        with far, meanwhile(lambda: send_and_finish(far, DATA)):
            assert read_all(near) == DATA
    assert lab.service_status()["syn_received"] == before


def test_connection_of_the_machine_to_a_client_is_left_alone(lab: Lab, family: int) -> None:
    """The protected ports are all there are, so its own port is one of them."""
    opened = lab.service_status()["opened"]
    with stream_socket(lab.names.client, family) as listener, stream_socket(lab.names.box, family) as own:
        listener.bind((lab.client_address(family), 0))
        listener.listen()
        own.connect(listener.getsockname()[:2])
        far, _ = listener.accept()
        with far, meanwhile(lambda: send_and_finish(far, DATA)):
            assert read_all(own) == DATA
    assert lab.service_status()["opened"] == opened


def test_server_hears_of_nobody_who_did_not_prove_himself(lab: Lab, family: int) -> None:
    """A connection is opened by levee's own SYN, which comes over the loopback interface, from the client's address."""
    with lab.listen(family) as listener, lab.capture_client() as wire:
        before = lab.arrived()["syn_real"]
        with lab.connect(family, listener.getsockname()[1]) as client:
            accepted, peer = listener.accept()
            with accepted:
                assert peer[0] == lab.client_address(family)
                client.sendall(b"once")
                assert accepted.recv(10) == b"once"
        assert lab.arrived()["syn_real"] - before == 1
        port = listener.getsockname()[1]
        wire.wait_for(lambda p: p.haslayer("TCP") and (p["TCP"].flags, p["TCP"].sport) == ("SA", port))
