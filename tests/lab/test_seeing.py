"""What an operator sees of a flood: the state and its exit code, the numbers for Prometheus, the busiest."""

from __future__ import annotations

import re
import subprocess

import pytest
from netlab.flood import FloodSpec, run_flood
from netlab.process import run
from netlab.session import Lab, wait_until

SYNS = 60_000
RATE_PPS = 10_000  # for 6 s; an emulated machine sends less a second, and for longer


def levee(lab: Lab, *arguments: str) -> subprocess.CompletedProcess[str]:
    argv = [str(lab.appliance.levee), *arguments, "--socket", str(lab.names.socket)]
    return run(argv, namespace=lab.names.box, check=False)


@pytest.mark.usefixtures("no_forged_packet")
def test_a_flood_is_seen_everywhere(lab: Lab) -> None:
    """It stays on the list for a while after its last SYN, so there is time to look."""
    run_flood(lab.names, lab.mode, FloodSpec("syn", lab.server_address(4), SYNS, 60, rate_pps=RATE_PPS))
    assert wait_until(lambda: "lab" in lab.status()["attacks"])
    status = lab.status()
    attack = status["attacks"]["lab"]
    assert attack["peak_per_s"] > 1000
    assert status["state"] in ("ATTACK", "DEGRADED"), "a machine that is too slow for the flood says so too"
    text = levee(lab, "status")
    assert text.returncode == {"ATTACK": 1, "DEGRADED": 2}[text.stdout.split()[2]]
    assert re.search(r"^attack +lab for 00:", text.stdout, re.MULTILINE), text.stdout

    page = levee(lab, "metrics")
    assert page.returncode == 0, page.stderr
    assert 'levee_attack{service="lab"} 1' in page.stdout.splitlines()
    counted = re.search(
        r'^levee_service_events_total\{service="lab",event="syn_received"\} (\d+)$', page.stdout, re.MULTILINE
    )
    assert counted
    assert int(counted[1]) >= status["services"]["lab"]["syn_received"] > 0


def test_the_one_with_most_connections_is_on_top(lab: Lab, family: int) -> None:
    with lab.listen(family) as listener:
        port = listener.getsockname()[1]
        made = [lab.connect(family, port) for _ in range(5)]
        shown = levee(lab, "top", "--once", "--interval", "0.1")
        assert shown.returncode in (0, 1, 2), shown.stderr
        for one in made:
            one.close()
    source = lab.client_address(family) if family == 4 else lab.client_address(family).partition("::")[0] + "::/64"
    sources = shown.stdout.partition("\nsource, ")[2]
    counted = {line.split()[0]: int(line.split()[1]) for line in sources.splitlines()[1:] if line}
    assert counted.get(source, 0) >= 5, shown.stdout
