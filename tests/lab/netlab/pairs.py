"""Two crafted endpoints and an established connection between them, through the box.

Owns the steps of a proxied handshake as packets: client SYN, box SYN-ACK, client ACK, box SYN,
server SYN-ACK, box ACK. Called by tests that need single packets on an established flow.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace

from scapy.layers.inet import TCP

from netlab.crafted import FULL_OPTIONS, Endpoint, Options, option
from netlab.session import Lab


@dataclass(frozen=True)
class Pair:
    client: Endpoint
    server: Endpoint
    scale_told_to_client: int | None = None  # window scale in the SYN-ACK that the box sent


@contextlib.contextmanager
def unopened(lab: Lab, family: int) -> Iterator[Pair]:
    """Both ends exist, nothing was sent."""
    with lab.crafted_server(family) as server, lab.crafted_client(family, server.local_port) as client:
        yield Pair(client, server)


@contextlib.contextmanager
def proved(lab: Lab, family: int, options: Options = FULL_OPTIONS) -> Iterator[Pair]:
    """The client completed its handshake; the box's SYN is at the server, unanswered."""
    with unopened(lab, family) as pair:
        answer = pair.client.connect(options)
        pair.client.send("A")
        yield replace(pair, scale_told_to_client=option(answer, "WScale"))


@contextlib.contextmanager
def established(
    lab: Lab, family: int, options: Options = FULL_OPTIONS, server_options: Options | None = None
) -> Iterator[Pair]:
    """The connection is open on both sides and idle; the box's ACK to the server is consumed.

    server_options: what the server answers with, the client's own when not given.
    """
    with proved(lab, family, options) as pair:
        pair.server.accept(options if server_options is None else server_options)
        pair.server.expect("A", lambda p: p[TCP].ack == pair.server.seq)
        yield pair
        # Whatever state the test left: a reset of the right number frees the flow.
        pair.client.send("R", options=())


def exchange(pair: Pair) -> None:
    """Proof that the connection works: bytes go both ways and arrive as they are."""
    pair.client.send("PA", b"question")
    assert pair.server.expect_data(8) == b"question"
    pair.server.send("PA", b"the answer")
    assert pair.client.expect_data(10) == b"the answer"
    pair.client.send("A")
    pair.server.expect("A", lambda p: p[TCP].ack == pair.server.seq)
