"""Rules of other SYN proxies as a configuration of ours: what was found, what could not be carried over, the file.

Owns the common shape of a found rule and the text that is written. Filled by import_nft.py, import_iptables.py and
import_firehol.py, called by commands/import_.py. Touches nothing. Must not know any syntax but that of our own file.

Nothing is left out silently: what a rule says and a service cannot say becomes a note beside the service, and a rule
that cannot be carried over at all becomes a note at the end.
"""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass, replace
from ipaddress import ip_network
from typing import TYPE_CHECKING, Literal

from appliance.addresses import (
    ALL_PORTS,
    AddressRange,
    Area,
    PortRange,
    merge_addresses,
    merge_ports,
    parse_addresses,
    parse_ports,
    segments,
)
from appliance.errors import WrongValue
from appliance.values import interface

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

EVERY_ADDRESS: dict[Literal[4, 6], AddressRange] = {
    4: AddressRange(4, 0, (1 << 32) - 1),
    6: AddressRange(6, 0, (1 << 128) - 1),
}
MIN_MSS = 88
NOTE_COLUMNS = 110
UNKNOWN_OUTSIDE, UNKNOWN_INSIDE, UNKNOWN_BRIDGE = "eth0", "eth1", "br0"


@dataclass(frozen=True, slots=True)
class Options:
    """What the proxy was told about the servers; `mss` in bytes, `wscale` None without window scaling."""

    mss: int | None = None
    wscale: int | None = None
    sack: bool = False
    timestamps: bool = False


@dataclass(frozen=True, slots=True)
class Match:
    """Which packets a rule is about. None: any. `lost`: why it cannot become a service.

    `host`: they go to sockets of the machine that had the rules.
    """

    families: tuple[Literal[4, 6], ...] = (4, 6)
    addresses: tuple[AddressRange, ...] | None = None
    ports: tuple[PortRange, ...] | None = None
    outside: tuple[str, ...] = ()
    inside: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()
    host: bool = False

    def within(self, outer: Match) -> Match:
        """This rule in a chain that is reached through `outer`: what it leaves open, the way there decides."""
        notes = list(outer.notes)
        for name in ("addresses", "ports"):
            mine, theirs = getattr(self, name), getattr(outer, name)
            if mine is not None and theirs is not None and mine != theirs:
                notes.append(f"the way to its chain restricts {name} too ({_joined(theirs)}): check the list")
        return Match(
            tuple(family for family in self.families if family in outer.families),
            outer.addresses if self.addresses is None else self.addresses,
            outer.ports if self.ports is None else self.ports,
            (*outer.outside, *self.outside),
            (*outer.inside, *self.inside),
            tuple(dict.fromkeys((*notes, *self.notes))),
            tuple(dict.fromkeys((*outer.lost, *self.lost))),
            self.host or outer.host,
        )


@dataclass(frozen=True, slots=True)
class Found:
    """One rule that proxies SYNs; `line` counts from 1, `name` is a proposal."""

    line: int
    match: Match
    options: Options
    name: str = ""


@dataclass(frozen=True, slots=True)
class Places:
    """Where the box stands; None: as the rules say, else a usual name."""

    outside: str | None = None
    inside: str | None = None
    bridge: str | None = None


@dataclass(frozen=True, slots=True)
class _Service:
    name: str
    lines: tuple[int, ...]
    addresses: tuple[AddressRange, ...]
    ports: tuple[PortRange, ...]
    options: Options
    notes: tuple[str, ...]


def _joined(items: Iterable[object]) -> str:
    return ", ".join(str(item) for item in items)


def read_addresses(words: Iterable[str]) -> tuple[tuple[AddressRange, ...], tuple[str, ...]]:
    """Addresses, prefixes and ranges, and a sentence for each word that is none."""
    spans, lost = [], []
    for word in words:
        try:
            text = word if "/" not in word or "-" in word else str(ip_network(word, strict=False))
            spans.append(parse_addresses(text))
        except (WrongValue, ValueError):
            lost.append(f"{word} is not an address that can be read here")
    return merge_addresses(spans), tuple(lost)


def read_ports(words: Iterable[str]) -> tuple[tuple[PortRange, ...], tuple[str, ...]]:
    """Ports and ranges with `-` or `:`, names as in /etc/services, and a sentence for each word that is none."""
    ports, lost = [], []
    for word in words:
        try:
            low, mark, high = word.replace(":", "-").partition("-")
            text = f"{_port_number(low or '1')}{mark}{_port_number(high or '65535') if mark else ''}"
            ports.append(parse_ports(text))
        except (WrongValue, OSError):
            lost.append(f"{word} is not a port that can be read here")
    return merge_ports(ports), tuple(lost)


def _port_number(text: str) -> str:
    return text if text.isdecimal() else str(socket.getservbyname(text, "tcp"))


def render(source: str, kind: str, found: Sequence[Found], places: Places) -> str:
    """The configuration file. `source` and `kind` are for its first line; found is not empty."""
    carried = [one for one in found if not one.match.lost]
    host = bool(carried) and all(one.match.host for one in carried) and not (places.bridge or places.inside)
    services, dropped = _services(found, host=host)
    outside, inside, remarks = _interfaces(found, places, host=host)
    bridge = places.bridge
    lines = [
        f"# By `levee import` from {_printable(source)} ({kind}). Read each NOTE, then: levee check THIS-FILE",
        *(line for remark in remarks for line in _note(remark, "")),
        "version: 1",
        f"mode: {'host' if host else 'bridge' if bridge else 'routed'}",
        *([f"bridge: {_scalar(bridge)}"] if bridge else []),
        f"outside: {_scalar(outside)}",
        *([] if host else [f"inside: {_scalar(inside)}"]),
        "",
        "services:" if services else "services: {}",
    ]
    for service in services:
        lines += ["", *_service_lines(service)] if service is not services[0] else _service_lines(service)
    if dropped:
        lines += ["", "# Not carried over:"]
        lines += [line for sentence in dropped for line in _note(sentence, "")]
    return "\n".join(lines) + "\n"


def _interfaces(found: Sequence[Found], places: Places, *, host: bool) -> tuple[str, str, list[str]]:
    """Names for both sides, and what to say about them."""
    seen_out = [name for name in dict.fromkeys(name for one in found for name in one.match.outside) if _is_name(name)]
    seen_in = [name for name in dict.fromkeys(name for one in found for name in one.match.inside) if _is_name(name)]
    remarks = []
    if len(seen_out) > 1 and not places.outside:
        remarks.append(f"the rules name several interfaces towards the clients ({_joined(seen_out)}): one box has one")
    outside = places.outside or (seen_out[0] if seen_out else UNKNOWN_OUTSIDE)
    inside = places.inside or next((name for name in seen_in if name != outside), "")
    if not places.outside and not seen_out:
        remarks.append(f"the rules do not name the interface towards the clients: {outside} is a guess")
    if not inside and not host:
        inside = UNKNOWN_INSIDE if outside != UNKNOWN_INSIDE else UNKNOWN_OUTSIDE
        remarks.append(f"the rules do not name the interface towards the servers: {inside} is a guess")
    return outside, inside, remarks


def _services(found: Sequence[Found], *, host: bool) -> tuple[list[_Service], list[str]]:
    """Rules with the same ports and options are one service; and what became of none."""
    services: list[_Service] = []
    dropped: list[str] = []
    for one in found:
        spans, ports = _area(one.match)
        lost = one.match.lost or (() if spans else ("it is about no address that a client can reach",))
        if lost:
            dropped += [f"line {one.line}: {sentence}" for sentence in (*lost, *one.match.notes)]
            continue
        others = [
            service
            for service in _overlapping(services, spans, ports)
            if (service.ports, service.options) != (ports, one.options)
        ]
        if others:
            said = f"{_joined(spans)} with port {_joined(ports)} is in service {others[0].name} already"
            dropped.append(f"line {one.line}: {said}")
            continue
        _add(services, one, spans, ports, host=host)
    return services, dropped


def _area(match: Match) -> tuple[tuple[AddressRange, ...], tuple[PortRange, ...]]:
    spans = tuple(EVERY_ADDRESS[family] for family in match.families) if match.addresses is None else match.addresses
    return tuple(span for span in spans if span.family in match.families), match.ports or (ALL_PORTS,)


def _overlapping(
    services: Sequence[_Service], spans: Sequence[AddressRange], ports: tuple[PortRange, ...]
) -> list[_Service]:
    """The services that have one of these addresses with one of these ports."""
    owners = [service for service in services for _ in service.addresses]
    areas = [Area(span, service.ports) for service in services for span in service.addresses]
    both = segments([*areas, *(Area(span, ports) for span in spans)])
    shared = [segment.areas for segment in both if segment.areas[-1] >= len(areas)]
    found = [owners[index] for indices in shared for index in indices if index < len(areas)]
    return [service for service in found if _share(service.ports, ports)]


def _share(one: Sequence[PortRange], other: Sequence[PortRange]) -> bool:
    return any(a.first <= b.last and b.first <= a.last for a in one for b in other)


def _add(
    services: list[_Service],
    one: Found,
    spans: tuple[AddressRange, ...],
    ports: tuple[PortRange, ...],
    *,
    host: bool,
) -> None:
    notes = list(one.match.notes)
    if one.match.host and not host:
        notes.append("the servers were on that machine itself: Levee stands in front of it here; mode: host is on it")
    if one.match.addresses is None:
        notes.append("the rule names no address, so that this is every server behind the box: name those you have")
    for at, service in enumerate(services):
        if (service.ports, service.options) == (ports, one.options):
            services[at] = replace(
                service,
                lines=(*service.lines, one.line),
                addresses=merge_addresses((*service.addresses, *spans)),
                notes=tuple(dict.fromkeys((*service.notes, *notes))),
            )
            return
    name = _name(one.name, ports, {service.name for service in services})
    services.append(_Service(name, (one.line,), spans, ports, one.options, tuple(dict.fromkeys(notes))))


def _name(proposal: str, ports: Sequence[PortRange], taken: set[str]) -> str:
    wish = proposal or (f"port-{'-'.join(str(one.first) for one in ports)}" if ports != (ALL_PORTS,) else "every-port")
    base = re.sub(r"[^A-Za-z0-9_-]+", "-", wish).strip("-_")[:28] or "service"
    return next(name for name in (base, *(f"{base}-{number}" for number in range(2, 1000))) if name not in taken)


def _scalar(name: str) -> str:
    """A name as YAML reads it back: in quotes unless it is plainly a word."""
    return name if re.fullmatch(r"[A-Za-z]+[0-9_-][A-Za-z0-9_-]*", name) else f'"{name}"'


def _printable(text: str) -> str:
    return "".join(one if one.isprintable() else "?" for one in text)


def _is_name(text: str) -> bool:
    try:
        return text.isascii() and bool(interface(text))
    except WrongValue:
        return False  # a pattern, or a name with a character that no interface has


def _note(text: str, indent: str) -> list[str]:
    """Wrapped, so that it is read."""
    words, lines = _printable(text).split(), [f"{indent}# NOTE:"]
    for word in words:
        if len(lines[-1]) + len(word) >= NOTE_COLUMNS:
            lines.append(f"{indent}#      ")
        lines[-1] += f" {word}"
    return lines


def _service_lines(service: _Service) -> list[str]:
    lines = [f"  # from line {_joined(service.lines)}"]
    notes = list(service.notes)
    mss = _mss_over_ipv4(service, notes)
    for note in notes:
        lines += _note(note, "  ")
    ports = "all" if service.ports == (ALL_PORTS,) else f"[{_joined(service.ports)}]"
    wscale = "none" if service.options.wscale is None else service.options.wscale
    lines += [
        f"  {_scalar(service.name)}:",
        "    addresses:",
        *(f'      - "{span}"' for span in service.addresses),
        f"    ports: {ports}",
        "    server:              # a first guess: what the servers really offer is learned from them",
        *([] if mss is None else [f"      mss: {mss}"]),
        f"      wscale: {wscale}",
        f"      sack: {'true' if service.options.sack else 'false'}",
        f"      timestamps: {'true' if service.options.timestamps else 'false'}",
    ]
    return lines


def _mss_over_ipv4(service: _Service, notes: list[str]) -> int | None:
    """The file has the MSS over IPv4; a rule for IPv6 alone has it 20 less."""
    mss = service.options.mss
    if mss is None:
        return None
    if all(span.family == 6 for span in service.addresses):
        mss += 20
    if mss < MIN_MSS or mss > 65495:
        notes.append(f"mss {service.options.mss} is not one that can be set: left at its default")
        return None
    return mss
