"""Random conversations, each one once with the box between the ends and once without: both ends must see the same.

One end is made of single packets, the other one is a kernel. A conversation that differs is shrunk by Hypothesis and
printed as a list of moves; put it into KEPT, so that it is played in every run. `make test-conversations` plays 10,000.
"""

from __future__ import annotations

import itertools
import socket
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from netlab.counters import CRAFTED_PORT_FIRST, CRAFTED_PORT_LAST
from netlab.crafted import FULL_OPTIONS, Endpoint, Options, payload
from netlab.session import Lab
from scapy.layers.inet import TCP
from scapy.packet import Packet

LIMIT_S = 10.0  # for anything that has to come
MANY = 100  # conversations; fewer are the same ones in every run
MASK = 0xFFFFFFFF
SEGMENT_MAX = 1400  # bytes that fit a frame with every option
STREAM = bytes(range(251)) * 400
PLAIN: Options = (("MSS", 1460),)
SACK_ONLY: Options = (("MSS", 1000), ("SAckOK", b""), ("NOP", None), ("WScale", 3))
OFFERS: dict[str, Options] = {"full": FULL_OPTIONS, "plain": PLAIN, "sack": SACK_ONLY}
ENDS = ("client closes", "server closes", "client half closes", "client resets", "server resets")
_ports = itertools.cycle(range(CRAFTED_PORT_FIRST, CRAFTED_PORT_LAST + 1))

Move = tuple[str, int]


@dataclass(frozen=True)
class Conversation:
    """moves: (what, bytes), in order; early: bytes that come with the final ACK; ending: one of ENDS."""

    offer: str
    early: int
    moves: tuple[Move, ...]
    ending: str


@dataclass
class Seen:
    """What the applications at both ends saw."""

    server: bytes = b""
    server_end: str = ""
    client: bytes = b""
    client_end: str = ""


@dataclass
class Play:
    """One conversation: `client` is made of packets, `server` is a kernel's socket."""

    client: Endpoint
    server: socket.socket
    start: int  # the client's first sequence number after its SYN
    sent: int = 0  # bytes of the client's stream that are out
    given: int = 0  # bytes of the server's
    seen: Seen = field(default_factory=Seen)

    def segment(self, at: int, length: int, flags: str = "PA") -> None:
        self.client.send(flags, STREAM[at : at + length], seq=(self.start + at) & MASK)

    def taken(self, length: int) -> None:
        """The server's application reads so many bytes."""
        got = b""
        while len(got) < length:
            piece = self.server.recv(length - len(got))
            assert piece, f"the stream ended after {len(got)} of {length} bytes"
            got += piece
        self.seen.server += got

    def arrived(self, wanted: Callable[[Packet], bool]) -> Packet:
        """The next packet like this; data on the way to it that is next in order is read."""
        limit = time.monotonic() + LIMIT_S
        while (packet := self.client.receive(limit - time.monotonic())) is not None:
            data = payload(packet)
            if data and packet[TCP].seq == self.client.ack:
                self.seen.client += data
                self.client.ack = (self.client.ack + len(data)) & MASK
            if wanted(packet):
                return packet
        raise AssertionError("what was waited for did not come")

    def whole(self) -> None:
        """Everything the server has given is read, and acknowledged."""
        if len(self.seen.client) < self.given:
            self.arrived(lambda _: len(self.seen.client) >= self.given)
        self.client.send("A")

    # -- the moves; each ends when both applications have what it sent

    def in_order(self, length: int) -> None:
        self.segment(self.sent, length)
        self._took(length)

    def twice(self, length: int) -> None:
        self.segment(self.sent, length)
        self.segment(self.sent, length)
        self._took(length)

    def swapped(self, length: int) -> None:
        self.segment(self.sent + length, length)
        self.segment(self.sent, length)
        self._took(2 * length)

    def overlapping(self, length: int) -> None:
        before = min(self.sent, length, SEGMENT_MAX - length)
        self.segment(self.sent - before, before + length)
        self._took(length)

    def single_bytes(self, length: int) -> None:
        for at in range(min(length, 5)):
            self.segment(self.sent + at, 1)
        self._took(min(length, 5))

    def keep_alive(self, _: int) -> None:
        """With a byte that the server has: it answers each of these, but one without data only every half second."""
        if not self.sent:
            self.client.send("A", seq=(self.start - 1) & MASK)
            return
        self.segment(self.sent - 1, 1, "A")
        self.arrived(lambda packet: packet[TCP].ack == (self.start + self.sent) & MASK)

    def old_syn(self, _: int) -> None:
        self.client.send("S", seq=(self.start - 1) & MASK, options=PLAIN)

    def inexact_reset(self, length: int) -> None:
        self.client.send("R", seq=(self.start + self.sent + 1 + length) & MASK)

    def old_reset(self, length: int) -> None:
        self.client.send("R", seq=(self.start + self.sent - 1 - length) & MASK)

    def forged_ack(self, length: int) -> None:
        """It acknowledges what was never sent (RFC 5961 section 5)."""
        self.client.send("A", seq=(self.start + self.sent) & MASK, ack=(self.client.ack + 100_000 + length) & MASK)

    def answer(self, length: int) -> None:
        self.server.sendall(STREAM[self.given : self.given + length])
        self.given += length
        self.whole()

    def answer_unheard(self, length: int) -> None:
        """What was sent is acknowledged only when it is repeated."""
        self.server.sendall(STREAM[self.given : self.given + length])
        self.given += length
        first = self.arrived(lambda packet: bool(payload(packet)))[TCP].seq
        self.arrived(lambda packet: bool(payload(packet)) and packet[TCP].seq == first)
        self.whole()

    def both(self, length: int) -> None:
        self.server.sendall(STREAM[self.given : self.given + length])
        self.given += length
        self.segment(self.sent, length)
        self._took(length)
        self.whole()

    def _took(self, length: int) -> None:
        self.sent += length
        self.client.seq = (self.start + self.sent) & MASK
        self.taken(length)

    # -- the endings

    def end(self, how: str) -> Seen:
        {
            "client closes": self._client_closes,
            "server closes": self._server_closes,
            "client half closes": self._client_half_closes,
            "client resets": self._client_resets,
            "server resets": self._server_resets,
        }[how]()
        return self.seen

    def _fin(self) -> None:
        self.client.send("FA")

    def _server_ended(self) -> None:
        try:
            rest = self.server.recv(1000)
        except ConnectionResetError:
            self.seen.server_end = "reset"
        else:
            self.seen.server += rest
            self.seen.server_end = "more" if rest else "end"

    def _client_ended(self) -> None:
        last = self.arrived(lambda packet: bool(packet[TCP].flags & "FR"))
        self.seen.client_end = "reset" if last[TCP].flags & "R" else "end"
        if self.seen.client_end == "end":
            self.client.ack = (self.client.ack + 1) & MASK

    def _client_closes(self) -> None:
        self._fin()
        self._server_ended()
        self.server.close()
        self._client_ended()
        self.client.send("A")

    def _server_closes(self) -> None:
        self.server.shutdown(socket.SHUT_WR)
        self._client_ended()
        self.client.send("A")
        self.in_order(3)
        self._fin()
        self._server_ended()

    def _client_half_closes(self) -> None:
        self._fin()
        self._server_ended()
        self.answer(2000)
        self.server.close()
        self._client_ended()
        self.client.send("A")

    def _client_resets(self) -> None:
        self.client.send("R", seq=(self.start + self.sent) & MASK)
        self._server_ended()

    def _server_resets(self) -> None:
        self.server.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.server.close()
        self._client_ended()


MOVES: dict[str, Callable[[Play, int], None]] = {
    "in order": Play.in_order,
    "twice": Play.twice,
    "swapped": Play.swapped,
    "overlapping": Play.overlapping,
    "single bytes": Play.single_bytes,
    "keep-alive": Play.keep_alive,
    "old SYN": Play.old_syn,
    "inexact reset": Play.inexact_reset,
    "old reset": Play.old_reset,
    "forged ACK": Play.forged_ack,
    "answer": Play.answer,
    "answer unheard": Play.answer_unheard,
    "both": Play.both,
}
KEPT: tuple[Conversation, ...] = (
    Conversation("full", 0, tuple((name, 10) for name in MOVES), "client half closes"),
    Conversation("plain", 700, tuple((name, 900) for name in reversed(MOVES)), "server closes"),
)


def play(lab: Lab, family: int, said: Conversation, *, direct: bool) -> Seen:
    with lab.listen(family) as listener:
        client = lab.crafted_client(family, listener.getsockname()[1], local_port=next(_ports), direct=direct)
        with client:
            client.connect(OFFERS[said.offer])
            start = client.seq
            if said.early:
                client.send("PA", STREAM[: said.early])
            else:
                client.send("A")
            server, _ = listener.accept()
            with server:
                server.settimeout(LIMIT_S)
                one = Play(client, server, start, said.early)
                one.taken(said.early)
                for name, length in said.moves:
                    MOVES[name](one, length)
                return one.end(said.ending)


@st.composite
def conversations(draw: st.DrawFn) -> Conversation:
    move = st.tuples(st.sampled_from(sorted(MOVES)), st.integers(1, 950))
    return Conversation(
        offer=draw(st.sampled_from(sorted(OFFERS))),
        early=draw(st.sampled_from((0, 0, 1, 400, 950))),
        moves=tuple(draw(st.lists(move, max_size=8))),
        ending=draw(st.sampled_from(ENDS)),
    )


def same(lab: Lab, family: int, said: Conversation) -> None:
    assert play(lab, family, said, direct=False) == play(lab, family, said, direct=True)


@pytest.mark.parametrize("said", KEPT, ids=lambda one: one.ending)
def test_conversations_that_are_kept(lab: Lab, family: int, said: Conversation) -> None:
    same(lab, family, said)


def test_random_conversations(lab: Lab, family: int, conversations_played: int) -> None:
    """What both applications see is what they see without a box. Half of them over each family.

    A few are the same ones in every run, so that it ends alike; many are others each time.
    """

    @settings(
        max_examples=(conversations_played + 1) // 2,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        derandomize=conversations_played < MANY,
    )
    @given(said=conversations())
    def each(said: Conversation) -> None:
        same(lab, family, said)

    each()
