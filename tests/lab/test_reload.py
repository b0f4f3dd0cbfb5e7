"""The services change under traffic: open connections notice nothing, new ones follow the new services at once.

And a clean stop, which takes the rules away, is no end for them either when a start follows.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from netlab import clients
from netlab.flood import Flood, FloodSpec
from netlab.process import run
from netlab.services import Services
from netlab.session import Lab
from netlab.streams import connected, meanwhile
from netlab.topology import Mode

TRANSFER_LIMIT_S = 240.0
RELOADS = 40
ROLLBACKS = 20
LOADS = 60  # replaced as a whole, the rules would let a packet of the flood through at every third load
FLOOD_PPS, FLOOD_LIMIT_S = 60_000, 200


@pytest.fixture
def services(lab: Lab) -> Iterator[Services]:
    made = Services(lab)
    yield made
    made.restore()


@pytest.mark.parametrize(
    "change", [Services.switch_off, pytest.param(Services.rename, marks=pytest.mark.deep), Services.remove]
)
def test_open_connection_survives(
    lab: Lab, family: int, services: Services, change: Callable[[Services], None]
) -> None:
    with connected(lab, family, direct=False) as (caller, server):
        caller.sendall(b"before")
        assert server.recv(10) == b"before"
        change(services)
        caller.sendall(b"between")
        assert server.recv(10) == b"between"
        server.sendall(b"both ways")
        assert caller.recv(10) == b"both ways"
        services.restore()
        caller.sendall(b"after")
        assert server.recv(10) == b"after"


@pytest.mark.parametrize("change", [Services.switch_off, Services.remove])
def test_new_connections_go_straight_to_the_server(
    lab: Lab, family: int, services: Services, change: Callable[[Services], None]
) -> None:
    """Also while old ones are still translated."""
    with connected(lab, family, direct=False) as (caller, server):
        change(services)
        before = lab.status()["drops"]["syn_answered"]
        with connected(lab, family, direct=False) as (straight, there):
            straight.sendall(b"straight")
            assert there.recv(10) == b"straight"
        assert lab.status()["drops"]["syn_answered"] == before
        caller.sendall(b"translated")
        assert server.recv(10) == b"translated"


def test_connection_that_was_opened_straight_survives_protection(lab: Lab, family: int, services: Services) -> None:
    services.switch_off()
    with connected(lab, family, direct=False) as (caller, server):
        caller.sendall(b"before")
        assert server.recv(10) == b"before"
        services.restore()
        server.sendall(b"server first")
        assert caller.recv(20) == b"server first"
        caller.sendall(b"after")
        assert server.recv(10) == b"after"


def excepted_in_the_kernel(lab: Lab, family: int) -> str:
    """The hosts whose packets no queue sees."""
    table = "bridge" if lab.mode is Mode.BRIDGE else "inet"
    return run(["nft", "list", "set", table, "levee", f"except{family}"], namespace=lab.names.box).stdout


def test_open_connection_of_a_host_that_is_excepted_survives(lab: Lab, family: int, services: Services) -> None:
    """It is translated to its end; new ones of the same host go straight."""
    excepted = f'{services.original}except: ["{lab.client_address(family)}"]\n'
    assert "except:" not in services.original
    with connected(lab, family, direct=False) as (caller, server):
        services.ask("Apply", text=excepted, confirm_s=600)
        try:
            for sender, receiver in ((caller, server), (server, caller), (caller, server)):
                sender.sendall(b"translated")
                assert receiver.recv(20) == b"translated"
            before = lab.status()["drops"]["syn_answered"]
            with connected(lab, family, direct=False) as (straight, there):
                straight.sendall(b"straight")
                assert there.recv(20) == b"straight"
            assert lab.status()["drops"]["syn_answered"] == before
            assert lab.engine != "nfqueue" or lab.client_address(family) not in excepted_in_the_kernel(lab, family)
        finally:
            services.ask("Rollback")
    assert services.path.read_text() == services.original


def test_a_host_that_is_excepted_passes_in_the_kernel(lab: Lab, family: int, services: Services) -> None:
    """One without open connections, at once."""
    if lab.engine != "nfqueue":
        pytest.skip("the bpf engine has no rules")
    host = "192.0.2.77" if family == 4 else "2001:db8:77::1"
    services.ask("Apply", text=f'{services.original}except: ["{host}"]\n', confirm_s=600)
    try:
        assert host in excepted_in_the_kernel(lab, family)
    finally:
        services.ask("Rollback")


def test_a_service_that_is_off_stays_translated_over_a_restart(lab: Lab, family: int, services: Services) -> None:
    with connected(lab, family, direct=False) as (caller, server):
        services.switch_off()
        lab.kill_daemon()
        lab.start_daemon()
        caller.sendall(b"after")
        assert server.recv(10) == b"after"


@pytest.mark.parametrize("between", [pytest.param(b"", marks=pytest.mark.deep), b"sent while nobody translated"])
def test_open_connection_survives_a_stop_and_a_start(lab: Lab, family: int, between: bytes) -> None:
    """The file with the flows stays; what was sent in between is repeated by TCP, since neither end can take it."""
    with connected(lab, family, direct=False) as (caller, server):
        caller.sendall(b"before ")
        assert server.recv(10) == b"before "
        lab.appliance.stop(lab.process)
        caller.sendall(between)
        lab.start_daemon()
        caller.sendall(b"after")
        wanted = between + b"after"
        received = b""
        while len(received) < len(wanted):
            received += server.recv(100)
        assert received == wanted


def downloading(lab: Lab, file: Path) -> contextlib.AbstractContextManager[None]:
    """A download beside the block, which has to come out equal."""
    address = lab.server_address(4)
    return meanwhile(
        lambda: clients.download_equals(lab.names, address, file.name, file, TRANSFER_LIMIT_S), TRANSFER_LIMIT_S
    )


@pytest.mark.deep
def test_download_survives_many_reloads(lab: Lab, large_file: Path, services: Services) -> None:
    kinds = (services.switch_off, services.restore, services.rename, services.restore)
    with downloading(lab, large_file):
        for number in range(RELOADS):
            kinds[number % len(kinds)]()


def test_download_survives_changes_on_trial_and_their_way_back(lab: Lab, large_file: Path, services: Services) -> None:
    """Also those for which the parts are made anew: the next ones take up the flows."""
    renamed = services.original.replace("  lab:\n", "  renamed:\n")
    anew = f"{services.original}limits: {{hold_total: 32MiB}}\n"
    assert "limits:" not in services.original
    with downloading(lab, large_file):
        for number in range(ROLLBACKS):
            services.ask("Apply", text=anew if number % 5 == 4 else renamed, confirm_s=60)
            services.ask("Rollback")
        assert services.path.read_text() == services.original


def test_counters_of_a_service_go_on_over_a_reload(lab: Lab, services: Services, nginx: Path) -> None:  # noqa: ARG001
    assert clients.curl(lab.names, lab.server_address(4)).returncode == 0
    before = lab.service_status()["opened"]
    services.switch_off()
    services.restore()
    assert lab.service_status()["opened"] >= before > 0


@pytest.mark.deep
@pytest.mark.usefixtures("no_forged_packet")
def test_nothing_slips_through_while_the_rules_change(lab: Lab) -> None:
    """A chain that is deleted is empty for packets that had entered it: rules are replaced in place.

    The rules are loaded again and again as the daemon loads them, more often than it could be told to.
    """
    if lab.status()["engine"] != "nfqueue":
        pytest.skip("the programs of the bpf engine need no packet rules")
    flood = FloodSpec("syn", lab.server_address(4), FLOOD_PPS * FLOOD_LIMIT_S, FLOOD_LIMIT_S, rate_pps=FLOOD_PPS)
    program = (
        "import pathlib, sys; from appliance import config, rules, steering\n"
        "found = config.load(pathlib.Path(sys.argv[1])); made = steering.Steering(steering.detect(found))\n"
        "for _ in range(int(sys.argv[2])): made.apply(found, rules.steered_services(found))"
    )
    argv = [sys.executable, "-P", "-c", program, str(lab.names.lab_dir / "levee.yaml"), str(LOADS)]
    with Flood(lab.names, lab.mode, flood) as attack:
        run(argv, namespace=lab.names.box)
        assert attack.running, "rules without a flood prove nothing"
