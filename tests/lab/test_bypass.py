"""`levee bypass`: nobody is protected for a while; connections from before, during and after it go on."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest
from netlab import clients
from netlab.flood import FloodSpec, run_flood
from netlab.process import run
from netlab.session import Lab
from netlab.streams import connected

SYNS = 3000


def levee(lab: Lab, *arguments: str) -> subprocess.CompletedProcess[str]:
    argv = [str(lab.appliance.levee), *arguments, "--socket", str(lab.names.socket)]
    return run(argv, namespace=lab.names.box, check=False)


@pytest.fixture
def back(lab: Lab) -> Iterator[None]:
    """Whatever happens, the next test finds the box protecting; the server has forgotten what passed."""
    retries = "net.ipv4.tcp_synack_retries"
    run(["sysctl", "-qw", f"{retries}=0"], namespace=lab.names.server)
    yield
    levee(lab, "bypass", "off")
    run(["sysctl", "-qw", f"{retries}=5"], namespace=lab.names.server)


@pytest.mark.usefixtures("back", "nginx")
def test_open_connections_go_on_through_both_switches(lab: Lab, family: int) -> None:
    address = lab.server_address(family)
    with connected(lab, family, direct=False) as (before, behind_before):
        assert levee(lab, "bypass", "on").returncode == 0
        status = lab.status()
        assert status["state"] == "BYPASS"
        assert not status["services"]["lab"]["protected"]
        said = levee(lab, "status")
        assert said.returncode == 2
        assert "levee bypass off" in said.stdout
        before.sendall(b"before")
        assert behind_before.recv(10) == b"before"
        synacks = lab.service_status()["synack_sent"]
        with connected(lab, family, direct=False) as (during, behind_during):
            assert clients.curl(lab.names, address).returncode == 0
            assert lab.service_status()["synack_sent"] == synacks, "the box answered in place of the server"
            lab.kill_daemon()
            lab.start_daemon()
            assert lab.status()["state"] == "BYPASS"
            assert levee(lab, "bypass", "off").returncode == 0
            assert lab.status()["state"] != "BYPASS"
            for one, server in ((before, behind_before), (during, behind_during)):
                one.sendall(b"after")
                assert server.recv(10) == b"after"
                server.sendall(b"answer")
                assert one.recv(10) == b"answer"
            assert clients.curl(lab.names, address).returncode == 0
            assert lab.service_status()["synack_sent"] > 0


@pytest.mark.usefixtures("back")
def test_a_flood_passes_during_it_and_not_after_it(lab: Lab) -> None:
    spec = FloodSpec("syn-options", lab.server_address(4), SYNS, 30, rate_pps=3000, seed=77_000)
    assert levee(lab, "bypass", "on").returncode == 0
    forged = lab.arrived()["forged"]
    run_flood(lab.names, lab.mode, spec)
    assert lab.arrived()["forged"] - forged > SYNS // 2, "somebody still protects"
    assert levee(lab, "bypass", "off").returncode == 0
    forged = lab.arrived()["forged"]
    run_flood(
        lab.names, lab.mode, FloodSpec("syn-options", lab.server_address(4), SYNS, 30, rate_pps=3000, seed=78_000)
    )
    assert lab.arrived()["forged"] == forged


@pytest.mark.usefixtures("back")
def test_what_is_so_already_is_said(lab: Lab) -> None:
    done = levee(lab, "bypass", "off")
    assert done.returncode == 3
    assert "bypass is off already" in done.stderr
