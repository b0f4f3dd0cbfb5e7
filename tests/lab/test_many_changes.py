"""Reload and rollback, again and again, while many clients download and a flood goes on: none of them loses anything.

`--reloads` says how often: a few in the suite, 1000 by `make test-changes`; a tenth as many changes are put on trial
and taken back, some of which make all parts of the box anew.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from netlab import servers
from netlab.downloaders import DOWNLOADS, Downloaders
from netlab.flood import Flood, FloodSpec
from netlab.services import Services
from netlab.session import Lab

FILE_MIB = 8
FLOOD_PPS = 5000
FLOOD_LIMIT_S = 500  # of one; then comes the next
RELOADS_A_ROLLBACK = 10
MEMORY_KIB = 64 << 10  # the daemon may have grown by this in the end: what Python keeps, not what a change leaks


@pytest.fixture(scope="module")
def file(nginx: Path) -> Iterator[Path]:
    path = nginx / "for-changes"
    servers.write_pattern(path, FILE_MIB)
    yield path
    path.unlink()


@pytest.fixture
def services(lab: Lab) -> Iterator[Services]:
    made = Services(lab)
    yield made
    made.restore()


def resident_kib(lab: Lab) -> int:
    """Memory of the daemon alone (maps of programs are the kernel's); the process stays, whatever is made anew."""
    text = Path(f"/proc/{lab.process.pid}/status").read_text(encoding="ascii")
    found = re.search(r"^RssAnon:\s+(\d+) kB$", text, re.MULTILINE)
    assert found
    return int(found[1])


@pytest.mark.deep
@pytest.mark.usefixtures("no_forged_packet")
def test_downloads_survive_reloads_and_rollbacks_in_a_flood(
    lab: Lab, file: Path, services: Services, reloads: int
) -> None:
    """The flood goes to a service that is protected all the time, so none of it may arrive."""
    renamed = services.original.replace("  lab:\n", "  renamed:\n")
    anew = f"{services.original}limits: {{hold_total: 32MiB}}\n"
    assert "limits:" not in services.original
    downloaders = Downloaders(lab, file)
    flood = FloodSpec("syn", lab.server_address(4), FLOOD_PPS * FLOOD_LIMIT_S, FLOOD_LIMIT_S, rate_pps=FLOOD_PPS)
    process, rollbacks, begun_s, memory = lab.process.pid, 0, time.monotonic(), []
    with ExitStack() as floods:
        attack = floods.enter_context(Flood(lab.names, lab.mode, flood))
        downloaders.start()
        try:
            for number in range(reloads):
                if not attack.running:
                    attack.wait()  # says why, if it was not its time that was over
                    attack = floods.enter_context(Flood(lab.names, lab.mode, flood))
                services.rename() if number % 2 == 0 else services.restore()
                if number % RELOADS_A_ROLLBACK == RELOADS_A_ROLLBACK - 1:
                    services.ask("Apply", text=anew if rollbacks % 2 else renamed, confirm_s=60)
                    services.ask("Rollback")
                    rollbacks += 1
                    memory.append(resident_kib(lab))
                if downloaders.errors:
                    break
        finally:
            downloaders.finish()
    took_s = time.monotonic() - begun_s
    print(
        f"{reloads} reloads and {rollbacks} rollbacks in {took_s:.0f} s; {downloaders.done} downloads equal; "
        f"memory {memory[0] >> 10} MiB, in the end {memory[-1] >> 10} MiB"
    )
    assert not downloaders.errors, downloaders.errors[0]
    assert downloaders.done >= DOWNLOADS
    assert lab.service_status()["syn_received"] > reloads, "changes without a flood prove nothing"
    assert lab.process.pid == process
    assert services.path.read_text() == services.original
    assert memory[-1] < memory[len(memory) // 2] + MEMORY_KIB
