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

FORGED = 10_000
EMPTY_CAPTURE_BYTES = 24  # the header of a pcap file


@pytest.mark.parametrize(
    ("kind", "engine"),
    [(Firmware.BIOS, "nfqueue"), (Firmware.SECURE, "bpf")],
    ids=("bios-nfqueue", "secure-boot-bpf"),
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
        machine.screen(folder / "screen.png")
        assert f"engine {engine}" in machine.run("levee status")[1]
        lockdown = machine.run(
            "cat /sys/kernel/security/lockdown; od -An -tu1 -j4 /sys/firmware/efi/efivars/SecureBoot-*"
        )
        assert "[integrity]" in lockdown[1]
        if kind is Firmware.SECURE:
            assert lockdown[1].split()[-1] == "1"
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
    assert "used as" in (stick.read(disk, "PORTS.txt") or "")
