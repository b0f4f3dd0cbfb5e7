"""Addresses, links, routes and sysctls of the lab, as a plan and as the commands that carry it out.

plan() is a pure function of mode and names: it returns the commands in order. build() runs them,
demolish() removes what they made. Called by lab.py and the fixtures. Knows nothing of the
appliance: without one the lab simply forwards.
"""

from __future__ import annotations

import enum
import time
from collections.abc import Iterator
from dataclasses import dataclass

from netlab import netns
from netlab.names import (
    BRIDGE,
    CLIENT_MAC,
    END_INTERFACE,
    INSIDE,
    INSIDE_MAC,
    OUTSIDE,
    OUTSIDE_MAC,
    SERVER_MAC,
    Names,
)
from netlab.process import LabError, run

HOSTS_PER_SIDE = 250
REACHABLE_LIMIT_S = 10.0


class Mode(enum.StrEnum):
    BRIDGE = "bridge"
    ROUTED = "routed"
    HOST = "host"


@dataclass(frozen=True)
class End:
    """One end of the lab: its own addresses and how it reaches the other end."""

    v4_network: str  # first two bytes, e.g. "198.18"
    v4_prefix: int
    v6: str
    v6_prefix: int
    routes: tuple[tuple[str, str], ...] = ()  # (destination, via), both families

    @property
    def v4(self) -> str:
        return self.v4_host(1)

    def v4_host(self, number: int) -> str:
        """Address of host `number`, 1..250; all of them belong to this end."""
        if not 1 <= number <= HOSTS_PER_SIDE:
            raise ValueError(f"host {number} is not one of 1-{HOSTS_PER_SIDE}")
        return f"{self.v4_network}.0.{number}"


@dataclass(frozen=True)
class Addressing:
    client: End
    server: End
    box_outside: tuple[str, ...] = ()  # addresses with prefix length
    box_inside: tuple[str, ...] = ()


FLAT = Addressing(
    client=End("198.18", 15, "2001:db8:18::1", 64),
    server=End("198.19", 15, "2001:db8:18::19:1", 64),
)
# The server's routes take answers to spoofed sources out of the server, as a default
# route would: a flood that is not absorbed must cost the server what it costs in the field.
ROUTED = Addressing(
    client=End(
        "198.18",
        16,
        "2001:db8:18::1",
        64,
        (("198.19.0.0/16", "198.18.255.254"), ("2001:db8:19::/64", "2001:db8:18::fe")),
    ),
    server=End(
        "198.19",
        16,
        "2001:db8:19::1",
        64,
        (("198.18.0.0/16", "198.19.255.254"), ("2001:db8::/32", "2001:db8:19::fe")),
    ),
    box_outside=("198.18.255.254/16", "2001:db8:18::fe/64"),
    box_inside=("198.19.255.254/16", "2001:db8:19::fe/64"),
)


def addressing(mode: Mode) -> Addressing:
    return ROUTED if mode is Mode.ROUTED else FLAT


@dataclass(frozen=True)
class Command:
    argv: tuple[str, ...]
    namespace: str | None = None
    text_in: str | None = None


def plan(mode: Mode, names: Names) -> list[Command]:
    """Commands that build the lab from nothing, in order."""
    return [
        *(Command(("ip", "netns", "add", name)) for name in names.namespaces),
        *_namespace_sysctls(mode, names),
        *_links(mode, names),
        *_addresses(mode, names),
    ]


def build(mode: Mode, names: Names) -> None:
    """Carry out the plan and wait until both families reach from end to end.

    Links and bridge ports need a moment after `up` returned, and neighbours must be found: without
    the wait the first packet of whoever comes first would be lost.
    """
    for command in plan(mode, names):
        run(command.argv, namespace=command.namespace, text_in=command.text_in)
    server = addressing(mode).server
    for address in (server.v4, server.v6):
        _wait_reachable(names.client, address)


def _wait_reachable(namespace: str, address: str) -> None:
    limit = time.monotonic() + REACHABLE_LIMIT_S
    ping = ["ping", "-n", "-q", "-c", "1", "-W", "0.2", address]
    while run(ping, namespace=namespace, check=False).returncode != 0:
        if time.monotonic() > limit:
            raise LabError(f"{address} cannot be reached from {namespace} in the new lab")


def demolish(names: Names) -> None:
    for name in names.namespaces:
        netns.remove(name)


def _sysctls(namespace: str, values: dict[str, str]) -> Command:
    text = "".join(f"{key} = {value}\n" for key, value in values.items())
    return Command(("sysctl", "-q", "-p", "-"), namespace, text)


def _namespace_sysctls(mode: Mode, names: Names) -> Iterator[Command]:
    """Set before links exist, so that interfaces inherit `default` from their first moment."""
    everywhere = {
        # No duplicate address detection: an address is usable at once. No router messages either.
        "net.ipv6.conf.all.accept_dad": "0",
        "net.ipv6.conf.default.accept_dad": "0",
        "net.ipv6.conf.default.accept_ra": "0",
        "net.ipv6.conf.default.router_solicitations": "0",
        # Spoofed packets must get as far as in a network without ingress filtering.
        "net.ipv4.conf.all.rp_filter": "0",
        "net.ipv4.conf.default.rp_filter": "0",
        # Connections do not learn from earlier ones: each measurement starts equal.
        "net.ipv4.tcp_no_metrics_save": "1",
    }
    # A port range for many short connections; 61000-65535 stays free for crafted endpoints.
    ends = {**everywhere, "net.ipv4.ip_local_port_range": "10000 60999"}
    listener = {
        # A flood must hurt here, else a test that shows it absorbed shows nothing.
        "net.ipv4.tcp_syncookies": "0",
        "net.ipv4.tcp_max_syn_backlog": "1024",
    }
    forwarding = {"net.ipv4.ip_forward": "1", "net.ipv6.conf.all.forwarding": "1"}
    silent = {"net.ipv6.conf.default.disable_ipv6": "1"}
    yield _sysctls(names.client, ends)
    yield _sysctls(names.server, {**ends, **listener})
    yield _sysctls(
        names.box,
        {
            Mode.BRIDGE: {**everywhere, **silent},
            Mode.ROUTED: {**everywhere, **forwarding},
            Mode.HOST: {**ends, **listener},
        }[mode],
    )


def _veth(end: str, end_mac: str, box: str, box_interface: str, box_mac: str) -> Command:
    near = ("ip", "link", "add", END_INTERFACE, "netns", end, "address", end_mac)
    far = ("type", "veth", "peer", "name", box_interface, "netns", box, "address", box_mac)
    return Command((*near, *far))


def _links(mode: Mode, names: Names) -> Iterator[Command]:
    yield _veth(names.client, CLIENT_MAC, names.box, OUTSIDE, OUTSIDE_MAC)
    yield _veth(names.server, SERVER_MAC, names.box, INSIDE, INSIDE_MAC)
    box_interfaces = ["lo", OUTSIDE, INSIDE]
    if mode is Mode.BRIDGE:
        # No STP delay, no snooping: a bridge between two ports that forwards from the start.
        kind = ("type", "bridge", "stp_state", "0", "forward_delay", "0", "mcast_snooping", "0")
        yield Command(("ip", "link", "add", BRIDGE, *kind), names.box)
        for port in (OUTSIDE, INSIDE):
            yield Command(("ip", "link", "set", port, "master", BRIDGE), names.box)
        box_interfaces.append(BRIDGE)
    for namespace, interfaces in (
        (names.client, ["lo", END_INTERFACE]),
        (names.server, ["lo", END_INTERFACE]),
        (names.box, box_interfaces),
    ):
        for interface in interfaces:
            yield Command(("ip", "link", "set", interface, "up"), namespace)


def _end_batch(end: End, interface: str) -> str:
    lines = [
        f"addr add {end.v4_host(number)}/{end.v4_prefix} dev {interface}" for number in range(1, HOSTS_PER_SIDE + 1)
    ]
    lines.append(f"addr add {end.v6}/{end.v6_prefix} dev {interface} nodad")
    lines += [f"route add {to} via {via}" for to, via in end.routes]
    return "\n".join(lines) + "\n"


def _addresses(mode: Mode, names: Names) -> Iterator[Command]:
    what = addressing(mode)
    batch = ("ip", "-batch", "-")
    yield Command(batch, names.client, _end_batch(what.client, END_INTERFACE))
    if mode is Mode.HOST:
        yield Command(batch, names.box, _end_batch(what.server, OUTSIDE))
    else:
        yield Command(batch, names.server, _end_batch(what.server, END_INTERFACE))
    for interface, addresses in ((OUTSIDE, what.box_outside), (INSIDE, what.box_inside)):
        for address in addresses:
            nodad = ("nodad",) if ":" in address else ()
            yield Command(("ip", "addr", "add", address, "dev", interface, *nodad), names.box)
