"""VLANs across the bridge: tagged and doubly tagged interfaces at both ends, each a small subnet.

Owns which tags there are and their addresses, all of which the service TAGGED protects. Only in bridge
mode: a routed box has no addresses in these VLANs. Called by conftest.py and session.py.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

from netlab import topology
from netlab.names import END_INTERFACE, Names
from netlab.process import run

SERVICE = "tagged"
# Protected in this VLAN only; the same address without a tag is nobody's service.
ONLY_SERVICE = "only"
ONLY_VID = 10


@dataclass(frozen=True)
class Vlan:
    """Tags as (protocol, VLAN identifier), outermost first, and a /28 and a /112 of its own."""

    name: str
    tags: tuple[tuple[str, int], ...]
    number: int

    @property
    def interface(self) -> str:
        return f"tag{self.number}"

    def client(self, family: int) -> str:
        return self._address(family, 2)

    def server(self, family: int) -> str:
        return self._address(family, 1)

    def _address(self, family: int, host: int) -> str:
        return f"198.18.110.{self.number * 16 + host}" if family == 4 else f"2001:db8:19::{self.number:x}:{host}"

    def prefix(self, family: int) -> int:
        return 28 if family == 4 else 112


VLANS = (
    Vlan("802.1Q", (("802.1Q", ONLY_VID),), 1),
    Vlan("802.1ad", (("802.1ad", 20),), 2),
    Vlan("QinQ", (("802.1ad", 30), ("802.1Q", 31)), 3),
    Vlan("802.1Q-twice", (("802.1Q", 40), ("802.1Q", 41)), 4),
)
# Reached untagged, and in VLAN ONLY_VID by a route of its own.
ONLY_ADDRESS = "198.19.0.250"


def protected_addresses() -> list[str]:
    return [vlan.server(family) for vlan in VLANS for family in (4, 6)]


def _links(namespace: str, vlan: Vlan) -> Iterator[list[str]]:
    below = END_INTERFACE
    for level, (protocol, vid) in enumerate(vlan.tags):
        last = level == len(vlan.tags) - 1
        name = vlan.interface if last else f"{vlan.interface}outer"
        yield ["link", "add", "link", below, "name", name, "type", "vlan", "proto", protocol, "id", str(vid)]
        yield ["link", "set", name, "up"]
        below = name


@contextlib.contextmanager
def interfaces(names: Names) -> Iterator[None]:
    """All VLANS exist at both ends for the length of the block; the ends can reach each other."""
    for namespace, at_client in ((names.client, True), (names.server, False)):
        lines = []
        for vlan in VLANS:
            lines += [" ".join(words) for words in _links(namespace, vlan)]
            for family in topology.FAMILIES:
                address = vlan.client(family) if at_client else vlan.server(family)
                nodad = " nodad" if family == 6 else ""
                lines.append(f"addr add {address}/{vlan.prefix(family)} dev {vlan.interface}{nodad}")
        run(["ip", "-batch", "-"], namespace=namespace, text_in="\n".join(lines) + "\n")
