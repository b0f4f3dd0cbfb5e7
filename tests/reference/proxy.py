"""The SYN proxy for one connection at a time: packets in, packets out, no sockets, no clock of its own.

The specification in short:

1. A SYN from outside is answered with a SYN-ACK whose sequence number is a cookie; the SYN is
   remembered only as a favour (exact options, repetition of a lost SYN-ACK).
2. An ACK from outside that carries a valid cookie opens the connection to the server (connection.py).
3. Everything else from outside that belongs to no connection is dropped. What the server says without
   having been asked is believed and passes.

Not part of it, because the rest does not depend on them: link headers, VLANs, fragments, ICMP, wrong
checksums (the caller's packets are valid), limits, expiry. Used by run.py and by the differential tests.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from reference import cookie
from reference import segment as tcp
from reference.connection import Agreed, Box, Connection, Side, State, Verdict
from reference.cookie import CookieOptions, Tuple
from reference.segment import ACK, CWR, ECE, FIN, MASK, RST, SYN, Options, Segment

SYNACK_AGAIN_MS = (1000, 3000, 7000)  # after the first
HALF_OPEN_MS = 2 * cookie.EPOCH_S * 1000  # then the cookie is no longer valid either
TS_OPTION_BITS = 6  # the low bits of our TSval: window scale (4 bits, 15: none) and ECN
TS_ECN = 0x10
NO_WSCALE = 15
DEFAULT_MSS = 536


Outcome = tuple[Verdict, bytes]  # and the packet as it goes on
DROPPED: Outcome = (Verdict.DROP, b"")


@dataclass(frozen=True)
class Settings:
    """What the operator says: the secret, the first guess of the server's options, window and hold."""

    secret: bytes  # 32 bytes
    server: Options = field(default_factory=lambda: Options(mss=1460, wscale=7, sack_ok=True, timestamps=(0, 0)))
    offered_window: int = 65535
    hold_bytes: int = 65536
    window_zero: bool = False
    routed: bool = True  # a router's hop is taken from the TTL of what we send in the client's name
    ts_offset: int = 0


@dataclass(frozen=True)
class Result:
    """A packet's verdict, its bytes if it goes on, and the packets sent besides: (side, IP packet)."""

    verdict: Verdict
    data: bytes
    sent: tuple[tuple[Side, bytes], ...]


@dataclass(frozen=True)
class Server:
    """What our SYN-ACKs announce for a server: the operator's guess, then what it was seen to answer."""

    mss: int
    wscale: int | None
    sack: bool
    timestamps: bool
    ecn: bool = False
    wscale_before: int | None = None  # announced before
    wscale_since_ms: int | None = None  # None: never another one


@dataclass(frozen=True)
class HalfOpen:
    """A SYN that was answered, and the answer."""

    syn: Segment
    agreed: Agreed
    synack: bytes
    made_ms: int
    tries: int = 0  # SYN-ACKs sent again

    def answers(self, syn: Segment) -> bool:
        """It is the same SYN again. One without ECN is another one: RFC 3168 section 6.1.1.1."""
        same = syn.flow == self.syn.flow and syn.seq == self.syn.seq
        return same and syn.has(ECE | CWR) == self.syn.has(ECE | CWR)

    def expects(self, segment: Segment) -> bool:
        """The segment acknowledges our SYN-ACK."""
        return segment.flow == self.syn.flow and segment.has(ACK) and segment.ack == self.agreed.cookie + 1 & MASK

    def refused_by(self, reset: Segment) -> bool:
        """The client does not want what it was answered."""
        right = reset.seq == self.agreed.isn + 1 & MASK
        return self.expects(reset) or (reset.flow == self.syn.flow and right)


class Known:
    """A connection that the server opened, or that is older than the proxy: it passes untouched."""

    def __init__(self) -> None:
        self._fins: set[Side] = set()
        self._reset = False
        self._answered = False  # the client has spoken
        self._server_next = 0
        self._server_acked = 0
        self._server_window = 0

    @property
    def closed(self) -> bool:
        """Both ends are done with it."""
        return self._reset or len(self._fins) == len(Side)

    def follow(self, side: Side, segment: Segment) -> None:
        """One of its packets passes."""
        if self.closed and segment.has(SYN) and not segment.has(ACK):  # the server uses its port again
            self._fins, self._reset, self._server_acked = set(), False, 0
        if segment.has(FIN):
            self._fins.add(side)
        if side is Side.INSIDE:
            self._server_next = segment.end
            self._server_window = segment.window
            self._server_acked = segment.ack if segment.has(ACK) else self._server_acked
            self._reset |= segment.has(RST)
            return
        self._answered = True
        if segment.has(RST):  # one that the server accepts: with the number it expects, or about its SYN
            accepted = self._server_acked and segment.seq == self._server_acked
            self._reset |= bool(accepted or (segment.has(ACK) and segment.ack == self._server_next))

    def expects(self, syn: Segment) -> bool:
        """The client's SYN repeated while its answer is not confirmed, or one that crosses the server's own."""
        return not self._server_acked or (not self._answered and syn.seq + 1 & MASK == self._server_acked)

    def challenge(self, flow: Tuple) -> bytes:
        """What the server would say to any other SYN: RFC 9293 section 3.10.7.4."""
        seq, ack, window = self._server_next, self._server_acked, self._server_window
        return tcp.make(flow, to_client=True, flags=ACK, seq=seq, ack=ack, window=window)


class Proxy:
    """One connection at a time; others are answered statelessly and go no further."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.half: HalfOpen | None = None
        self.connection: Connection | None = None
        self.known: dict[Tuple, Known] = {}
        self.learned: dict[tuple[str, int], Server] = {}
        self.now_ms = self.epoch = 0
        self._sent: list[tuple[Side, bytes]] = []
        self._box = Box(self._send, settings.offered_window, settings.hold_bytes, settings.window_zero)

    def packet(self, side: Side, data: bytes, now_ms: int, now_s: int) -> Result:
        """One IP packet from a side, at a monotonic and a wall clock."""
        self.now_ms, self.epoch = now_ms, now_s // cookie.EPOCH_S
        segment = tcp.read(data, from_client=side is Side.OUTSIDE)
        verdict, out = (Verdict.PASS, data) if segment is None else self._segment(side, segment, data)
        return Result(verdict, out, self._taken())

    def tick(self, now_ms: int, now_s: int) -> tuple[tuple[Side, bytes], ...]:
        """Repetitions that are due."""
        self.now_ms, self.epoch = now_ms, now_s // cookie.EPOCH_S
        if self.half:
            self._half_open_tick(self.half, now_ms - self.half.made_ms)
        if self.connection:
            self.connection.tick(now_ms)
        self._tidy()
        return self._taken()

    @property
    def remembers(self) -> bool:
        """There is a connection, beyond its handshakes, that a proxy with a clock would forget one day."""
        return bool(self.known) or (self.connection is not None and self.connection.state is not State.SYN_SENT)

    def forget_half_open(self) -> None:
        """As a flood does: from now on the cookie alone must suffice."""
        self.half = None

    def _half_open_tick(self, half: HalfOpen, age_ms: int) -> None:
        if age_ms >= HALF_OPEN_MS:
            self.half = None
        elif half.tries < len(SYNACK_AGAIN_MS) and age_ms >= SYNACK_AGAIN_MS[half.tries]:
            self._send(Side.OUTSIDE, half.synack)
            self.half = replace(half, tries=half.tries + 1)

    def _segment(self, side: Side, segment: Segment, data: bytes) -> Outcome:
        connection = self.connection
        if connection is None or connection.flow != segment.flow:
            return self._without_connection(side, segment, data)
        if connection.state is State.SYN_SENT:
            if side is Side.OUTSIDE:
                connection.early(segment)
            else:
                connection.server_answer(segment)
            self._tidy()
            return DROPPED
        expected = self.half is not None and self.half.expects(segment)
        if connection.gives_way_to(segment, side, expected=expected):
            if side is Side.INSIDE:
                self.connection = None
            return self._without_connection(side, segment, data)
        translated = connection.splice(segment, side)
        return DROPPED if translated is None else (Verdict.REWRITE, translated)

    def _without_connection(self, side: Side, segment: Segment, data: bytes) -> Outcome:
        if known := self.known.get(segment.flow):
            expected = self.half is not None and self.half.expects(segment)
            syn = segment.has(SYN) and not segment.has(ACK)
            if side is Side.OUTSIDE and syn and not known.closed and not known.expects(segment):
                self._send(Side.OUTSIDE, known.challenge(segment.flow))
                return DROPPED
            if not (side is Side.OUTSIDE and known.closed and (syn or expected)):
                known.follow(side, segment)
                return Verdict.PASS, data
        if side is Side.INSIDE:
            return self._from_server(segment, data)
        if segment.has(SYN) and not segment.has(ACK):
            self._answer_syn(segment)
        elif segment.has(ACK) and not segment.has(SYN) and not segment.has(RST):
            self._check_ack(segment)
        elif segment.has(RST) and self.half and self.half.refused_by(segment):
            self.half = None
        return DROPPED

    def _from_server(self, segment: Segment, data: bytes) -> Outcome:
        """Nobody asked. A SYN-ACK is late: we gave up on it, a reset frees the server's entry."""
        if segment.has(SYN | ACK):
            self._send(Side.INSIDE, tcp.make(segment.flow, to_client=False, flags=RST, seq=segment.ack))
            return DROPPED
        if not segment.has(RST):
            self.known[segment.flow] = Known()
            self.known[segment.flow].follow(Side.INSIDE, segment)
        return Verdict.PASS, data

    # The first handshake.

    def _answer_syn(self, syn: Segment) -> None:
        half = self.half
        known = half and half.answers(syn)
        if not (half and known and self.now_ms - half.made_ms < cookie.EPOCH_S * 1000):
            half = self._half_open(syn)
            self.half = half
        self._send(Side.OUTSIDE, half.synack)

    def _half_open(self, syn: Segment) -> HalfOpen:
        server, client = self._server(syn.flow), syn.options
        scaling = client.wscale is not None and server.wscale is not None
        wscale = client.wscale if scaling else None
        sack = client.sack_ok and server.sack
        ecn_offered = syn.has(ECE | CWR)
        ecn = ecn_offered and server.ecn
        bits = CookieOptions(client.mss or DEFAULT_MSS, wscale, sack)
        low = cookie.encode(syn.flow.family, bits, self.epoch)
        isn = cookie.cookie(self.settings.secret, self.epoch, syn.flow, syn.seq, low)
        timestamps = None
        if client.timestamps and server.timestamps:
            clock = self.now_ms + self.settings.ts_offset & MASK >> TS_OPTION_BITS << TS_OPTION_BITS
            tsval = clock | (NO_WSCALE if wscale is None else wscale) | (TS_ECN if ecn else 0)
            timestamps = (tsval, client.timestamps[0])
        synack = tcp.make(
            syn.flow,
            to_client=True,
            flags=SYN | ACK | (ECE if ecn else 0),
            seq=isn,
            ack=syn.seq + 1,
            window=0 if self.settings.window_zero else self.settings.offered_window,
            options=tcp.syn_options(Options(server.mss, server.wscale if scaling else None, sack, timestamps)),
        )
        agreed = Agreed(
            isn=syn.seq,
            cookie=isn,
            mss=client.mss,
            window=syn.window,
            sack=sack,
            ecn=ecn,
            ask_sack=client.sack_ok and not sack,
            ask_ecn=ecn_offered and not ecn,
            # A client that was told no scale sends plain windows: to the server that is a scale of 0.
            wscale=client.wscale if scaling or client.wscale is None else 0,
            wscale_told=(server.wscale or 0) if scaling else 0,
            timestamps=timestamps,
        )
        return HalfOpen(syn, agreed, synack, self.now_ms)

    def _server(self, flow: Tuple) -> Server:
        """The server's options as far as they are known."""
        guess = self.settings.server
        unknown = Server(guess.mss, guess.wscale, guess.sack_ok, guess.timestamps is not None)
        return self.learned.get((flow.server, flow.sport), unknown)

    def _check_ack(self, ack: Segment) -> None:
        """With a valid cookie the connection begins."""
        agreed = self._agreed(ack)
        if agreed is None:
            return
        if self.connection and self.connection.flow != ack.flow:
            return  # one connection at a time
        self.half = None
        self.known.pop(ack.flow, None)
        ttl = ack.ttl - 1 if self.settings.routed and ack.ttl > 1 else ack.ttl
        self.connection = Connection(self._box, ack.flow, agreed, ack, ttl, self.now_ms)

    def _agreed(self, ack: Segment) -> Agreed | None:
        echoed = ack.options.timestamps
        half = self.half
        if half and half.expects(ack):
            # The final ACK itself may be lost: a later segment or a keep-alive proves as much.
            ahead = ack.seq - half.agreed.isn & MASK
            if ahead <= self.settings.offered_window + 1:
                return replace(half.agreed, timestamps=echoed if half.agreed.timestamps else None)
        isn, candidate = ack.seq - 1 & MASK, ack.ack - 1 & MASK
        bits = cookie.check(self.settings.secret, self.epoch, ack.flow, isn, candidate)
        if bits is None:
            return None
        wscale = bits.wscale
        if wscale is not None and echoed:
            # The echoed timestamp has the exact scale; it is believed if it rounds down to what the cookie says.
            exact = echoed[1] & 0xF
            low = cookie.encode(4, CookieOptions(bits.mss, None if exact == NO_WSCALE else exact, bits.sack_ok), 0)
            if cookie.decode(4, low).wscale == wscale:
                wscale = exact
        return Agreed(
            isn=isn,
            cookie=candidate,
            mss=bits.mss,
            window=min(ack.window << (wscale or 0), 0xFFFF),
            sack=bits.sack_ok,
            ecn=bool(echoed and echoed[1] & TS_ECN),
            ask_sack=False,
            ask_ecn=False,
            wscale=wscale,
            wscale_told=0 if wscale is None else self._wscale_told(ack.flow),
            timestamps=echoed,
        )

    def _wscale_told(self, flow: Tuple) -> int:
        """The scale the client was told, when only its cookie is left: if it changed lately, the larger one."""
        server = self._server(flow)
        since_ms = server.wscale_since_ms
        if since_ms is not None and self.now_ms - since_ms < HALF_OPEN_MS:
            return max(server.wscale or 0, server.wscale_before or 0)
        return server.wscale or 0

    # Bookkeeping.

    def _tidy(self) -> None:
        """Learn what a server answered; forget a connection that is gone."""
        connection = self.connection
        if connection is None:
            return
        if connection.synack is not None:
            self._learn(connection.agreed, connection.synack)
            connection.synack = None
        if connection.state is State.GONE:
            self.connection = None

    def _learn(self, asked: Agreed, synack: Segment) -> None:
        """A server says of an option only what it was asked; of the others nothing is learned."""
        before, options = self._server(synack.flow), synack.options
        learned = replace(before, mss=options.mss)
        if asked.wscale is not None and options.wscale != before.wscale:
            learned = replace(learned, wscale=options.wscale, wscale_before=before.wscale, wscale_since_ms=self.now_ms)
        if asked.sack or asked.ask_sack:
            learned = replace(learned, sack=options.sack_ok)
        if asked.timestamps:
            learned = replace(learned, timestamps=options.timestamps is not None)
        if asked.ecn or asked.ask_ecn:
            learned = replace(learned, ecn=synack.has(ECE))
        self.learned[synack.flow.server, synack.flow.sport] = learned

    def _send(self, side: Side, data: bytes) -> None:
        self._sent.append((side, data))

    def _taken(self) -> tuple[tuple[Side, bytes], ...]:
        sent, self._sent = tuple(self._sent), []
        return sent
