"""The table: {packet in, verdict of the programs, packets out}, by name. Scapy makes both ends of it.

Owns the cases and what is given before each. Read by test_cases.py. Must not know how programs are run.

A packet out is the whole frame. What only the box can know (its cookie, its clock) is taken from what it sent; all
else is built here from the numbers of Talk, not with the code under test.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from box.box import ANSWER, Talk, mapped, service, stamps
from box.wire import MASK, Option, Path, fragments, prove, split_link
from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import IPv6
from scapy.packet import Packet

from bpf.kernelbox import Left

if TYPE_CHECKING:
    from bpf.both import Both
    from cext.dataplane import ServiceSpec

_RANGES = ((mapped("198.19.0.0"), mapped("198.19.127.255")), (mapped("2001:db8:19::"), mapped("2001:db8:19::7fff")))
_PARTS = (
    (mapped("198.19.128.0"), mapped("198.19.255.255")),
    (mapped("2001:db8:19::8000"), mapped("2001:db8:19::ffff")),
)
_EXCEPTED = ((mapped("198.18.200.0"), mapped("198.18.200.255")), (mapped("2001:db8:200::"), mapped("2001:db8:200::ff")))
ZERO, PARTS, OFF, TAGGED, TRAP, FREE = 81, 82, 83, 84, 85, 9999  # ports
CROWD = range(20000, 40000, 2)  # each with a service of its own
SERVICES: tuple[ServiceSpec, ...] = (
    service(addresses=_RANGES, ports=((80, 80),)),
    service("zero", addresses=_RANGES, ports=((ZERO, ZERO),), window_zero=True),
    service("parts", addresses=_PARTS, ports=((PARTS, PARTS),), fragments_pass=True),
    service("trap", addresses=_RANGES, ports=((TRAP, TRAP),), trap=True),
    service("off", addresses=_RANGES, ports=((OFF, OFF),), protect=False),
    service("tagged", addresses=_RANGES, ports=((TAGGED, TAGGED),), vids=(10,)),
    *(service(f"one-of-many-{port}", addresses=_RANGES, ports=((port, port),)) for port in CROWD),
    service("friends", addresses=_EXCEPTED, ports=((0, 65535),), protect=False, excepted=True),
)
SCALED = 500 >> 2  # the server's usual window: its scale is 5, the client was told 7
OFFERED = 32768  # hold_per_flow_bytes


@dataclass
class Scene:
    """What a case happens to: two boxes that agree so far, and a connection through both."""

    both: Both
    talk: Talk
    frame: bytes = b""  # the packet in
    left: tuple[Left, ...] = ()  # what it caused

    @property
    def path(self) -> Path:
        return self.talk.path

    def client(self, data: bytes = b"", **fields: Any) -> bytes:  # noqa: ANN401  # as many types as fields
        """A segment of the client, by default its next one."""
        talk = self.talk
        known: dict[str, Any] = {"flags": "PA" if data else "A", "seq": talk.c_next, "ack": talk.s_next_told}
        return self.path.from_client(data=data, **{**known, "window": 500, **fields})

    def server(self, data: bytes = b"", **fields: Any) -> bytes:  # noqa: ANN401
        """A segment of the server, by default its next one, in its own numbers."""
        talk = self.talk
        known: dict[str, Any] = {"flags": "PA" if data else "A", "seq": talk.s_next, "ack": talk.c_next}
        return self.path.from_server(data=data, **{**known, "window": 500, **fields})


Given = Callable[[Scene], None]
In = Callable[[Scene], bytes]
Out = Callable[[Scene], list[Left]]


@dataclass(frozen=True)
class Case:
    """One line of the table."""

    name: str
    packet: In
    verdict: str
    out: Out
    given: Given = lambda _: None
    side: str = "outside"
    families: tuple[int, ...] = (4, 6)
    sport: int = 80


# ---- what is given


def answered(s: Scene) -> None:
    """The client has its SYN-ACK."""
    s.talk.syn()


def remembered_no_more(s: Scene) -> None:
    """The same, and so many SYNs of others that only the cookie is left."""
    s.talk.syn()
    for frame in replace(s.path, cport=0).syns(8):
        s.both.outside(frame)


def handshake(s: Scene) -> None:
    """The server has its SYN."""
    s.talk.syn()
    s.talk.ack()


def opened(s: Scene) -> None:
    """An open connection, both sides with all options."""
    s.talk.open()


def opened_plain(s: Scene) -> None:
    """An open connection to a server without any option: what the client was promised is hidden from it."""
    s.talk.s_options = [("MSS", 1460)]
    s.talk.open()


def learned_plain(s: Scene) -> None:
    """The server is known for having no option but its MSS."""
    earlier = Talk(s.talk.box, replace(s.path, cport=1023), s_options=[("MSS", 1200)])
    earlier.open()


def learned(s: Scene) -> None:
    """The server is known for a scale of 5 and a MSS of 1300."""
    earlier = Talk(s.talk.box, replace(s.path, cport=1023), s_options=[("MSS", 1300), *ANSWER[1:]])
    earlier.open()


def closed(s: Scene) -> None:
    """Both have said FIN and heard that of the other."""
    s.talk.open()
    s.both.outside(s.client(flags="FA"))
    s.talk.c_sent += 1
    s.both.inside(s.server(flags="FA"))
    s.talk.s_sent += 1
    s.both.outside(s.client())


def reset(s: Scene) -> None:
    """The client has reset the connection."""
    s.talk.open()
    s.both.outside(s.client(flags="R", ack=0))


def known(s: Scene) -> None:
    """A connection that was there before the box: the server has been heard."""
    s.both.inside(s.server(b"before", flags="PA"))


# ---- what comes out


def nothing(_: Scene) -> list[Left]:
    return []


def onward(s: Scene) -> list[Left]:
    """Out of the other NIC as it came; by the bridge, which is not ours."""
    return [("inside", s.frame)]


def back(s: Scene) -> list[Left]:
    return [("outside", s.frame)]


def to_server(**fields: Any) -> Out:  # noqa: ANN401
    """The client's segment in the server's numbers."""
    return lambda s: [("inside", s.client(**{"ack": s.talk.s_next, **_given(fields, s)}))]


def to_client(**fields: Any) -> Out:  # noqa: ANN401
    """The server's segment in the numbers the client sees."""
    return lambda s: [("outside", s.server(**{"seq": s.talk.s_next_told, "window": SCALED, **_given(fields, s)}))]


def _given(fields: dict[str, Any], s: Scene) -> dict[str, Any]:
    return {name: value(s) if callable(value) else value for name, value in fields.items()}


def own(s: Scene, *, towards: str, **fields: Any) -> bytes:  # noqa: ANN401
    """A frame that the box makes itself: TTL 64 to the client, the client's own to the server; no identification."""
    talk, path = s.talk, s.path
    ends = (path.server, path.client, path.sport, path.cport)
    src, dst, sport, dport = ends if towards == "outside" else (ends[1], ends[0], ends[3], ends[2])
    ttl = 64 if towards == "outside" or fields.get("flags") == "R" else path.ttl
    if path.family == 4:
        head: Packet = IP(src=src, dst=dst, ttl=ttl, id=0, flags="DF")
    else:
        head = IPv6(src=src, dst=dst, hlim=ttl)
    header = {"seq": 0, "ack": (talk.c_isn + 1) & MASK, "window": 0, "options": [], **fields}
    return path.frame(head / TCP(sport=sport, dport=dport, **header), inside=towards == "outside")


def synack(*names: str, window: int = OFFERED, mss4: int = 1460, mss6: int = 1440, wscale: int = 7) -> Out:
    """The answer to a SYN; its cookie and its timestamp are the box's own."""

    def build(s: Scene) -> list[Left]:
        ((_, frame),) = s.left
        _, _, ethertype, packet = split_link(frame)
        prove(packet)
        answer = (IP(packet) if ethertype == 0x0800 else IPv6(packet))[TCP]
        tsval = dict(answer.options).get("Timestamp", (0, 0))[0]
        values: dict[str, Option] = {
            "MSS": ("MSS", mss4 if s.path.family == 4 else mss6),
            "SAckOK": ("SAckOK", b""),
            "Timestamp": ("Timestamp", (tsval, 7000)),
            "WScale": ("WScale", wscale),
            "NOP": ("NOP", None),
        }
        options = [values[name] for name in names]
        return [("outside", own(s, towards="outside", flags="SA", seq=answer.seq, window=window, options=options))]

    return build


def syn_to_server(*options: Option, window: int = 64240, mss4: int = 1400, mss6: int = 1400) -> Out:
    """The second handshake begins: the client's own numbers and, as far as they are known, options."""

    def build(s: Scene) -> list[Left]:
        first: Option = ("MSS", mss4 if s.path.family == 4 else mss6)
        fields = {"seq": s.talk.c_isn, "ack": 0, "window": window, "options": [first, *options]}
        return [("inside", own(s, towards="inside", flags="S", **fields))]

    return build


# ---- what comes in


def syn(*options: Option, **fields: Any) -> In:  # noqa: ANN401
    return lambda s: s.path.from_client(
        **{"flags": "S", "seq": s.talk.c_isn, "window": 64240, "options": list(options), **fields}
    )


def client(data: bytes = b"", **fields: Any) -> In:  # noqa: ANN401
    return lambda s: s.client(data, **_given(fields, s))


def server(data: bytes = b"", **fields: Any) -> In:  # noqa: ANN401
    return lambda s: s.server(data, **_given(fields, s))


def proof(s: Scene) -> bytes:
    """The ACK that ends the client's handshake."""
    return s.client(ack=(s.talk.isn + 1) & MASK, options=stamps(7000, s.talk.echo))


def cookie_of(epochs_ago: int) -> In:
    """The same for a SYN-ACK that another box with this secret sent so many epochs ago."""

    def build(s: Scene) -> bytes:
        s.talk.isn = s.both.cookie_of_another(s.path, s.talk.c_isn, epochs_ago)
        return s.client(ack=(s.talk.isn + 1) & MASK)

    return build


def extended(headers: Callable[[], Packet], **fields: Any) -> In:  # noqa: ANN401
    """An IPv6 packet of the client with extension headers."""

    def build(s: Scene) -> bytes:
        plain = IPv6(s.path.client_packet(**_given(fields, s)).build())
        packet = IPv6(src=s.path.client, dst=s.path.server, hlim=s.path.ttl) / headers() / plain[TCP]
        del packet[TCP].chksum
        return s.path.frame(packet, inside=False)

    return build


def changed(change: Callable[[Packet], None], **fields: Any) -> In:  # noqa: ANN401
    """A packet of the client with something done to it by hand."""

    def build(s: Scene) -> bytes:
        packet = s.path.client_packet(**{"seq": s.talk.c_isn, **_given(fields, s)})
        change(packet)
        return s.path.frame(packet, inside=False)

    return build


def from_source(address4: str, address6: str, **fields: Any) -> In:  # noqa: ANN401
    return lambda s: replace(s.path, client=address4 if s.path.family == 4 else address6).from_client(**fields)


def to_host(address4: str, address6: str, **fields: Any) -> In:  # noqa: ANN401
    """What a server says to this host."""
    return lambda s: replace(s.path, client=address4 if s.path.family == 4 else address6).from_server(**fields)


def cut_in_two(number: int, first_bytes: int = 24, **fields: Any) -> In:  # noqa: ANN401
    return lambda s: fragments(s.path, s.path.client_packet(data=bytes(64), **fields), first_bytes)[number]


def data_in_two(number: int) -> In:
    """The client's next segment in fragments, as it sends it."""
    return lambda s: fragments(s.path, _in_two(s, s.talk.s_next_told), 40)[number]


def data_in_two_to_server(s: Scene) -> list[Left]:
    """The first of them, with the checksum of the whole translated segment."""
    return [("inside", fragments(s.path, _in_two(s, s.talk.s_next), 40)[0])]


def _in_two(s: Scene, ack: int) -> Packet:
    return s.path.client_packet(flags="PA", seq=s.talk.c_next, ack=ack, data=bytes(64))


def icmp(kind: str, *, inside: bool) -> In:
    """An ICMP error about the connection's last segment in the other direction."""

    def build(s: Scene) -> bytes:
        quoted = (
            s.path.client_packet(flags="A", seq=(s.talk.c_next - 1) & MASK, ack=s.talk.s_next)
            if inside
            else s.path.server_packet(flags="A", seq=(s.talk.s_next_told - 1) & MASK, ack=s.talk.c_next)
        )
        return s.path.icmp(kind, quoted.build()[:64], inside=inside, mtu=1280)

    return build


def icmp_back(s: Scene) -> list[Left]:
    quoted = s.path.client_packet(flags="A", seq=(s.talk.c_next - 1) & MASK, ack=s.talk.s_next_told)
    return [("outside", s.path.icmp("too big", quoted.build()[:64], inside=True, mtu=1280))]


def icmp_onward(s: Scene) -> list[Left]:
    quoted = s.path.server_packet(flags="A", seq=(s.talk.s_next - 1) & MASK, ack=s.talk.c_next)
    return [("inside", s.path.icmp("too big", quoted.build()[:64], inside=False, mtu=1280))]


def network(payload: Callable[[Scene], Packet]) -> In:
    """Something else than TCP, from the client to the server."""

    def build(s: Scene) -> bytes:
        head = IP if s.path.family == 4 else IPv6
        return s.path.frame(head(src=s.path.client, dst=s.path.server) / payload(s), inside=False)

    return build
