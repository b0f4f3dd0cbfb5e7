"""The image from switching on to a flood: each firmware, real clients through the box, forged packets to nobody."""

from __future__ import annotations

from pathlib import Path

import pytest
from guest.layout import Layout
from imagelab import stick, wires
from imagelab.machine import Firmware, booted
from imagelab.operator import PROTECTED, until_ready
from netlab import clients, counters, flood
from netlab.names import Names
from netlab.topology import FLAT, Mode

FORGED = 20_000
EMPTY_CAPTURE_BYTES = 24  # the header of a pcap file


@pytest.mark.parametrize(
    ("kind", "engine"),
    [(Firmware.BIOS, "nfqueue"), (Firmware.UEFI, "bpf")],
    ids=("bios-nfqueue", "uefi-bpf"),
)
def test_cold_boot_protects(
    kind: Firmware,
    engine: str,
    disk: Path,
    tools: Layout,
    ovmf: Path,
    taps: tuple[int, int],
    names: Names,
    folder: Path,
) -> None:
    stick.write(disk, "levee.yaml", PROTECTED.format(engine=engine))
    with (
        wires.strangers(names, folder) as said_by_the_box,
        booted(tools, ovmf, kind, disk, taps, folder) as machine,
    ):
        until_ready(machine)
        assert f"engine {engine}" in machine.run("levee status")[1]
        before = counters.read(names)["forged"]
        for address in (FLAT.server.v4, FLAT.server.v6):
            sent = flood.run_flood(
                names, Mode.BRIDGE, flood.FloodSpec("syn-options", address, FORGED, 60, rate_pps=2000)
            )
            assert sent.sent == FORGED
            assert clients.curl(names, address, limit_s=30).returncode == 0
        assert counters.read(names)["forged"] == before
    for file in said_by_the_box.values():
        assert file.stat().st_size == EMPTY_CAPTURE_BYTES, f"the box has sent something of its own, see {file}"


def test_configuration_with_a_mistake_is_refused_with_its_place(
    disk: Path, tools: Layout, ovmf: Path, taps: tuple[int, int], names: Names, folder: Path
) -> None:
    stick.write(disk, "levee.yaml", PROTECTED.format(engine="warp"))
    stick.write(disk, "box.yaml", "version: 1\noutside: eth0\n")
    with booted(tools, ovmf, Firmware.BIOS, disk, taps, folder) as machine:
        until_ready(machine)
        assert clients.curl(names, FLAT.server.v4, limit_s=30).returncode == 0
    assert "levee.yaml:3:9: engine: warp is not" in (stick.read(disk, "levee.yaml.refused") or "")
    assert "box.yaml:2:10: outside: eth0 is not a port" in (stick.read(disk, "box.yaml.refused") or "")
    assert "used as" in (stick.read(disk, "PORTS.txt") or "")
