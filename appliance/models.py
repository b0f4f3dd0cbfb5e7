"""The configuration, version 1, as frozen models.

Owns the keys, their bounds and their defaults. Built by config.py only; read everywhere. Every number here is bounded,
so that memory is (memory.py). A field's description completes the sentence "... would be right" when it is missing.
The text below each field is what the operator reads of it: `make docs` makes reference, schema and man page of them.
Must not know places in files, nor what is done with a value.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainValidator, model_validator

from appliance.addresses import MAX_PORT, Area, PortRange, merge_addresses
from appliance.errors import WrongValue
from appliance.fields import (
    SOCKET_NAME,
    AbsolutePath,
    Address,
    Addresses,
    DropOrPass,
    Flag,
    GroupName,
    Host,
    HostAddress,
    Interface,
    Ports,
    RuntimeDir,
    ServiceName,
    Vlans,
)
from appliance.values import Rate, choice, duration, rate, size, size_text, whole, window_scale

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
MAX_QUEUE = 65535
MAX_WORKERS = 64
MAX_SERVICES = 16382  # LV_SERVICES_MAX, less the number of none and that of the excepted hosts
MAX_BLOCK_S = 30 * 86400
MAX_LINES_PER_S = 100
LOOPBACK = "lo"  # in mode host the servers are sockets of this machine


def _frozen_services(services: Mapping[str, "Service"]) -> Mapping[str, "Service"]:
    if not services:
        raise WrongValue("is empty", "at least one service")
    if len(services) > MAX_SERVICES:
        right = f"at most {MAX_SERVICES}: a service takes any number of addresses"
        raise WrongValue(f"has {len(services)} services", right)
    return MappingProxyType(dict(services))


def _cores() -> int:
    return min(len(os.sched_getaffinity(0)), MAX_WORKERS)


class Model(BaseModel):
    """Frozen, and strict about keys: what every part of the configuration is."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, arbitrary_types_allowed=True)


class ServerOptions(Model):
    """What the servers of a service are assumed to offer until the first of them has answered.

    `mss` is in bytes of TCP payload over IPv4, and 20 less over IPv6; `wscale` is a shift count, None without scaling.
    With `pin` they hold whatever servers answer, for example where servers behind one address differ: nothing that was
    learned is announced.
    """

    mss: Annotated[int, PlainValidator(whole(88, 65495))] = 1460
    """Largest segment the servers take: bytes of TCP payload over IPv4; over IPv6 20 less are announced."""
    wscale: Annotated[int | None, PlainValidator(window_scale)] = 7
    """Window scale, a shift count; `none`: the servers do no window scaling."""
    sack: Flag = True
    """Whether the servers do selective acknowledgement."""
    timestamps: Flag = True
    """Whether the servers do TCP timestamps."""
    pin: Flag = False
    """`true`: these values hold whatever a server answers, for example where servers behind one address differ."""


class AttackMarks(Model):
    """When an attack begins, and when it is over; with `protect: auto` protection begins and ends with it.

    `high_syns_per_s`: more unfinished SYNs a second begin one (with `protect: auto`: more SYNs, finished or not).
    `high_unfinished_percent`: as does a larger share of unfinished SYNs, among 100 or more in 5 s; 100 for never. It is
    over when both values have been below their low marks for `quiet_s`.
    """

    high_syns_per_s: Annotated[int, PlainValidator(whole(1, 10_000_000))] = 1000
    """More unfinished SYNs a second than this begin an attack; with `protect: auto` all SYNs count, finished or not."""
    low_syns_per_s: Annotated[int, PlainValidator(whole(1, 10_000_000))] = 500
    """The attack is over when fewer than this come for `quiet_s`."""
    high_unfinished_percent: Annotated[int, PlainValidator(whole(1, 100))] = 80
    """A larger share of unfinished SYNs begins an attack, among 100 SYNs or more in 5 s; 100: never."""
    low_unfinished_percent: Annotated[int, PlainValidator(whole(1, 100))] = 50
    """The attack is over when the share is smaller than this for `quiet_s`."""
    quiet_s: Annotated[int, PlainValidator(whole(1, 86400))] = 30
    """So many seconds both values have to be below their low marks."""

    @model_validator(mode="after")
    def _low_is_not_above_high(self) -> Self:
        for name in ("syns_per_s", "unfinished_percent"):
            low, high = getattr(self, f"low_{name}"), getattr(self, f"high_{name}")
            if low > high:
                raise WrongValue(
                    f"low_{name} ({low}) is more than high_{name} ({high})", "a low mark below the high one"
                )
        return self


class SourceLimits(Model):
    """What one source may have of a service: clients that completed a handshake through the box, nobody else.

    A forged packet counts for nobody, and so nobody can use up what is another's. While the service is not protected
    (`protect: auto`, and no attack), connections pass and nothing is limited.
    """

    new_per_s: Annotated[int, PlainValidator(whole(1, 1_000_000))] | None = None
    """Connections that may begin in a second. Default: any number."""
    open: Annotated[int, PlainValidator(whole(1, 1 << 24))] | None = None
    """Connections that may be open at a time. Default: any number."""
    prefix_ipv4: Annotated[int, PlainValidator(whole(1, 32))] = 32
    """So many bits of an IPv4 address are one source."""
    prefix_ipv6: Annotated[int, PlainValidator(whole(1, 128))] = 64
    """The same of an IPv6 address: in a /64 a host can take any address it likes."""
    over: Annotated[Literal["drop", "reset", "block"], PlainValidator(choice("drop", "reset", "block"))] = "drop"
    """What becomes of more. `drop`: TCP repeats it, and the client gets its turn. `reset`: the client is told at once.
    `block`: nothing of the whole source passes for `block_for`, its open connections too.
    """
    block_for: Annotated[int, PlainValidator(duration(1, MAX_BLOCK_S))] = 600
    """For how long a source is blocked, with `over: block`."""

    @property
    def any(self) -> bool:
        """Whether there is a limit."""
        return self.new_per_s is not None or self.open is not None


class Forward(Model):
    """Where the servers of a service really are: on another port, or at another address.

    The servers' own port, or address and port, is closed to clients then. While `forward_to` changes, connections that
    are open through it end.
    """

    port: Annotated[int, PlainValidator(whole(1, 65535))] = Field(description="port: the one its servers listen on")
    """The port that the servers listen on."""
    address: HostAddress | None = None
    """The server's address; without the key, the one that clients use. With `mode: routed` only, and for a service with
    a single address, which the box has to route to the inside, too.
    """


class PacketLog(Model):
    """What of a service is written to the log line by line: at most so many lines, however many packets there are.

    A line names reason, addresses, ports, VLAN and side. How many packets got no line is said, by reason, once in each
    such time; nothing else of an attack makes the log grow.
    """

    refused: Annotated[Rate, PlainValidator(rate(MAX_LINES_PER_S))] | None = None
    """Lines for packets that are refused, and for connections that a server refuses or does not answer. Default:
    none.
    """
    opened: Annotated[Rate, PlainValidator(rate(MAX_LINES_PER_S))] | None = None
    """Lines for connections that the box opens to a server. Default: none. With `protect: auto` only during an attack:
    else connections are not opened by the box.
    """

    @property
    def any(self) -> bool:
        """Whether anything is logged."""
        return self.refused is not None or self.opened is not None


class Service(Model):
    """Addresses and ports that are treated alike.

    With `trap` nobody is served: who completes a handshake is blocked for so long, in seconds.
    """

    addresses: Addresses = Field(description="a list of addresses, prefixes and ranges, for example [192.0.2.0/24]")
    """The servers: addresses, prefixes and ranges of either family. IPv6 is best put in quotes."""
    ports: Ports = Field(description="a list of ports and ranges, for example [80, 8000-8100], or all")
    """The ports they serve, or `all`. No two services may share an address, a port and a VLAN."""
    vlan: Vlans | None = None
    """Only frames with one of these tags; without the key, any frame. Of two tags the outer one is looked at first.
    With `mode: bridge` only.
    """
    protect: Annotated[Literal["always", "auto", "off"], PlainValidator(choice("always", "auto", "off"))] = "always"
    """`always`: every connection is opened through the box. `auto`: only during an attack, else connections are watched
    and pass. `off`: the service is left alone.
    """
    attack: AttackMarks = AttackMarks()
    """When an attack begins, and when it is over."""
    window: Annotated[Literal["real", "zero"], PlainValidator(choice("real", "zero"))] = "real"
    """`real`: clients may send data at once, and the box holds it until the server has answered. `zero`: clients wait
    until the server has answered.
    """
    fragments: DropOrPass = "drop"
    """What becomes of IP fragments: a SYN in pieces cannot be answered."""
    signed: DropOrPass = "pass"
    """SYNs with a TCP-MD5 or TCP-AO signature (BGP, above all), which no box can answer: `pass` sends them to the
    server, at most 50 a second, and the server's signed answer opens the connection.
    """
    forward_to: Forward | None = None
    """Clients are served by another port, or another address, than the one they use; for a service with a single port.
    Not with the bpf engine: `engine: auto` takes nfqueue for it.
    """
    trap: Annotated[int | None, PlainValidator(duration(1, MAX_BLOCK_S))] = None
    """Nobody is served: who completes a handshake is blocked for so long. With `protect: always` only."""
    per_source: SourceLimits = SourceLimits()
    """What one source may have, of those that completed a handshake."""
    log: PacketLog = PacketLog()
    """What is written to the log line by line: at most so many lines, however many packets there are."""
    server: ServerOptions = ServerOptions()
    """What the servers are assumed to offer until one of them has answered."""

    @property
    def targets(self) -> tuple[Area, ...]:
        """What its servers have instead of its addresses and port; nothing if it forwards nothing."""
        if self.forward_to is None:
            return ()
        ports = (PortRange(self.forward_to.port, self.forward_to.port),)
        spans = self.addresses if self.forward_to.address is None else (self.forward_to.address,)
        return tuple(Area(span, ports) for span in spans)

    @property
    def areas(self) -> tuple[Area, ...]:
        """Everything that its packets come from or go to: what clients use, and what its servers have instead."""
        return (*(Area(span, self.ports) for span in self.addresses), *self.targets)


class Limits(Model):
    """What bounds the memory of the data plane: entries of the tables, bytes of early data."""

    flows: Annotated[int, PlainValidator(whole(1024, 1 << 24))] = 262144
    """Open connections. When all are taken, new clients wait: TCP repeats their packets."""
    half_open: Annotated[int, PlainValidator(whole(256, 1 << 22))] = 65536
    """Handshakes remembered with all their options; those beyond are carried by their cookies alone."""
    sources: Annotated[int, PlainValidator(whole(256, 1 << 22))] = 65536
    """Sources whose connections are counted, for services with `per_source`; when all are taken, those with the fewest
    open connections give way.
    """
    hold_per_flow: Annotated[int, PlainValidator(size(2 * KIB, MIB))] = 64 * KIB
    """Early data held for one connection until its server has answered."""
    hold_total: Annotated[int, PlainValidator(size(64 * KIB, 16 * GIB))] = 64 * MIB
    """Early data held for all connections together."""

    @model_validator(mode="after")
    def _one_fits_into_all(self) -> Self:
        if self.hold_per_flow > self.hold_total:
            raise WrongValue(
                f"hold_per_flow ({size_text(self.hold_per_flow)}) is more than hold_total "
                f"({size_text(self.hold_total)})",
                "a total of many times the size per flow",
            )
        return self


class Nfqueue(Model):
    """The kernel's queues: `length` in packets each; what becomes of a packet when one is full or nobody listens.

    Each of the `queues` is a pair, so that a flood of SYNs fills no queue but its own: the first half of the numbers is
    for everything else, the second half for SYNs.
    """

    first_queue: Annotated[int, PlainValidator(whole(0, MAX_QUEUE))] = 0
    """Number of the first queue; there are two for each of `queues`, without gaps."""
    queues: Annotated[int, PlainValidator(whole(1, MAX_WORKERS))] = Field(default_factory=_cores)
    """Worker threads, each with a queue for SYNs and one for everything else. Default: one for each processor."""
    length: Annotated[int, PlainValidator(whole(64, 1 << 20))] = 16384
    """Packets that a queue holds."""
    when_full: DropOrPass = "drop"
    """What becomes of a packet when its queue is full. `pass`: it passes unseen, so a flood of SYNs would too."""
    without_daemon: DropOrPass = "drop"
    """What becomes of packets of services when no daemon runs. `pass`: all pass unseen, and open connections that were
    translated stand still.
    """
    on_stop: Annotated[Literal["remove", "keep"], PlainValidator(choice("remove", "keep"))] = "remove"
    """The rules, when the daemon is stopped; kept, they follow `without_daemon`."""

    @model_validator(mode="after")
    def _last_queue_exists(self) -> Self:
        if self.last_queue > MAX_QUEUE:
            raise WrongValue(
                f"{self.queues} pairs of queues from {self.first_queue} on leave the range 0 to {MAX_QUEUE}",
                f"first_queue: {MAX_QUEUE + 1 - 2 * self.queues} or less",
            )
        return self

    @property
    def last_queue(self) -> int:
        """The number of the last queue; queues are numbered without gaps."""
        return self.first_queue + 2 * self.queues - 1

    @property
    def first_syn_queue(self) -> int:
        """The number of the first queue for SYNs."""
        return self.first_queue + self.queues


class Bpf(Model):
    """The programs in the kernel: where they and their maps are kept, and what they do while no daemon is at work.

    `pin_dir` is a bpf file system, mounted there if need be; by default the folder bpf of runtime_dir. A daemon whose
    heartbeat is late by more than `heartbeat_late_ms` counts as absent: then new connections follow `without_daemon`,
    open ones go on.
    """

    pin_dir: AbsolutePath | None = None
    """Where programs and maps are kept: a bpf file system, mounted there if need be. Default: the folder bpf of
    `runtime_dir`.
    """
    without_daemon: DropOrPass = "drop"
    """What becomes of new connections when no daemon runs; open ones go on in any case."""
    heartbeat_late_ms: Annotated[int, PlainValidator(whole(100, 60000))] = 2000
    """A daemon without a sign of life for so long counts as absent."""
    on_stop: Annotated[Literal["remove", "keep"], PlainValidator(choice("remove", "keep"))] = "keep"
    """The programs, when the daemon is stopped; kept, they follow `without_daemon`."""


class Hook(Model):
    """A program of the operator's, run at the beginning and the end of each attack with the event as JSON on its
    standard input, and ended after `timeout_s`. Its exit code is logged; its output is not kept.
    """

    command: AbsolutePath | None = None
    """The program. Default: none."""
    timeout_s: Annotated[int, PlainValidator(whole(1, 300))] = 10
    """So many seconds it may take; then it is ended."""


class Syslog(Model):
    """A log server that is told of the beginning and the end of each attack, in messages of RFC 5424.

    Over UDP nobody knows what arrived. While the server is away a hundred messages wait; more are left out.
    """

    address: Host | None = None
    """The server's address, reached over the management interface. Default: none, nothing is sent."""
    port: Annotated[int, PlainValidator(whole(1, MAX_PORT))] = 514
    """Its port."""
    transport: Annotated[Literal["udp", "tcp"], PlainValidator(choice("udp", "tcp"))] = "udp"
    """How it listens; with `tcp`, messages are preceded by their length (RFC 6587)."""


class Cookie(Model):
    """Where the secret of the cookies is; boxes with the same secret accept each other's cookies."""

    secret_file: AbsolutePath | None = None
    """Made when missing. Default: the file secret in `state_dir`."""


class Control(Model):
    """Who may use the control socket besides root: names of groups.

    `readers` may ask, by default the group levee runs in; `changers` may change too, by default nobody. The socket file
    belongs to the readers' group, so a changer has to be a member of both.
    """

    readers: GroupName | None = None
    """Members may ask (`levee status`). Default: the group levee runs in."""
    changers: GroupName | None = None
    """Members may change too, if they are readers as well. Default: nobody but root."""


class Config(Model):
    """The whole file."""

    version: Annotated[Literal[1], PlainValidator(whole(1, 1))] = Field(description="version: 1")
    """The version of this format."""
    mode: Annotated[Literal["bridge", "routed", "host"], PlainValidator(choice("bridge", "routed", "host"))] = "bridge"
    """`bridge`: a bump in the wire without an address. `routed`: a gateway. `host`: protects sockets of its own
    machine.
    """
    engine: Annotated[Literal["auto", "bpf", "nfqueue"], PlainValidator(choice("auto", "bpf", "nfqueue"))] = "auto"
    """What looks at the packets. `auto`: bpf where mode, kernel and interfaces allow it, else nfqueue; `levee status`
    says which and why.
    """
    outside: Interface = Field(description="the interface towards the clients")
    """The interface towards the clients."""
    inside: Interface = LOOPBACK  # mode host only; else it has to be named
    """The interface towards the servers; needed with `mode: bridge` and `routed`, and refused with `mode: host`."""
    bridge: Interface | None = None
    """The bridge that has both interfaces as ports; needed with `mode: bridge`, and refused elsewhere."""
    services: Annotated[Mapping[ServiceName, Service], AfterValidator(_frozen_services)] = Field(
        description="at least one service"
    )
    """What is protected. A name is your choice: it appears in status, log and metrics."""
    excepted: Annotated[tuple[Address, ...], AfterValidator(merge_addresses)] = Field((), alias="except")
    """Hosts, on either side, whose packets are never touched."""
    limits: Limits = Limits()
    """What bounds the memory of the data plane."""
    nfqueue: Nfqueue = Field(default_factory=Nfqueue)
    """The queues of the nfqueue engine."""
    bpf: Bpf = Bpf()
    """The programs of the bpf engine. With `mode: bridge` only."""
    cookie: Cookie = Cookie()
    """The secret of the cookies; boxes with the same secret accept each other's cookies."""
    on_attack: Hook = Hook()
    """A program of yours that is told of each attack."""
    syslog: Syslog = Syslog()
    """A log server that is told of each attack."""
    control: Control = Control()
    """Who may use the control socket besides root."""
    runtime_dir: RuntimeDir = Path("/run/levee")
    """Control socket, flows, programs: what does not outlive a boot."""
    state_dir: AbsolutePath = Path("/var/lib/levee")
    """Secret, learned servers, events, history: what does."""

    @property
    def forwards(self) -> bool:
        """Whether any service has `forward_to`."""
        return any(service.forward_to is not None for service in self.services.values())

    @property
    def secret_file(self) -> Path:
        """The file of the cookie secret: as configured, else in state_dir."""
        return self.cookie.secret_file or self.state_dir / "secret"

    @property
    def pin_dir(self) -> Path:
        """Where programs and maps are kept: as configured, else in runtime_dir."""
        return self.bpf.pin_dir or self.runtime_dir / "bpf"

    @property
    def socket(self) -> Path:
        """The control socket."""
        return self.runtime_dir / SOCKET_NAME
