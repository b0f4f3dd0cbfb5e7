"""One connection: from the client's valid ACK over the handshake with the server to its end.

    SYN_SENT     our SYN is on its way to the server; what the client sends meanwhile is held
    ESTABLISHED  segments are translated, both ways; also half closed
    CLOSED       both ends are done, or one was reset; late segments are still translated

The client's stream keeps its numbering. The server's is renumbered: the client was promised our cookie
as its ISN. Numbers here are the server's own unless a name says otherwise.

Owns that state machine. Called by proxy.py. Must not know: cookies, other connections.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Unpack

from reference import segment as tcp
from reference.cookie import Tuple
from reference.segment import ACK, CWR, ECE, FIN, MASK, PSH, RST, SYN, URG, Fields, Options, Segment, after, within
from reference.translate import Scales, Translation

SYN_AGAIN_MS = (1000, 2000, 4000)  # after the one before
GIVE_UP_MS = 4000
SEGMENT_MAX_BYTES = {4: 1460, 6: 1440}  # a packet of ours fits 1500 bytes
DELIVER_MAX_PACKETS = 62
WINDOW_MIN_BYTES = 0xFFFF  # how far beyond its last ACK a server is always believed to listen
AHEAD_MAX = 1 << 30  # the largest window, RFC 7323 2.3


class Side(Enum):
    """The two sides of the box; a packet's is the one it came in on, an answer's the one it leaves by."""

    OUTSIDE = 0
    INSIDE = 1


class Verdict(Enum):
    """What becomes of a packet; the values are those of NetfilterQueue's users: drop, pass, pass changed."""

    DROP = 0
    PASS = 1
    REWRITE = 2


class State(Enum):
    """Where a connection is (see the file's head); GONE: it is to be forgotten."""

    SYN_SENT = auto()
    ESTABLISHED = auto()
    CLOSED = auto()
    GONE = auto()


@dataclass(frozen=True)
class Agreed:
    """What was agreed with the client in the first handshake."""

    isn: int  # of the client
    cookie: int  # our ISN
    mss: int
    window: int  # that a SYN of the client would offer
    sack: bool
    ecn: bool
    ask_sack: bool  # not agreed on, but offered by the client: the server is asked, to learn what it does
    ask_ecn: bool
    wscale: int | None  # of the client's windows; None: it cannot scale
    wscale_told: int  # to the client, on behalf of the server
    timestamps: tuple[int, int] | None  # of the final ACK: the client's TSval, ours that it echoes


@dataclass(frozen=True)
class Box:
    """What a connection needs of the box: how to send, what it offers and holds."""

    send: Callable[[Side, bytes], None]
    window: int
    hold_bytes: int
    window_zero: bool


class Connection:
    """The proxy's view of one connection."""

    def __init__(self, box: Box, flow: Tuple, agreed: Agreed, ack: Segment, ttl: int, now_ms: int) -> None:
        self.box, self.flow, self.agreed, self.ttl = box, flow, agreed, ttl
        self.state = State.SYN_SENT
        self.synack: Segment | None = None  # of the server, for the proxy to learn
        self.translation = Translation(0, 0, Scales(), Scales())
        self.client_tsval = agreed.timestamps[0] if agreed.timestamps else 0
        self.client_window = ack.window
        self.server_window = 0
        self.client_next = self.server_acked = agreed.isn + 1 & MASK  # client's stream: seen, acknowledged
        self.server_next = self.client_acked = 0  # server's stream
        self.client_fin: int | None = None  # the number after it
        self.server_fin: int | None = None
        self.reset = False
        self.held = b""
        self.tries = 0
        self._send_syn()
        self.due_ms = now_ms + SYN_AGAIN_MS[0]
        self._hold(ack)

    # Handshake with the server.

    def _send_syn(self) -> None:
        """With the client's own options, as if it had come from there."""
        agreed = self.agreed
        timestamps = (self.client_tsval, 0) if agreed.timestamps else None
        self._to_server(
            flags=SYN | (ECE | CWR if agreed.ecn or agreed.ask_ecn else 0),
            seq=agreed.isn,
            window=agreed.window,
            options=tcp.syn_options(Options(agreed.mss, agreed.wscale, agreed.sack or agreed.ask_sack, timestamps)),
        )

    def tick(self, now_ms: int) -> None:
        """Repeat the SYN, or tell the client that nobody answers."""
        if self.state is not State.SYN_SENT or now_ms < self.due_ms:
            return
        if self.tries == len(SYN_AGAIN_MS):
            self._refuse()
            return
        self.tries += 1
        self._send_syn()
        self.due_ms = now_ms + (*SYN_AGAIN_MS, GIVE_UP_MS)[self.tries]

    def _refuse(self) -> None:
        """A reset at the edge of the client's window, which its stack takes at once."""
        self._to_client(flags=RST | ACK, seq=self.agreed.cookie + 1, ack=self.server_acked)
        self.state = State.GONE

    def early(self, segment: Segment) -> None:
        """A segment of the client before the server has answered."""
        cookie, isn = self.agreed.cookie, self.agreed.isn
        if segment.has(RST):
            if segment.seq in (self.client_next, self.server_acked):
                self._to_server(flags=RST, seq=self.server_acked)
                self.state = State.GONE
        elif segment.has(SYN):
            if segment.seq != isn and not segment.has(ACK):  # challenge ACK, RFC 5961 section 4
                self._to_client(flags=ACK, seq=cookie + 1, ack=self.client_next, window=self.box.window)
        elif segment.has(ACK) and segment.ack == (cookie + 1 & MASK):
            self.client_window = segment.window
            seen = segment.options.timestamps
            if seen and self.agreed.timestamps and after(seen[0], self.client_tsval):
                self.client_tsval = seen[0]
            self._hold(segment)

    def _hold(self, segment: Segment) -> None:
        """Keep data that is the next in order, as far as there is room; TCP repeats the rest."""
        expected = self.server_acked + len(self.held) & MASK
        skip = expected - segment.seq & MASK
        if not segment.payload and not segment.has(FIN):
            return
        if skip > len(segment.payload) or segment.has(URG) or self.client_fin is not None:
            return
        data = segment.payload[skip:]
        taken = data[: self.box.hold_bytes - len(self.held)]
        self.held += taken
        self.client_next = expected + len(taken) & MASK
        if segment.has(FIN) and taken == data:
            self.client_next = self.client_fin = self.client_next + 1 & MASK

    def server_answer(self, segment: Segment) -> None:
        """A segment of the server while our SYN is out (RFC 9293 3.10.7.3)."""
        acked = segment.has(ACK) and segment.ack == self.server_acked
        if segment.has(RST):
            if acked:
                self._refuse()
        elif acked and segment.has(SYN):
            self._open(segment)
        elif segment.has(ACK) and not acked:  # it has an older connection: our reset ends it, our next SYN is taken
            self._to_server(flags=RST, seq=segment.ack)

    def _open(self, synack: Segment) -> None:
        """Settle the translation and deliver what was held."""
        agreed, options = self.agreed, synack.options
        self.synack = synack
        client = server = Scales()
        if agreed.wscale is not None:
            scales_on = options.wscale is not None
            client = Scales(agreed.wscale, agreed.wscale if scales_on else 0)
            server = Scales(options.wscale or 0, agreed.wscale_told)
        server_ts = agreed.timestamps is not None and options.timestamps is not None
        server_tsval = options.timestamps[0] if options.timestamps else 0
        self.translation = Translation(
            seq=agreed.cookie - synack.seq & MASK,
            ts=agreed.timestamps[1] - server_tsval & MASK if agreed.timestamps and server_ts else 0,
            client=client,
            server=server,
            client_ts=agreed.timestamps is not None,
            server_ts=server_ts,
            client_sack=agreed.sack,
            server_sack=agreed.sack and options.sack_ok,
            hide_ecn=agreed.ask_ecn and synack.has(ECE),
        )
        self.client_acked = self.server_next = synack.seq + 1 & MASK
        # A SYN-ACK's window is not scaled; kept in the server's unit, an open one stays open.
        self.server_window = max(synack.window >> server.own, 1) if synack.window else 0
        self.state = State.ESTABLISHED
        self._deliver(synack)
        if self.box.window_zero:
            self._open_window(server_tsval)

    def _deliver(self, synack: Segment) -> None:
        """The final ACK, and with it as much of the held data as the server's window takes."""
        timestamps = self._timestamps_to_server(synack)
        most = SEGMENT_MAX_BYTES[6 if ":" in self.flow.server else 4]
        room = min(synack.options.mss or 536, most) - (12 if timestamps else 0)
        data = self.held[: synack.window]
        step = max(room, 1)
        pieces = [data[at : at + step] for at in range(0, len(data), step)][:DELIVER_MAX_PACKETS] or [b""]
        sent = 0
        for piece in pieces:
            last = sent + len(piece) == len(data)
            flags = ACK | (PSH if piece and last else 0)
            if sent + len(piece) == len(self.held) and self.client_fin is not None:
                flags |= FIN
            self._ack_to_server(flags, self.server_acked + sent, timestamps, piece)
            sent += len(piece)
        if sent < len(self.held):
            self.client_fin = None  # the client repeats it, with the data before it
        self.client_next = self.server_acked + sent + (self.client_fin is not None) & MASK
        self.held = b""

    def _open_window(self, server_tsval: int) -> None:
        """With window zero in our SYN-ACK the client waits for this."""
        timestamps = None
        if self.translation.server_ts:
            timestamps = (server_tsval + self.translation.ts & MASK, self.client_tsval)
        self._ack_to_client(timestamps)

    # The open connection.

    def splice(self, segment: Segment, side: Side) -> bytes | None:
        """The segment as it goes on, or None if it is dropped."""
        if side is Side.OUTSIDE:
            return self._from_client(segment)
        return self._from_server(segment)

    def _from_client(self, segment: Segment) -> bytes | None:
        if not segment.has(ACK) and segment.has(SYN) and self.state is State.ESTABLISHED:
            self._ack_to_client(None)  # challenge ACK, RFC 5961 section 4
            return None
        if segment.has(SYN):
            return None
        right = self.server_acked + max(self.server_window << self.translation.server.own, WINDOW_MIN_BYTES) & MASK
        if segment.has(RST):
            if segment.seq in (self.server_acked, self.client_next):
                self._close_by_reset()
            elif not within(segment.seq, self.server_acked, right):
                return None  # a server would ignore it: RFC 5961 3.2
            return self.translation.to_server(segment)
        if self.state is State.ESTABLISHED:
            self.reset = False
        if after(segment.end, self.client_next) and not after(segment.end, right):
            self.client_next = segment.end
        if segment.has(ACK):
            ack = segment.ack - self.translation.seq & MASK
            if not after(ack, self.server_next):
                self.client_acked = _advanced(self.client_acked, ack)
        if segment.has(FIN) and within(segment.end, self.server_acked, right + 1 & MASK):
            self.client_fin = segment.end
        self.client_window = segment.window
        self._close_if_done()
        return self.translation.to_server(segment)

    def _from_server(self, segment: Segment) -> bytes | None:
        if segment.has(SYN):
            repeated = segment.ack == self.server_acked and segment.seq + 1 & MASK == self.server_next
            if segment.has(ACK) and repeated:  # our ACK was lost
                self._ack_to_server(ACK, self.server_acked, self._timestamps_to_server(segment), b"")
            return None
        if segment.has(RST):
            self._close_by_reset()
            return self.translation.to_client(segment)
        if self.reset:  # the server talks on: it did not accept the client's reset, or this was in flight
            self.state = State.ESTABLISHED
        self.server_next = _advanced(self.server_next, segment.end)
        if segment.has(ACK):
            self.server_acked = _advanced(self.server_acked, segment.ack)
            self.client_next = _advanced(self.client_next, segment.ack)
        if segment.has(FIN) and self.server_fin is None:
            self.server_fin = segment.end
        self.server_window = segment.window
        self._close_if_done()
        return self.translation.to_client(segment)

    def _close_by_reset(self) -> None:
        self.reset, self.state = True, State.CLOSED

    def _close_if_done(self) -> None:
        """Closed when both FINs are acknowledged."""
        if self.client_fin is None or self.server_fin is None:
            return
        if not after(self.server_fin, self.client_acked) and not after(self.client_fin, self.server_acked):
            self.state = State.CLOSED

    def gives_way_to(self, segment: Segment, side: Side, *, expected: bool) -> bool:
        """The connection is closed and this segment belongs to a new one on the same ports.

        expected: it is the final ACK of a handshake that the client has begun since.
        """
        if self.state is not State.CLOSED:
            return False
        if segment.has(SYN):
            return not segment.has(ACK)
        if side is Side.INSIDE or segment.has(RST):
            return False
        ack = segment.ack - self.translation.seq & MASK
        late = not segment.has(ACK) or within(ack, self.client_acked - 0xFFFF & MASK, self.server_next)
        return expected or not late

    # Segments of the proxy's own.

    def _timestamps_to_server(self, answered: Segment) -> tuple[int, int] | None:
        """In the client's name: its last TSval, and the TSval of the segment that is answered."""
        if not self.translation.server_ts:
            return None
        return self.client_tsval, (answered.options.timestamps or (0, 0))[0]

    def _ack_to_server(self, flags: int, seq: int, timestamps: tuple[int, int] | None, payload: bytes) -> None:
        window = self.translation.client.rescale(self.client_window)
        options = tcp.timestamp_options(timestamps)
        self._to_server(flags=flags, seq=seq, ack=self.server_next, window=window, options=options, payload=payload)

    def _ack_to_client(self, timestamps: tuple[int, int] | None) -> None:
        window = self.translation.server.rescale(self.server_window)
        seq = self.server_next + self.translation.seq
        options = tcp.timestamp_options(timestamps)
        self._to_client(flags=ACK, seq=seq, ack=self.server_acked, window=window, options=options)

    def _to_server(self, **fields: Unpack[Fields]) -> None:
        self.box.send(Side.INSIDE, tcp.make(self.flow, to_client=False, ttl=self.ttl, **fields))

    def _to_client(self, **fields: Unpack[Fields]) -> None:
        self.box.send(Side.OUTSIDE, tcp.make(self.flow, to_client=True, **fields))


def _advanced(mark: int, to: int) -> int:
    """The later of two numbers, if it is not absurdly far ahead."""
    return to if to - mark & MASK < AHEAD_MAX else mark
