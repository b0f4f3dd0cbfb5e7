"""Floods of forged packets: none of them reaches the server, and no real client notices.

What reaches the server is counted by nftables at the ingress of its own interface.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from netlab import clients
from netlab.flood import KINDS, Flood, FloodSpec, run_flood
from netlab.session import Lab, wait_until

SMALL_FLOOD = 20_000
# Of one flood. An emulated machine sends a few thousand a second, others reach the rate that is asked for.
FLOOD_LIMIT_S = 120
SLOWEST_PPS = 2000
STATELESS = [kind for kind in KINDS if kind not in ("syn", "syn-options", "cookie")]


@pytest.mark.usefixtures("nginx", "no_forged_packet")
def test_millions_of_syns_and_no_client_fails(lab: Lab, flood_syns: int) -> None:
    """Half of the flood to the IPv4 address, half to the IPv6 one, real clients all the time."""
    before = lab.service_status()["syn_received"]
    addresses = [lab.server_address(4), lab.server_address(6)]
    sent = 0
    with clients.SteadyClients(lab.names, addresses) as steady:
        for address, kind in zip(addresses, ("syn-options", "syn"), strict=True):
            limit_s = max(FLOOD_LIMIT_S, flood_syns // 2 // SLOWEST_PPS)
            spec = FloodSpec(kind, address, flood_syns // 2, limit_s, rate_pps=100_000)
            sent += run_flood(lab.names, lab.mode, spec).sent
    assert sent >= flood_syns * 0.9
    assert not steady.failures
    assert len(steady.requests) > len(addresses)
    # What a full queue dropped was never seen; what was seen is counted, and it was most of it.
    assert lab.service_status()["syn_received"] > before
    slowest = max(request.seconds for request in steady.requests)
    print(f"{sent} forged SYNs, {len(steady.requests)} real requests, 0 failures, slowest {slowest:.3f} s")


@pytest.mark.usefixtures("no_forged_packet")
@pytest.mark.parametrize("kind", KINDS)
def test_flood_of_each_kind(lab: Lab, family: int, kind: str, nginx: Path) -> None:  # noqa: ARG001
    address = lab.server_address(family)
    run_flood(lab.names, lab.mode, FloodSpec(kind, address, SMALL_FLOOD, 30, rate_pps=50_000))
    assert clients.curl(lab.names, address).returncode == 0


@pytest.mark.usefixtures("no_forged_packet")
def test_forged_cookies_are_counted_as_invalid(lab: Lab, family: int) -> None:
    before = lab.service_status()["cookie_invalid"]
    spec = FloodSpec("cookie", lab.server_address(family), 2000, 30, rate_pps=5000)
    run_flood(lab.names, lab.mode, spec)
    assert wait_until(lambda: lab.service_status()["cookie_invalid"] >= before + 900)


@pytest.mark.usefixtures("no_forged_packet")
@pytest.mark.parametrize("kind", STATELESS)
def test_forged_segments_open_nothing(lab: Lab, kind: str) -> None:
    """Without a valid cookie there is no flow, whatever the flags are."""
    opened = lab.service_status()["opened"]
    run_flood(lab.names, lab.mode, FloodSpec(kind, lab.server_address(4), 2000, 30, rate_pps=5000))
    assert lab.service_status()["opened"] == opened


@pytest.mark.usefixtures("nginx", "no_forged_packet")
def test_every_port_under_flood(lab: Lab) -> None:
    address = lab.server_address(4)
    spec = FloodSpec("syn-options", address, SMALL_FLOOD, 30, port="1-65535", rate_pps=50_000)
    run_flood(lab.names, lab.mode, spec)
    assert clients.curl(lab.names, address).returncode == 0


def test_half_open_stays_at_its_cap(lab: Lab) -> None:
    """A flood of new sources fills the half-open cache to its capacity and not beyond."""
    spec = FloodSpec("syn-options", lab.server_address(4), 200_000, 30, rate_pps=100_000, seed=99)
    with Flood(lab.names, lab.mode, spec) as flood:
        while flood.running:
            half_open = lab.status()["half_open"]
            assert half_open["used"] <= half_open["capacity"]
        flood.wait()


@pytest.mark.usefixtures("nginx", "no_forged_packet")
def test_slow_drip_of_half_open_connections(lab: Lab) -> None:
    """A few new sources a second, each left half-open: too slow for any rate, and nothing waits for them."""
    address = lab.server_address(4)
    with clients.SteadyClients(lab.names, [address]) as steady:
        run_flood(lab.names, lab.mode, FloodSpec("syn-options", address, 600, 30, rate_pps=100, seed=7))
        half_open = lab.status()["half_open"]["used"]
    assert not steady.failures
    assert half_open > 0
    assert len(steady.requests) > 10


@pytest.mark.usefixtures("no_forged_packet")
def test_download_goes_on_under_flood(lab: Lab, large_file: Path) -> None:
    spec = FloodSpec("syn-options", lab.server_address(4), 3_000_000, 60, rate_pps=30_000)
    with Flood(lab.names, lab.mode, spec):
        clients.download_equals(lab.names, lab.server_address(4), "large", large_file, 240.0)
