"""A client, a server and between them two boxes that must do the same: the data plane and the reference.

Every packet and every tick goes to both; verdicts, packets that go on and packets that are sent are compared byte by
byte. What is legitimately free, and how it is brought into a common form:

- Our timestamps have a random offset in the data plane: it is found out first and given to the reference.
- The data plane sends whole frames where it knows the MACs: the link header is checked and taken off.
- The data plane repeats a SYN-ACK some ticks late: what is sent while the hosts wait is compared as a whole.
- The data plane forgets what is closed, at moments of its own; the reference does not. Waiting ends before that.
- The reference knows one connection: what the data plane sends about other ones (a flood) is left out.

Called by the tests. Must not know: what a test wants to happen.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, replace
from typing import Literal, Unpack

from reference import segment as tcp
from reference.connection import Side, Verdict
from reference.cookie import Tuple
from reference.proxy import Proxy, Settings
from reference.segment import MASK, RST, SYN, Fields, Options, Segment
from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import IPv6

from cext.dataplane import Dataplane, DataplaneConfig, ServiceSpec

SECRET = bytes(range(32))
START_MS, START_S = 1_000, 1_700_000_000
CLIENT_MAC, SERVER_MAC = bytes.fromhex("020000000001"), bytes.fromhex("020000000002")
CLIENT_PORT, SERVER_PORT, CLOCK_PORT = 40000, 80, 81
ADDRESSES = {4: ("198.18.0.7", "198.19.0.10"), 6: ("2001:db8:18::7", "2001:db8:19::10")}
HALF_OPEN = 4  # one set: so many other SYNs surely displace ours
_TICK_MS = 10
_LATE_MS = 100  # the data plane looks at its half-open cache part by part
_FORGETS_AFTER_MS = 9_500  # the data plane, a connection that was reset
_TS_STEP = 64  # our clock's low bits carry options


FULL = Options(mss=1460, wscale=7, sack_ok=True, timestamps=(0, 0))
_SIDES: dict[Side, Literal["outside", "inside"]] = {Side.OUTSIDE: "outside", Side.INSIDE: "inside"}


@dataclass(frozen=True)
class Policy:
    """The service's settings, the same for both boxes."""

    family: int = 4
    routed: bool = False
    window_zero: bool = False
    hold_bytes: int = 32768
    server: Options = FULL


@dataclass
class End:
    """What a host knows of the connection: its own numbers and the other's as far as it has seen them."""

    isn: int
    next: int  # of its own stream
    received: int = 0  # next expected of the other's
    echo: int = 0  # the other's last TSval


class Mismatch(AssertionError):
    """The two boxes did not do the same."""


class Scene:
    """One connection through both boxes. Use as a context; now_ms only grows."""

    def __init__(self, policy: Policy, client_isn: int, server_isn: int) -> None:
        self.policy = policy
        self.flow = Tuple(ADDRESSES[policy.family][0], CLIENT_PORT, ADDRESSES[policy.family][1], SERVER_PORT)
        self.client = End(client_isn, client_isn)
        self.server = End(server_isn, server_isn)
        self.now_ms = START_MS
        self.log: list[str] = []
        self._flooded = 0
        self._patience_ms = _FORGETS_AFTER_MS
        self._engine = Dataplane(
            DataplaneConfig(
                secret=SECRET,
                flows=64,
                half_open=HALF_OPEN,
                hold_per_flow_bytes=policy.hold_bytes,
                hold_total_bytes=1 << 20,
                route_outside=policy.routed,
                route_inside=policy.routed,
            )
        )
        self._engine.set_services([_service(policy), _clock_service(policy)])
        self._reference = Proxy(
            Settings(
                secret=SECRET,
                server=policy.server,
                offered_window=min(65535, policy.hold_bytes),
                hold_bytes=policy.hold_bytes,
                window_zero=policy.window_zero,
                routed=policy.routed,
                ts_offset=self._ts_offset(),
            )
        )

    def __enter__(self) -> Scene:
        return self

    def __exit__(self, *error: object) -> None:
        self._engine.close()

    def from_client(self, ttl: int = 64, **fields: Unpack[Fields]) -> list[Segment]:
        """The client sends; what reached either side, in order."""
        return self._offer(Side.OUTSIDE, tcp.make(self.flow, to_client=False, ttl=ttl, **fields))

    def from_server(self, ttl: int = 64, **fields: Unpack[Fields]) -> list[Segment]:
        """The server sends; what reached either side, in order."""
        return self._offer(Side.INSIDE, tcp.make(self.flow, to_client=True, ttl=ttl, **fields))

    def wait(self, ms: int) -> list[Segment]:
        """Time passes and timers run; what reached either side, in order."""
        if self._reference.remembers:
            ms = min(ms, self._patience_ms)
            self._patience_ms -= ms
        end_ms = self.now_ms + ms
        engine: list[tuple[Side, bytes]] = []
        reference: list[tuple[Side, bytes]] = []
        while self.now_ms < end_ms or (engine != reference and self.now_ms < end_ms + _LATE_MS):
            self.now_ms += _TICK_MS
            engine += self._plain(self._engine.tick(self.now_ms, realtime_s=self._now_s()))
            reference += self._reference.tick(self.now_ms, self._now_s())
        self._compare(f"waited until {self.now_ms} ms", engine, reference)
        return self._deliver(reference)

    def flood(self) -> None:
        """So many other SYNs that nobody can remember ours."""
        self.now_ms += 1  # ours is the oldest now
        for _ in range(HALF_OPEN):
            self._flooded += 1
            other = replace(self.flow, cport=CLIENT_PORT - self._flooded)
            self._engine_packet(Side.OUTSIDE, tcp.make(other, to_client=False, flags=SYN, seq=self._flooded))
        self._reference.forget_half_open()

    # One packet through both boxes.

    def _offer(self, side: Side, data: bytes) -> list[Segment]:
        self.log.append(f"{side.name}: {_summary(data)}")
        self.now_ms += 1
        verdict, goes_on, sent = self._engine_packet(side, data)
        result = self._reference.packet(side, data, self.now_ms, self._now_s())
        if verdict is not result.verdict:
            raise self._mismatch(f"verdict {verdict} of the data plane, {result.verdict} of the reference")
        if verdict is Verdict.REWRITE:
            self._compare("goes on", [(_other(side), goes_on)], [(_other(side), result.data)])
        self._compare("sent", sent, list(result.sent))
        arrived = list(result.sent)
        if verdict is not Verdict.DROP:
            arrived.append((_other(side), result.data))
        return self._deliver(arrived)

    def _engine_packet(self, side: Side, data: bytes) -> tuple[Verdict, bytes, list[tuple[Side, bytes]]]:
        header = self._header(side)
        verdict, frame, sent = self._engine.packet(_SIDES[side], header + data, self.now_ms, realtime_s=self._now_s())
        if frame[: len(header)] != header:
            raise self._mismatch("the link header of a packet that goes on was changed")
        return Verdict[verdict.upper()], frame[len(header) :], self._plain(sent)

    def _header(self, came_in: Side) -> bytes:
        """Link header of a frame that comes in on a side."""
        macs = SERVER_MAC + CLIENT_MAC if came_in is Side.OUTSIDE else CLIENT_MAC + SERVER_MAC
        return macs + (b"\x86\xdd" if self.policy.family == 6 else b"\x08\x00")

    def _plain(self, sent: list[tuple[str, str, bytes]]) -> list[tuple[Side, bytes]]:
        """What the data plane sent about our connection: side and IP packet."""
        plain: list[tuple[Side, bytes]] = []
        for name, layer, data in sent:
            side = Side[name.upper()]
            header = b"" if self.policy.routed else self._header(_other(side))
            if layer != ("l3" if self.policy.routed else "l2") or not data.startswith(header):
                raise self._mismatch(f"sent towards {name} on {layer} with {data[:14].hex()}, not {header.hex()}")
            packet = data[len(header) :]
            segment = tcp.read(packet, from_client=side is Side.INSIDE)
            if segment is not None and segment.flow == self.flow:
                plain.append((side, packet))
        return plain

    def _compare(self, what: str, engine: list[tuple[Side, bytes]], reference: list[tuple[Side, bytes]]) -> None:
        if engine == reference:
            return
        lines = [f"{what}:"]
        for name, packets in (("data plane", engine), ("reference", reference)):
            lines += [f"  {name}: to {side.name}: {_summary(data)} {data.hex()}" for side, data in packets]
        raise self._mismatch("\n".join(lines))

    def _mismatch(self, what: str) -> Mismatch:
        return Mismatch("\n".join([what, f"with {self.policy}, after:", *self.log]))

    def _deliver(self, arrived: list[tuple[Side, bytes]]) -> list[Segment]:
        """Let the hosts see what arrived."""
        segments = []
        for side, data in arrived:
            self.log.append(f"    to {side.name}: {_summary(data)}")
            segment = tcp.read(data, from_client=side is Side.INSIDE)
            if segment is None:
                raise self._mismatch("what arrived is not TCP")
            end = self.client if side is Side.OUTSIDE else self.server
            if not segment.has(RST):
                end.received = segment.end
                if segment.options.timestamps:
                    end.echo = segment.options.timestamps[0]
            segments.append(segment)
        return segments

    def _now_s(self) -> int:
        return START_S + self.now_ms // 1000

    def _ts_offset(self) -> int:
        """Find the data plane's clock offset: SYNs of other flows until its clock makes a step."""
        previous = None
        for tick in range(2 * _TS_STEP):
            other = replace(self.flow, sport=CLOCK_PORT, cport=CLIENT_PORT + tick)
            options = tcp.syn_options(Options(timestamps=(1, 0)))
            syn = tcp.make(other, to_client=False, flags=SYN, seq=0, options=options)
            _, _, sent = self._engine.packet("outside", self._header(Side.OUTSIDE) + syn, tick, realtime_s=START_S)
            answer = tcp.read(sent[0][2][0 if self.policy.routed else 14 :], from_client=False)
            if answer is None or answer.options.timestamps is None:
                raise self._mismatch("the data plane's SYN-ACK has no timestamps")
            reset = tcp.make(other, to_client=False, flags=RST, seq=1)  # so that it is not repeated
            self._engine.packet("outside", self._header(Side.OUTSIDE) + reset, tick, realtime_s=START_S)
            clock = answer.options.timestamps[0] // _TS_STEP * _TS_STEP
            if previous is not None and clock != previous:
                return clock - tick & MASK
            previous = clock
        raise self._mismatch("the data plane's clock stands still")


def _other(side: Side) -> Side:
    return Side.INSIDE if side is Side.OUTSIDE else Side.OUTSIDE


def _summary(data: bytes) -> str:
    packet = IPv6(data) if data[0] >> 4 == 6 else IP(data)
    segment = packet[TCP]
    fields = f"{segment.flags} seq {segment.seq} ack {segment.ack} win {segment.window} {segment.options}"
    return f"{fields} {len(segment.payload)} bytes"


def _service(policy: Policy) -> ServiceSpec:
    address = int.from_bytes(_mapped(ADDRESSES[policy.family][1]), "big")
    return ServiceSpec(
        name="web",
        addresses=((address, address),),
        ports=((SERVER_PORT, SERVER_PORT),),
        window_zero=policy.window_zero,
        mss4=policy.server.mss,
        mss6=policy.server.mss,
        wscale=policy.server.wscale,
        sack=policy.server.sack_ok,
        timestamps=policy.server.timestamps is not None,
    )


def _clock_service(policy: Policy) -> ServiceSpec:
    """A second service, whatever the policy: its SYN-ACKs tell the data plane's clock."""
    return replace(_service(replace(policy, server=FULL)), name="clock", ports=((CLOCK_PORT, CLOCK_PORT),))


def _mapped(text: str) -> bytes:
    address = ipaddress.ip_address(text)
    return address.packed if address.version == 6 else bytes(10) + b"\xff\xff" + address.packed
