"""What a client, a server and the time may do in a conversation: values that Hypothesis draws, and how they are played.

A move is relative to what the hosts know at that moment, so that any list of moves is a conversation: mostly a sensible
one, with repetitions, gaps, stale numbers, resets and floods anywhere in it.

Called by the tests. Must not know: what the boxes answer.
"""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import strategies as st
from reference import segment as tcp
from reference.segment import ACK, CWR, ECE, FIN, MASK, PSH, RST, SYN, URG, OptionList, Options

from differential.scene import Policy, Scene

MSS = (0, 216, 536, 1220, 1360, 1440, 1452, 1460, 8960)
# Shifts of a sequence or acknowledgement number: in order, repeated, a keep-alive, a gap, far off.
SHIFTS = (0, 0, 0, 0, 0, -1, 1, -100, 100, -1400, 1400, 65535, -65536, 1 << 20, 1 << 31)
CLOCK = 0x01000000  # a host's TSval is this plus the time in ms


@dataclass(frozen=True)
class ClientSyn:
    """A SYN: with the ISN of before or one of its own, as a client that starts anew."""

    options: Options
    window: int
    ecn: bool
    step: int  # added to the ISN

    def play(self, scene: Scene) -> None:
        end = scene.client
        end.isn = end.isn + self.step & MASK
        end.next = end.isn + 1 & MASK
        stamps = (CLOCK + scene.now_ms, 0) if self.options.timestamps else None
        options = Options(self.options.mss, self.options.wscale, self.options.sack_ok, stamps)
        flags = SYN | (ECE | CWR if self.ecn else 0)
        scene.from_client(flags=flags, seq=end.isn, window=self.window, options=tcp.syn_options(options))


@dataclass(frozen=True)
class ServerSynAck:
    """The server's answer to the SYN it saw last, or a repetition of it."""

    options: Options
    window: int
    ecn: bool
    ack_shift: int

    def play(self, scene: Scene) -> None:
        end = scene.server
        end.next = end.isn + 1 & MASK
        stamps = (CLOCK // 2 + scene.now_ms, end.echo) if self.options.timestamps else None
        options = Options(self.options.mss, self.options.wscale, self.options.sack_ok, stamps)
        flags = SYN | ACK | (ECE if self.ecn else 0)
        ack = end.received + self.ack_shift & MASK
        scene.from_server(flags=flags, seq=end.isn, ack=ack, window=self.window, options=tcp.syn_options(options))


@dataclass(frozen=True)
class Talk:
    """A segment of either host that is no SYN."""

    client: bool
    flags: int
    payload: int  # bytes
    seq_shift: int
    ack_shift: int
    window: int
    stamps: bool
    ecn: int  # of the IP header
    sack: tuple[int, ...]  # left edges, relative to the ACK; blocks of 100 bytes

    def play(self, scene: Scene) -> None:
        end = scene.client if self.client else scene.server
        seq, ack = end.next + self.seq_shift & MASK, end.received + self.ack_shift & MASK
        data = bytes((seq + at) & 0xFF for at in range(self.payload))
        if self.seq_shift == 0 and not self.flags & RST:
            end.next = seq + len(data) + bool(self.flags & FIN) & MASK
        clock = CLOCK if self.client else CLOCK // 2
        options: OptionList = tcp.timestamp_options((clock + scene.now_ms, end.echo) if self.stamps else None)
        if self.sack:
            edges = tuple(ack + left + width & MASK for left in self.sack for width in (0, 100))
            options += [("NOP", None), ("NOP", None), ("SAck", edges)]
        send = scene.from_client if self.client else scene.from_server
        send(flags=self.flags, seq=seq, ack=ack, window=self.window, options=options, payload=data, ecn=self.ecn)


@dataclass(frozen=True)
class Wait:
    """Nothing is sent for a while."""

    ms: int

    def play(self, scene: Scene) -> None:
        scene.wait(self.ms)


@dataclass(frozen=True)
class Flood:
    """Other SYNs displace what was remembered of ours."""

    def play(self, scene: Scene) -> None:
        scene.flood()


Move = ClientSyn | ServerSynAck | Talk | Wait | Flood

numbers = st.integers(0, MASK) | st.integers(MASK - 3000, MASK)
windows = st.integers(0, 0xFFFF) | st.sampled_from((0, 1, 0xFFFF))
shifts = st.sampled_from(SHIFTS)
syn_options = st.builds(
    Options,
    mss=st.sampled_from(MSS),
    wscale=st.none() | st.integers(0, 14),
    sack_ok=st.booleans(),
    timestamps=st.sampled_from((None, (0, 0))),
)
policies = st.builds(
    Policy,
    family=st.sampled_from((4, 6)),
    routed=st.booleans(),
    window_zero=st.booleans(),
    hold_bytes=st.sampled_from((1, 2000, 3000, 32768)),
    server=syn_options.filter(lambda options: options.mss != 0),
)
client_syns = st.builds(ClientSyn, syn_options, windows, st.booleans(), st.sampled_from((0, 0, 0, 1, 100_000, 1 << 31)))
server_synacks = st.builds(ServerSynAck, syn_options, windows, st.booleans(), st.sampled_from((0, 0, 0, 0, 1, -1)))
talks = st.builds(
    Talk,
    client=st.booleans(),
    flags=st.sampled_from((ACK,) * 6 + (ACK | PSH, ACK | FIN, ACK | FIN, RST, RST | ACK, ACK | URG, ACK | ECE)),
    payload=st.sampled_from((0, 0, 0, 1, 100, 1400)),
    seq_shift=shifts,
    ack_shift=shifts,
    window=windows,
    stamps=st.booleans(),
    ecn=st.sampled_from((0, 0, 1, 2, 3)),
    sack=st.lists(st.integers(0, 100_000), max_size=3).map(tuple) | st.just(()),
)
floods = st.builds(Flood)
moves: st.SearchStrategy[Move] = st.one_of(
    talks, talks, talks, client_syns, server_synacks, st.builds(Wait, st.sampled_from((10, 1000, 2500, 40_000))),
    floods,
)  # fmt: skip
final_acks = st.builds(
    Talk, client=st.just(True), flags=st.sampled_from((ACK, ACK | PSH, ACK | FIN)), payload=st.sampled_from((0, 100)),
    seq_shift=st.just(0), ack_shift=st.just(0), window=windows, stamps=st.booleans(), ecn=st.just(0), sack=st.just(()),
)  # fmt: skip
right_synacks = st.builds(ServerSynAck, syn_options, windows, st.booleans(), st.just(0))


@st.composite
def conversations(draw: st.DrawFn) -> list[Move]:
    """A start that gets somewhere, then anything, twice: the second connection meets what was learned in the first."""
    opening: list[tuple[st.SearchStrategy[Move], int]] = [
        (client_syns, 9), (floods, 3), (final_acks, 9), (right_synacks, 9)
    ]  # fmt: skip
    played: list[Move] = []
    for _ in range(draw(st.integers(1, 2))):
        for step, tenths in opening:
            if draw(st.integers(1, 10)) <= tenths:
                played.append(draw(step))
            if draw(st.integers(1, 10)) <= 2:
                played += draw(st.lists(moves, max_size=2))
        played += draw(st.lists(moves, max_size=12))
    return played
