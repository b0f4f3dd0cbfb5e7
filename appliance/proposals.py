"""Servers that were heard and that nobody protects for certain: as services that an operator may want.

Owns what is proposed, and what becomes of the services around it. Pure functions; called by setup_calls.py. A service
that covers a whole network names no server: as long as it only watches, the servers heard in it are proposed, and
what is taken up is cut out of it. Must not know the text of a configuration.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Literal, NamedTuple, TypedDict

from appliance.addresses import (
    ALL_PORTS,
    AddressRange,
    PortRange,
    merge_addresses,
    merge_ports,
    parse_addresses,
    parse_ports,
    shared_addresses,
    without_addresses,
    without_ports,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from appliance.backends import BackendReport
    from appliance.models import Config, Service

WIDE_ADDRESSES = 1 << 16  # a range of so many names no server
MOST = 64
# The name of a service that serves one of these ports.
NAMES: tuple[tuple[frozenset[int], str], ...] = (
    (frozenset({80, 443, 8080, 8443}), "web"),
    (frozenset({25, 110, 143, 465, 587, 993, 995}), "mail"),
    (frozenset({53, 853}), "dns"),
    (frozenset({22}), "ssh"),
    (frozenset({21, 990}), "ftp"),
    (frozenset({1433, 3306, 5432}), "database"),
    (frozenset({3389}), "desktop"),
)


class Draft(TypedDict):
    """A service as it may be written: addresses and ports as text."""

    name: str
    addresses: list[str]
    ports: list[str]
    protect: str


class Narrowed(TypedDict):
    """A service that keeps these addresses."""

    name: str
    addresses: list[str]


class Wanted(NamedTuple):
    """A proposal that somebody takes up."""

    name: str
    addresses: tuple[AddressRange, ...]
    ports: tuple[PortRange, ...]


def proposals(heard: Iterable[BackendReport], config: Config) -> list[Draft]:
    """A service for all servers that were heard on the same ports, by address."""
    ports_of: dict[AddressRange, set[int]] = {}
    for one in heard:
        address = _address(one["address"])
        owner = config.services.get(one["service"])
        if owner is None or _only_watches(owner, address):
            ports_of.setdefault(address, set()).add(one["port"])
    servers_on: dict[tuple[int, ...], list[AddressRange]] = {}
    for address in sorted(ports_of):
        servers_on.setdefault(tuple(sorted(ports_of[address])), []).append(address)
    taken = set(config.services)
    return [_draft(ports, addresses, taken) for ports, addresses in list(servers_on.items())[:MOST]]


def taken_up(wanted: Sequence[Wanted], config: Config) -> tuple[list[Draft], list[Narrowed]]:
    """The services to be added, and those that give addresses up.

    The other ports of a server that is cut out of a service stay as they were, in a service of their own.
    """
    cut = [span for one in wanted for span in one.addresses]
    added: list[Draft] = [
        {"name": one.name, "addresses": _texts(one.addresses), "ports": _texts(one.ports), "protect": "always"}
        for one in wanted
    ]
    narrowed: list[Narrowed] = []
    for name, service in config.services.items():
        if not any(_only_watches(service, span) for span in cut):
            continue
        narrowed.append({"name": name, "addresses": _texts(without_addresses(service.addresses, cut))})
        for one in wanted:
            ports = without_ports(service.ports, one.ports)
            addresses = shared_addresses(service.addresses, one.addresses)
            if ports and addresses:
                listed = ["all"] if ports == (ALL_PORTS,) else _texts(ports)
                others: Draft = {
                    "name": f"{one.name}-others",
                    "addresses": _texts(addresses),
                    "ports": listed,
                    "protect": service.protect,
                }
                added.append(others)
    return added, narrowed


def wanted(name: str, addresses: Sequence[str], ports: Sequence[str]) -> Wanted:
    """From text. Raises WrongValue."""
    return Wanted(
        name,
        merge_addresses(parse_addresses(one) for one in addresses),
        merge_ports(parse_ports(one) for one in ports),
    )


def _only_watches(service: Service, address: AddressRange) -> bool:
    """Whether it has this address in a whole network that it does not protect all the time."""
    plain = service.vlan is None and service.trap is None and service.forward_to is None
    return (
        plain
        and service.protect != "always"
        and any(
            span.family == address.family
            and span.first <= address.first
            and address.last <= span.last
            and span.last - span.first + 1 >= WIDE_ADDRESSES
            for span in service.addresses
        )
    )


def _draft(ports: tuple[int, ...], addresses: list[AddressRange], taken: set[str]) -> Draft:
    stem = next((name for known, name in NAMES if known & set(ports)), f"port-{ports[0]}")
    name, number = stem, 1
    while name in taken:
        number += 1
        name = f"{stem}-{number}"
    taken.add(name)
    return {
        "name": name,
        "addresses": _texts(merge_addresses(addresses)),
        "ports": [str(port) for port in ports],
        "protect": "always",
    }


def _address(text: str) -> AddressRange:
    ip = ipaddress.ip_address(text)
    family: Literal[4, 6] = ip.version
    return AddressRange(family, int(ip), int(ip))


def _texts(ranges: Iterable[AddressRange | PortRange]) -> list[str]:
    return [str(one) for one in ranges]
