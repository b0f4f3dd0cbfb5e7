"""A box with one service, and a connection through it, one step a call.

Owns: Box (a Dataplane and its clock) and Talk (a client and a server that know their numbers). Called by the tests of
the data plane. Every packet that leaves the box is proved sound on its way out (wire.py).
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Self, Unpack

from box.wire import CLIENT_MAC, MASK, SERVER_MAC, V4, Header, Option, Path, Seg, segment
from cext.dataplane import Dataplane, DataplaneConfig, ServiceSpec
from cext.wire import EPOCH_S

if TYPE_CHECKING:
    from cext.dataplane import Counters

SECRET = bytes(range(32))
START_MS, START_S = 1_000_000, 1_700_000_000
CLIENT_ISN, SERVER_ISN = 0xFFFFFFF0, 0x7FFFFFF8  # both wrap soon
FULL: list[Option] = [("MSS", 1400), ("SAckOK", b""), ("Timestamp", (7000, 0)), ("NOP", None), ("WScale", 9)]
ANSWER: list[Option] = [("MSS", 1460), ("SAckOK", b""), ("Timestamp", (900, 7000)), ("NOP", None), ("WScale", 5)]
BRIDGE, ROUTED, BLIND = ("l2", "l2"), ("l2", "l3"), ("l3", "l3")
_FLOOD_SYNS = 8  # twice what half_open=4 can remember


def mapped(address: str) -> int:
    """An address as services have it: 128 bits, IPv4 mapped."""
    ip = ipaddress.ip_address(address)
    return int(ip) if ip.version == 6 else 0xFFFF << 32 | int(ip)


def service(name: str = "web", **changes: object) -> ServiceSpec:
    """A service for both families of wire.py's servers."""
    addresses = (
        (mapped("198.19.0.0"), mapped("198.19.0.255")),
        (mapped("2001:db8:19::"), mapped("2001:db8:19::ff")),
    )
    spec = ServiceSpec(name=name, addresses=addresses, ports=((80, 443),))
    return replace(spec, **changes)  # type: ignore[arg-type]  # names are checked by the frozen dataclass


@dataclass(frozen=True)
class Result:
    """What one packet caused. verdict: "drop", "pass" or "rewrite"; frame: as it goes on."""

    verdict: str
    frame: bytes
    sent: list[Seg]

    @property
    def forwarded(self) -> Seg:
        """The packet as it goes on, translated."""
        assert self.verdict == "rewrite"
        return segment("", "forward", self.frame)


class Box:
    """A Dataplane, its services and its clock.

    layers: on which it sends towards ("outside", "inside"): "l2" frames, "l3" to be routed. BRIDGE, ROUTED (a client's
    MACs are known, the way to a server is not) or BLIND (no MACs at all).
    """

    def __init__(self, *services: ServiceSpec, layers: tuple[str, str] = BRIDGE, **config: object) -> None:
        values = {"secret": SECRET, "flows": 64, "half_open": 64, "hold_total_bytes": 1 << 20, **config}
        if layers != BRIDGE:
            values["route_inside"] = True
        self.layers = layers
        self.now_ms, self.now_s = START_MS, START_S
        self.plane = Dataplane(DataplaneConfig(**values))  # type: ignore[arg-type]  # as above
        self.plane.set_services(services or (service(),))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        self.plane.close()

    def offer(self, side: Literal["outside", "inside"], frame: bytes, worker: int = 0) -> Result:
        """One frame into the box."""
        verdict, after, sent = self.plane.packet(
            side, frame, self.now_ms, realtime_s=self.now_s, worker=worker, has_l2=self.layers[0] == "l2"
        )
        if verdict == "pass":
            assert after == frame, f"the bytes of a packet with verdict {verdict} were changed"
        return Result(verdict, after, [segment(*one) for one in sent])

    def outside(self, frame: bytes, worker: int = 0) -> Result:
        return self.offer("outside", frame, worker)

    def inside(self, frame: bytes, worker: int = 0) -> Result:
        return self.offer("inside", frame, worker)

    def outlast_cookies(self) -> None:
        """Until no cookie is out. (The clock of a test jumps from the machine's at its first packet.)"""
        for _ in range(3):
            self.tick()
            self.now_s += EPOCH_S

    def tick(self, worker: int = 0) -> list[Seg]:
        """Timers at the present moment."""
        return [segment(*one) for one in self.plane.tick(self.now_ms, realtime_s=self.now_s, worker=worker)]

    def wait(self, ms: int, step_ms: int = 10) -> list[Seg]:
        """Time passes, with a tick after each step; what the box sent."""
        sent = []
        for _ in range(ms // step_ms):
            self.now_ms += step_ms
            sent += self.tick()
        return sent

    def pass_seconds(self, seconds: float) -> None:
        """Time passes without ticks; then the whole table is swept, twice."""
        self.now_ms += round(seconds * 1000)
        for _ in range(410):
            self.now_ms += 10
            self.tick()

    @property
    def counts(self) -> Counters:
        """Of everything."""
        return self.plane.counters()["total"]

    def drops(self) -> dict[str, int]:
        """Reasons that were counted."""
        return {name: n for name, n in self.counts["drops"].items() if n}

    def events(self) -> dict[str, int]:
        """Events that were counted."""
        return {name: n for name, n in self.counts["events"].items() if n}

    def states(self) -> list[str]:
        """States of the connections known."""
        return [flow["state"] for flow in self.plane.flows(1000)]


@dataclass
class Talk:
    """One connection: the numbers of both ends, each as that end sees them."""

    box: Box
    path: Path = V4
    c_options: list[Option] = field(default_factory=lambda: list(FULL))
    s_options: list[Option] = field(default_factory=lambda: list(ANSWER))
    c_isn: int = CLIENT_ISN
    s_isn: int = SERVER_ISN
    s_window: int = 64000
    isn: int = 0  # the box's
    c_sent: int = 0  # bytes (and FIN) after the ISN
    s_sent: int = 0
    tsval: int = 7000  # client's
    echo: int = 0  # what the client got last

    @property
    def delta(self) -> int:
        """The client sees the server's numbers plus this."""
        return (self.isn - self.s_isn) & MASK

    @property
    def c_next(self) -> int:
        return (self.c_isn + 1 + self.c_sent) & MASK

    @property
    def s_next(self) -> int:
        """In the server's numbers."""
        return (self.s_isn + 1 + self.s_sent) & MASK

    @property
    def s_next_told(self) -> int:
        """The same in the numbers the client sees."""
        return (self.s_next + self.delta) & MASK

    # -- the three steps

    def syn(self, **fields: Unpack[Header]) -> Seg:
        """SYN in; the one SYN-ACK that answers it."""
        fields = {"flags": "S", "seq": self.c_isn, "window": 64240, "options": self.c_options, **fields}
        result = self.box.outside(self.path.from_client(**fields))
        (answer,) = result.sent
        assert result.verdict == "drop"
        assert (answer.side, answer.flags[:2], answer.ack) == ("outside", "SA", (self.c_isn + 1) & MASK)
        self.check(answer)
        self.isn = answer.seq
        times = answer.option("Timestamp")
        self.echo = times[0] if times else 0
        return answer

    def ack(self, data: bytes = b"", **fields: Unpack[Header]) -> list[Seg]:
        """The client's ACK (and data); what the box sent."""
        return self.client(data, **fields).sent

    def synack(self, **fields: Unpack[Header]) -> list[Seg]:
        """The server's SYN-ACK; what the box sent."""
        answer: Header = {
            "flags": "SA",
            "seq": self.s_isn,
            "ack": (self.c_isn + 1) & MASK,
            "window": self.s_window,
            "options": self.s_options,
            **fields,
        }
        return self.server(**answer).sent

    def open(self, data: bytes = b"") -> list[Seg]:
        """All three; the packets that the server got after its SYN-ACK."""
        self.syn()
        (syn,) = self.ack(data)
        assert syn.flags == "S"
        self.c_sent += len(data)
        return self.synack()

    # -- afterwards

    def client(self, data: bytes = b"", **fields: Unpack[Header]) -> Result:
        """A segment of the client, by default the next one; its numbers do not move by themselves."""
        if self.echo and "options" not in fields:
            fields["options"] = stamps(self.tsval, self.echo)
        fields = {"flags": "PA" if data else "A", "seq": self.c_next, "ack": self.s_next_told, "window": 500, **fields}
        return self.box.outside(self.path.from_client(data=data, **fields))

    def server(self, data: bytes = b"", **fields: Unpack[Header]) -> Result:
        """A segment of the server, by default the next one."""
        fields = {"flags": "PA" if data else "A", "seq": self.s_next, "ack": self.c_next, "window": 500, **fields}
        return self.box.inside(self.path.from_server(data=data, **fields))

    def check(self, one: Seg) -> None:
        """Addresses, link and direction of a packet of this connection that the box made itself."""
        to_client = one.side == "outside"
        path = self.path
        ends = (path.server, path.sport, path.client, path.cport)
        assert (one.src, one.sport, one.dst, one.dport) == (ends if to_client else ends[2:] + ends[:2])
        layer = self.box.layers[not to_client]
        assert one.layer == layer
        if layer == "l3":
            assert (one.macs, one.tags) == (None, ())
        else:
            macs = (SERVER_MAC, CLIENT_MAC) if to_client else (CLIENT_MAC, SERVER_MAC)
            assert (one.macs, one.tags) == (macs, path.tags)
        assert one.ttl == (64 if to_client else path.ttl - (layer == "l3"))

    def flood(self) -> None:
        """So many SYNs of others that a half-open cache of 4 forgets this one."""
        self.box.now_ms += 1
        for frame in self.path.syns(_FLOOD_SYNS):
            self.box.plane.packet("outside", frame, self.box.now_ms, realtime_s=self.box.now_s)


def stamps(tsval: int, tsecr: int) -> list[Option]:
    """The timestamp option as stacks send it."""
    return [("NOP", None), ("NOP", None), ("Timestamp", (tsval, tsecr))]
