"""A flood of a million sources: what grows with them would be the attacker's to fill."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from netlab.flood import FloodSpec, run_flood
from netlab.process import run
from netlab.session import Lab, wait_until

LIMIT_S = 120
RATE_PPS = 100_000
MEMORY_KIB = 24 << 10
LOG_BYTES = 16 << 10
STATE_BYTES = 16 << 10


def resident_kib(lab: Lab) -> int:
    """Memory of the daemon."""
    text = Path(f"/proc/{lab.process.pid}/status").read_text(encoding="ascii")
    found = re.search(r"^VmRSS:\s+(\d+) kB$", text, re.MULTILINE)
    assert found
    return int(found[1])


def series(lab: Lab) -> set[str]:
    """Names and labels of all numbers for Prometheus."""
    argv = [str(lab.appliance.levee), "metrics", "--socket", str(lab.names.socket)]
    page = run(argv, namespace=lab.names.box).stdout.splitlines()
    return {line.rpartition(" ")[0] for line in page if not line.startswith("#")}


def on_disk(lab: Lab) -> int:
    """Bytes of what the daemon keeps."""
    kept = re.search(r"^state_dir: (.+)$", (lab.names.lab_dir / "levee.yaml").read_text(), re.MULTILINE)
    assert kept
    return sum(path.stat().st_size for path in Path(kept[1]).rglob("*") if path.is_file())


@pytest.mark.deep
@pytest.mark.usefixtures("no_forged_packet")
def test_a_million_sources_leave_nothing_behind(lab: Lab, flood_syns: int) -> None:
    """Half as many as in the large flood, each from an address of its own (of 2^96)."""
    target = lab.server_address(6)
    run_flood(lab.names, lab.mode, FloodSpec("syn-options", target, 20_000, LIMIT_S, rate_pps=RATE_PPS, seed=5))
    assert wait_until(lambda: "lab" in lab.status()["attacks"])
    before = resident_kib(lab), lab.appliance.log.stat().st_size, on_disk(lab), series(lab)
    spec = FloodSpec("syn-options", target, flood_syns // 2, LIMIT_S, rate_pps=RATE_PPS, seed=6)
    sent = run_flood(lab.names, lab.mode, spec).sent
    assert sent >= flood_syns // 2 * 0.9
    half_open = lab.status()["half_open"]
    assert half_open["used"] <= half_open["capacity"]
    memory, log, disk, numbers = resident_kib(lab), lab.appliance.log.stat().st_size, on_disk(lab), series(lab)
    print(f"{sent} sources: memory +{memory - before[0]} KiB, log +{log - before[1]} B, disk +{disk - before[2]} B")
    assert memory - before[0] < MEMORY_KIB
    assert log - before[1] < LOG_BYTES
    assert disk - before[2] < STATE_BYTES
    assert numbers == before[3]
