"""Floods of forged packets: running generators/flood.c inside the lab.

Owns the generator's arguments for this topology: MACs, source prefixes, and the ranges of real
addresses that are never forged. Called by tests, demo and benchmarks. The generator itself refuses
to run anywhere but in a namespace of the lab.
"""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from netlab.compiled import compiled as compile_if_changed
from netlab.names import CLIENT_MAC, END_INTERFACE, OUTSIDE_MAC, SERVER_MAC, Names
from netlab.process import LabError, in_namespace
from netlab.topology import Mode

KINDS = ("syn", "syn-options", "syn-ack", "ack", "rst", "fin", "xmas", "null", "cookie")
V4_SOURCES = "198.18.0.0/16"
V6_SOURCES = "2001:db8::/32"
# Clients, crafted clients and the router of the routed lab are real; so is everything in the
# networks that the two ends live in.
V4_REAL = ("198.18.0.0-198.18.0.255", "198.18.255.254-198.18.255.255")
V6_REAL = (
    "2001:db8:18::-2001:db8:18:0:ffff:ffff:ffff:ffff",
    "2001:db8:19::-2001:db8:19:0:ffff:ffff:ffff:ffff",
)


def compiled() -> Path:
    """The generator, compiled when its source changed; LEVEE_FLOOD names one compiled elsewhere."""
    ready = os.environ.get("LEVEE_FLOOD")
    if ready:
        return Path(ready)
    return compile_if_changed("flood.c", "guard.h", "packet.h")


@dataclass(frozen=True)
class Sent:
    """What a flood did: frames the interface took, frames it refused, and its length."""

    sent: int
    refused: int
    seconds: float
    pps: float


@dataclass(frozen=True)
class FloodSpec:
    """kind: one of KINDS. count and seconds bound it, rate_pps 0 is as fast as it goes."""

    kind: str
    destination: str
    count: int
    seconds: int
    port: str = "80"  # one port or a range, "1-65535"
    rate_pps: int = 0
    seed: int = 1
    vlans: tuple[int, ...] = ()
    sources: str = ""  # prefix; "" is the widest that is allowed for the family

    def arguments(self, mode: Mode) -> list[str]:
        v6 = ":" in self.destination
        pairs = [
            ("kind", self.kind),
            ("interface", END_INTERFACE),
            ("count", str(self.count)),
            ("seconds", str(self.seconds)),
            ("rate", str(self.rate_pps)),
            ("seed", str(self.seed)),
            ("source", self.sources or (V6_SOURCES if v6 else V4_SOURCES)),
            ("destination", self.destination),
            ("port", self.port),
            ("source-mac", CLIENT_MAC),
            ("destination-mac", SERVER_MAC if mode is Mode.BRIDGE else OUTSIDE_MAC),
            *(("keep-out", each) for each in (V6_REAL if v6 else V4_REAL)),
            *(("vlan", str(vlan)) for vlan in self.vlans),
        ]
        return [word for name, value in pairs for word in (f"--{name}", value)]


class Flood:
    """A flood that runs in the client's namespace while the block is executed."""

    def __init__(self, names: Names, mode: Mode, spec: FloodSpec) -> None:
        self._argv = in_namespace(names.client, [str(compiled()), *spec.arguments(mode)])
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Flood:
        self._process = subprocess.Popen(self._argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.communicate()

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def wait(self) -> Sent:
        """Wait for its end; it ends by itself."""
        if self._process is None:
            raise LabError("the flood was not started")
        out, err = self._process.communicate()
        if self._process.returncode != 0:
            raise LabError(f"the flood failed: {err.strip()}")
        return Sent(**json.loads(out))


def run_flood(names: Names, mode: Mode, spec: FloodSpec) -> Sent:
    with Flood(names, mode, spec) as flood:
        return flood.wait()
