"""Names and places of one lab: namespaces, interfaces, MACs, run-time directories.

Owns every string that two modules must agree on. Called by all of netlab. Knows nothing of how a
lab is built. LEVEE_LAB_PREFIX gives a second lab beside the standard one (then `levee status`
needs LEVEE_SOCKET, because /run/levee belongs to the standard lab).
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[3]
STANDARD_PREFIX = "levee"

# Interface names are part of the lab's contract with its users.
END_INTERFACE = "eth0"
OUTSIDE = "outside"
INSIDE = "inside"
BRIDGE = "br0"

# Locally administered MACs, readable in a capture: the third byte is the side.
CLIENT_MAC = "02:4c:18:00:00:01"
OUTSIDE_MAC = "02:4c:18:00:00:fe"
INSIDE_MAC = "02:4c:19:00:00:fe"
SERVER_MAC = "02:4c:19:00:00:01"


@dataclass(frozen=True)
class Names:
    """Everything that depends on the prefix of a lab."""

    prefix: str = STANDARD_PREFIX
    box_serves: bool = False  # mode host: who asks for the server's end is sent to the box

    @property
    def standard(self) -> bool:
        """Whether this is the lab of `make lab`, whose `levee` is put on PATH."""
        return self.prefix == STANDARD_PREFIX

    @property
    def client(self) -> str:
        return f"{self.prefix}-client"

    @property
    def box(self) -> str:
        return f"{self.prefix}-box"

    @property
    def server(self) -> str:
        return self.box if self.box_serves else f"{self.prefix}-server"

    @property
    def server_interface(self) -> str:
        """Where the server's addresses are."""
        return OUTSIDE if self.box_serves else END_INTERFACE

    @property
    def namespaces(self) -> tuple[str, str, str]:
        """All that a lab has, whatever its mode."""
        return self.client, self.box, f"{self.prefix}-server"

    @property
    def lab_dir(self) -> Path:
        """State of the lab itself: what is up, the daemon's log, generated configuration."""
        return Path("/run") / f"{self.prefix}-lab"

    @property
    def runtime_dir(self) -> Path:
        """`runtime_dir` of the appliance; /run/levee for the standard lab, its default."""
        return Path("/run") / self.prefix

    @property
    def socket(self) -> Path:
        return self.runtime_dir / "control.sock"


def names_from_environment(default: str = STANDARD_PREFIX) -> Names:
    """Names as LEVEE_LAB_PREFIX says; tests and demo give a default that is not the standard lab's."""
    return Names(os.environ.get("LEVEE_LAB_PREFIX", default))
