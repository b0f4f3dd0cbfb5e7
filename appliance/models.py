"""The configuration, version 1, as frozen models.

Owns the keys, their bounds and their defaults. Built by config.py only; read everywhere. Every number here is bounded,
so that memory is (memory.py). A field's description completes the sentence "... would be right" when it is missing.
Must not know places in files, nor what is done with a value.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    model_validator,
)

from appliance.addresses import (
    ALL_PORTS,
    AddressRange,
    PortRange,
    merge_addresses,
    merge_ports,
    parse_addresses,
    parse_ports,
)
from appliance.errors import WrongValue, shown
from appliance.values import (
    absolute_path,
    choice,
    duration,
    flag,
    group_name,
    interface,
    service_name,
    size,
    size_text,
    whole,
    window_scale,
)

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
MAX_QUEUE = 65535
MAX_WORKERS = 64
MAX_SERVICES = 16382  # LV_SERVICES_MAX, less the number of none and that of the excepted hosts
MAX_ITEMS = 65536
MAX_TRAP_S = 30 * 86400
SOCKET_NAME = "control.sock"
LOOPBACK = "lo"  # in mode host the servers are sockets of this machine
MAX_SOCKET_BYTES = 107  # sun_path without its end mark, unix(7)


def _address(value: object) -> AddressRange:
    if isinstance(value, str):
        return parse_addresses(value)
    quotes = ", in quotes" if isinstance(value, dict | tuple) else ""
    right = f"an address like 192.0.2.1 or 2001:db8::1{quotes}"
    raise WrongValue(f"{shown(value)} is not an address", right)


def _ports(value: object) -> object:
    if value == "all":
        return (str(ALL_PORTS),)
    if isinstance(value, int | str) and not isinstance(value, bool):
        ports = parse_ports(value)  # a mistake in the port itself comes first
        raise WrongValue(f"{ports} is not a list", f"[{ports}], or all")
    return value


def _vlans(value: object) -> object:
    return value if isinstance(value, tuple) else (value,)


def _many(items: tuple[Any, ...]) -> tuple[Any, ...]:
    if not items:
        raise WrongValue("is an empty list", "at least one entry")
    if len(items) > MAX_ITEMS:
        right = f"at most {MAX_ITEMS}, joined to prefixes or ranges"
        raise WrongValue(f"has {len(items)} entries", right)
    return items


def _frozen_services(services: Mapping[str, "Service"]) -> Mapping[str, "Service"]:
    if not services:
        raise WrongValue("is empty", "at least one service")
    if len(services) > MAX_SERVICES:
        right = f"at most {MAX_SERVICES}: a service takes any number of addresses"
        raise WrongValue(f"has {len(services)} services", right)
    return MappingProxyType(dict(services))


def _runtime_dir(value: object) -> Path:
    path = absolute_path(value)
    if len(bytes(path / SOCKET_NAME)) > MAX_SOCKET_BYTES:
        right = f"a path of at most {MAX_SOCKET_BYTES - len(SOCKET_NAME) - 1} bytes"
        raise WrongValue(f"{shown(value)} is too long to hold a socket", right)
    return path


def _cores() -> int:
    return min(len(os.sched_getaffinity(0)), MAX_WORKERS)


Flag = Annotated[bool, PlainValidator(flag)]
Interface = Annotated[str, PlainValidator(interface)]
ServiceName = Annotated[str, PlainValidator(service_name)]
GroupName = Annotated[str, PlainValidator(group_name)]
Address = Annotated[AddressRange, PlainValidator(_address)]
Port = Annotated[PortRange, PlainValidator(parse_ports)]
Vlan = Annotated[int, PlainValidator(whole(1, 4094))]
AbsolutePath = Annotated[Path, PlainValidator(absolute_path)]
RuntimeDir = Annotated[Path, PlainValidator(_runtime_dir)]
DropOrPass = Annotated[Literal["drop", "pass"], PlainValidator(choice("drop", "pass"))]


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
    wscale: Annotated[int | None, PlainValidator(window_scale)] = 7
    sack: Flag = True
    timestamps: Flag = True
    pin: Flag = False


class AttackMarks(Model):
    """When an attack begins, and when it is over; with `protect: auto` protection begins and ends with it.

    `high_syns_per_s`: more unfinished SYNs a second begin one (with `protect: auto`: more SYNs, finished or not).
    `high_unfinished_percent`: as does a larger share of unfinished SYNs, among 100 or more in 5 s; 100 for never. It is
    over when both values have been below their low marks for `quiet_s`.
    """

    high_syns_per_s: Annotated[int, PlainValidator(whole(1, 10_000_000))] = 1000
    low_syns_per_s: Annotated[int, PlainValidator(whole(1, 10_000_000))] = 500
    high_unfinished_percent: Annotated[int, PlainValidator(whole(1, 100))] = 80
    low_unfinished_percent: Annotated[int, PlainValidator(whole(1, 100))] = 50
    quiet_s: Annotated[int, PlainValidator(whole(1, 86400))] = 30

    @model_validator(mode="after")
    def _low_is_not_above_high(self) -> Self:
        for name in ("syns_per_s", "unfinished_percent"):
            low, high = getattr(self, f"low_{name}"), getattr(self, f"high_{name}")
            if low > high:
                raise WrongValue(
                    f"low_{name} ({low}) is more than high_{name} ({high})", "a low mark below the high one"
                )
        return self


class Service(Model):
    """Addresses and ports that are treated alike.

    With `trap` nobody is served: who completes a handshake is blocked for so long, in seconds.
    """

    addresses: Annotated[tuple[Address, ...], AfterValidator(_many)] = Field(
        description="a list of addresses, prefixes and ranges, for example [192.0.2.0/24]"
    )
    ports: Annotated[tuple[Port, ...], BeforeValidator(_ports), AfterValidator(_many), AfterValidator(merge_ports)] = (
        Field(description="a list of ports and ranges, for example [80, 8000-8100], or all")
    )
    vlan: Annotated[tuple[Vlan, ...], BeforeValidator(_vlans), AfterValidator(_many)] | None = None
    protect: Annotated[Literal["always", "auto", "off"], PlainValidator(choice("always", "auto", "off"))] = "always"
    attack: AttackMarks = AttackMarks()
    window: Annotated[Literal["real", "zero"], PlainValidator(choice("real", "zero"))] = "real"
    fragments: DropOrPass = "drop"
    trap: Annotated[int | None, PlainValidator(duration(1, MAX_TRAP_S))] = None
    server: ServerOptions = ServerOptions()


class Limits(Model):
    """What bounds the memory of the data plane: entries of the tables, bytes of early data."""

    flows: Annotated[int, PlainValidator(whole(1024, 1 << 24))] = 262144
    half_open: Annotated[int, PlainValidator(whole(256, 1 << 22))] = 65536
    hold_per_flow: Annotated[int, PlainValidator(size(2 * KIB, MIB))] = 64 * KIB
    hold_total: Annotated[int, PlainValidator(size(64 * KIB, 16 * GIB))] = 64 * MIB

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
    queues: Annotated[int, PlainValidator(whole(1, MAX_WORKERS))] = Field(default_factory=_cores)
    length: Annotated[int, PlainValidator(whole(64, 1 << 20))] = 16384
    when_full: DropOrPass = "drop"
    without_daemon: DropOrPass = "drop"
    on_stop: Annotated[Literal["remove", "keep"], PlainValidator(choice("remove", "keep"))] = "remove"

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
    without_daemon: DropOrPass = "drop"
    heartbeat_late_ms: Annotated[int, PlainValidator(whole(100, 60000))] = 2000
    on_stop: Annotated[Literal["remove", "keep"], PlainValidator(choice("remove", "keep"))] = "keep"


class Hook(Model):
    """A program of the operator's, run at the beginning and the end of each attack with the event as JSON on its
    standard input, and ended after `timeout_s`. Its exit code is logged; its output is not kept.
    """

    command: AbsolutePath | None = None
    timeout_s: Annotated[int, PlainValidator(whole(1, 300))] = 10


class Cookie(Model):
    """Where the secret of the cookies is; boxes with the same secret accept each other's cookies."""

    secret_file: AbsolutePath | None = None


class Control(Model):
    """Who may use the control socket besides root: names of groups.

    `readers` may ask, by default the group levee runs in; `changers` may change too, by default nobody. The socket file
    belongs to the readers' group, so a changer has to be a member of both.
    """

    readers: GroupName | None = None
    changers: GroupName | None = None


class Config(Model):
    """The whole file."""

    version: Annotated[Literal[1], PlainValidator(whole(1, 1))] = Field(description="version: 1")
    mode: Annotated[Literal["bridge", "routed", "host"], PlainValidator(choice("bridge", "routed", "host"))] = "bridge"
    engine: Annotated[Literal["auto", "bpf", "nfqueue"], PlainValidator(choice("auto", "bpf", "nfqueue"))] = "auto"
    outside: Interface = Field(description="the interface towards the clients")
    inside: Interface = LOOPBACK  # mode host only; else it has to be named
    bridge: Interface | None = None
    services: Annotated[Mapping[ServiceName, Service], AfterValidator(_frozen_services)] = Field(
        description="at least one service"
    )
    excepted: Annotated[tuple[Address, ...], AfterValidator(merge_addresses)] = Field((), alias="except")
    limits: Limits = Limits()
    nfqueue: Nfqueue = Field(default_factory=Nfqueue)
    bpf: Bpf = Bpf()
    cookie: Cookie = Cookie()
    on_attack: Hook = Hook()
    control: Control = Control()
    runtime_dir: RuntimeDir = Path("/run/levee")
    state_dir: AbsolutePath = Path("/var/lib/levee")

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
