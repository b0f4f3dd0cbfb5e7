"""VLANs across the bridge: tagged and doubly tagged interfaces at both ends, each a small subnet.

Owns which tags there are, their addresses, and the services that protect them. Only in bridge mode: a
routed box is no member of these VLANs. Called by session.py (services) and test_vlan.py.
"""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from netlab import configuration
from netlab.names import END_INTERFACE, Names
from netlab.process import run

FAMILIES = (4, 6)
_TPIDS = {"802.1Q": 0x8100, "802.1ad": 0x88A8}


@dataclass(frozen=True)
class Vlan:
    """Tags as (protocol, VLAN identifier), outermost first, and a /28 and a /112 of its own.

    listed: the identifier that its service names, None for a service in any VLAN.
    """

    name: str
    tags: tuple[tuple[str, int], ...]
    number: int
    listed: int | None

    @property
    def service(self) -> str:
        return f"vlan-{self.number}"

    @property
    def vids(self) -> tuple[int, ...]:
        return tuple(vid for _, vid in self.tags)

    @property
    def header(self) -> bytes:
        """The tags as they stand in a frame, from the first TPID to the last TCI (priority 0)."""
        return b"".join(struct.pack("!HH", _TPIDS[protocol], vid) for protocol, vid in self.tags)

    @property
    def interface(self) -> str:
        return self.level(len(self.tags) - 1)

    def level(self, depth: int) -> str:
        """The interface that adds tag `depth`, 0 for the outermost; those above it go with it."""
        return f"tag{self.number}-{depth}"

    def client(self, family: int) -> str:
        return self._address(family, 2)

    def server(self, family: int) -> str:
        return self._address(family, 1)

    def _address(self, family: int, host: int) -> str:
        return f"198.18.110.{self.number * 16 + host}" if family == 4 else f"2001:db8:19::{self.number:x}:{host}"

    def prefix(self, family: int) -> int:
        return 28 if family == 4 else 112


VLANS = (
    Vlan("802.1Q", (("802.1Q", 10),), 1, listed=10),
    Vlan("802.1ad", (("802.1ad", 20),), 2, listed=None),
    Vlan("QinQ", (("802.1ad", 30), ("802.1Q", 31)), 3, listed=31),
    Vlan("802.1Q-twice", (("802.1Q", 40), ("802.1Q", 41)), 4, listed=None),
)


def services() -> str:
    """Configuration text: one service for each VLAN."""
    text = ""
    for vlan in VLANS:
        addresses = [vlan.server(family) for family in FAMILIES]
        options = [] if vlan.listed is None else [f"vlan: {vlan.listed}"]
        text += configuration.service(vlan.service, addresses, *options)
    return text


def _links(vlan: Vlan) -> Iterator[str]:
    """One interface a tag, each on top of the one before; the last one carries the addresses."""
    below = END_INTERFACE
    for level, (protocol, vid) in enumerate(vlan.tags):
        name = vlan.level(level)
        yield f"link add link {below} name {name} type vlan proto {protocol} id {vid}"
        yield f"link set {name} up"
        below = name


@contextlib.contextmanager
def interfaces(names: Names) -> Iterator[None]:
    """All VLANS exist at both ends for the length of the block; the ends can reach each other."""
    for namespace, at_client in ((names.client, True), (names.server, False)):
        lines: list[str] = []
        for vlan in VLANS:
            lines += _links(vlan)
            for family in FAMILIES:
                address = vlan.client(family) if at_client else vlan.server(family)
                nodad = " nodad" if family == 6 else ""
                lines.append(f"addr add {address}/{vlan.prefix(family)} dev {vlan.interface}{nodad}")
        run(["ip", "-batch", "-"], namespace=namespace, text_in="\n".join(lines) + "\n")
    try:
        yield
    finally:
        for namespace in (names.client, names.server):
            for vlan in VLANS:
                run(["ip", "link", "del", vlan.level(0)], namespace=namespace)
