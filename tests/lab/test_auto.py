"""`protect: auto` between real stacks: watched until a flood begins, protected while it lasts, watched again."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from netlab import clients
from netlab.flood import Flood, FloodSpec, run_flood
from netlab.process import run
from netlab.session import Lab, wait_until
from netlab.streams import connected

from appliance import client

HIGH_SYNS_PER_S = 200
QUIET_S = 1
MARKS = f"{{high_syns_per_s: {HIGH_SYNS_PER_S}, low_syns_per_s: 100, quiet_s: {QUIET_S}}}"
SWITCH_LIMIT_S = 30.0
SEED = 7100  # sources that no other test forges: some of their SYNs reach the server, before protection begins
SWITCHES = 2  # on and off again
PAUSE_S = 0.05  # between clients: without it they alone are more than the low mark, and protection stays on by right
AGAIN = 2 * (HIGH_SYNS_PER_S + 50)  # SYNs that may have passed
FLOOD_SYNS = 3_000_000  # of a flood that is ended when the test has seen enough


class Auto:
    """The lab's service, with `protect: auto` for the length of a test."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.path = lab.names.lab_dir / "levee.yaml"
        self.original = self.path.read_text()

    def service(self) -> dict[str, Any]:
        status: dict[str, Any] = client.call(self.lab.names.socket, "org.levee.Status")
        found: dict[str, Any] = status["services"]["lab"]
        return found

    def attacks(self) -> dict[str, Any]:
        status: dict[str, Any] = client.call(self.lab.names.socket, "org.levee.Status")
        found: dict[str, Any] = status["attacks"]
        return found

    def is_protected(self) -> bool:
        return self.service()["protected"] is True

    def events(self) -> list[dict[str, Any]]:
        reply: dict[str, Any] = client.call(self.lab.names.socket, "org.levee.Events")
        found: list[dict[str, Any]] = reply["events"]
        return found

    def change(self, text: str, protect: str) -> None:
        self.path.write_text(text)
        self.lab.process.signal(signal.SIGHUP)
        assert wait_until(lambda: self.service()["protect"] == protect), "the change did not come into force"

    def begin(self) -> None:
        """Watched from here on: a guard that an earlier test left on is off by then, and its attack is over."""
        lines = f"    ports: all\n    protect: auto\n    attack: {MARKS}\n"
        self.change(self.original.replace("    ports: all\n", lines, 1), "auto")
        assert wait_until(lambda: not self.is_protected() and not self.attacks(), SWITCH_LIMIT_S)


def half_open_at_the_server(lab: Lab) -> list[str]:
    listed = run(["ss", "-Htan", "state", "syn-recv"], namespace=lab.names.server)
    return listed.stdout.splitlines()


@pytest.fixture
def auto(lab: Lab) -> Iterator[Auto]:
    """At the end the server has forgotten the forged SYNs that it got while nobody protected it.

    Else it would repeat its answers to them for a minute, and levee would reset it in the name of their senders: right,
    and in the eyes of a later test a packet with a forged source.
    """
    made = Auto(lab)
    retries = ["sysctl", "-qw", "net.ipv4.tcp_synack_retries=1"]
    run(retries, namespace=lab.names.server)
    made.begin()
    yield made
    assert wait_until(lambda: not half_open_at_the_server(lab), SWITCH_LIMIT_S)
    made.change(made.original, "always")
    run([*retries[:-1], retries[-1].replace("=1", "=5")], namespace=lab.names.server)


def test_a_connection_passes_and_its_server_is_learned(lab: Lab, family: int, auto: Auto) -> None:
    before = auto.service()["events"]
    with connected(lab, family, direct=False) as (caller, server):
        caller.sendall(b"question")
        assert server.recv(10) == b"question"
        server.sendall(b"answer")
        assert caller.recv(10) == b"answer"
    after = auto.service()["events"]
    assert after["synack_sent"] == before["synack_sent"]
    assert after["opened"] == before["opened"]
    assert after["watched_done"] > before["watched_done"]
    known: dict[str, Any] = client.call(lab.names.socket, "org.levee.Backends")
    assert lab.server_address(family) in {one["address"] for one in known["backends"]}


def test_a_flood_turns_protection_on_and_its_end_turns_it_off(lab: Lab, family: int, auto: Auto, nginx: Path) -> None:  # noqa: ARG001
    """Connections from before, during and after go on through both switches; the server sees the flood's beginning."""
    address = lab.server_address(family)
    seen = len(auto.events())
    arrived = lab.arrived()["forged"]
    spec = FloodSpec("syn-options", address, FLOOD_SYNS, 120, rate_pps=20_000, seed=SEED)
    with connected(lab, family, direct=False) as (caller, server):
        with Flood(lab.names, lab.mode, spec):
            assert wait_until(auto.is_protected, SWITCH_LIMIT_S)
            assert wait_until(lambda: len(auto.events()) > seen, SWITCH_LIMIT_S)
            caller.sendall(b"known before")  # the client first: nothing of the server renews the knowledge
            assert server.recv(20) == b"known before"
            for _ in range(5):
                assert clients.curl(lab.names, address).returncode == 0
            with connected(lab, family, direct=False) as (proxied, behind):
                proxied.sendall(b"during")
                assert behind.recv(10) == b"during"
        assert wait_until(lambda: not auto.is_protected(), SWITCH_LIMIT_S)
        caller.sendall(b"still")
        assert server.recv(10) == b"still"
        assert clients.curl(lab.names, address).returncode == 0
    # Before protection a second's worth of SYNs passes, and one more second's where the flood began between two.
    assert lab.arrived()["forged"] - arrived <= 2 * (HIGH_SYNS_PER_S + 50)
    event = auto.events()[seen]
    assert (event["service"], event["value"], event["limit"]) == ("lab", "syns_per_s", HIGH_SYNS_PER_S)
    assert event["ended_s"] is not None
    assert event["lasted_s"] >= QUIET_S
    assert event["peak_per_s"] > HIGH_SYNS_PER_S


def test_a_later_flood_from_the_same_sources_does_not_pass(lab: Lab, family: int, auto: Auto, nginx: Path) -> None:  # noqa: ARG001
    """Those whose SYNs passed before protection began have opened nothing by it, whatever their server said to them."""
    address = lab.server_address(family)
    with Flood(lab.names, lab.mode, FloodSpec("syn-options", address, FLOOD_SYNS, 120, rate_pps=20_000, seed=SEED)):
        assert wait_until(auto.is_protected, SWITCH_LIMIT_S)
    assert wait_until(lambda: not half_open_at_the_server(lab), SWITCH_LIMIT_S)
    auto.change(auto.original, "always")
    with lab.capture_server() as capture:
        arrived = lab.arrived()["forged"]
        for kind in ("syn-options", "ack", "rst", "fin"):
            run_flood(lab.names, lab.mode, FloodSpec(kind, address, AGAIN, 30, rate_pps=5000, seed=SEED))
        assert lab.arrived()["forged"] == arrived, capture.summary()


def test_forged_acks_do_not_pass_while_it_is_protected(lab: Lab, family: int, auto: Auto) -> None:
    address = lab.server_address(family)
    seen = len(auto.events())
    with connected(lab, family, direct=False) as (caller, server):
        with Flood(lab.names, lab.mode, FloodSpec("syn-options", address, FLOOD_SYNS, 120, rate_pps=20_000, seed=SEED)):
            assert wait_until(
                lambda: len(auto.events()) > seen, SWITCH_LIMIT_S
            )  # noticed: what was on its way is there
            arrived = lab.arrived()["forged"]
            run_flood(lab.names, lab.mode, FloodSpec("ack", address, 2000, 30, rate_pps=5000))
            caller.sendall(b"among them")
            assert server.recv(20) == b"among them"
            assert lab.arrived()["forged"] == arrived
        assert wait_until(lambda: not auto.is_protected(), SWITCH_LIMIT_S)


def test_clients_that_come_and_go_through_many_switches(lab: Lab, family: int, auto: Auto, nginx: Path) -> None:  # noqa: ARG001
    address = lab.server_address(family)
    for seed in range(SWITCHES):
        with Flood(
            lab.names, lab.mode, FloodSpec("syn-options", address, FLOOD_SYNS, 60, rate_pps=20_000, seed=SEED + seed)
        ):
            assert wait_until(auto.is_protected, SWITCH_LIMIT_S)
            for _ in range(5):
                assert clients.curl(lab.names, address).returncode == 0
        limit = time.monotonic() + SWITCH_LIMIT_S
        while auto.is_protected():
            assert time.monotonic() < limit, "protection stays on"
            assert clients.curl(lab.names, address).returncode == 0
            time.sleep(PAUSE_S)
        for _ in range(5):
            assert clients.curl(lab.names, address).returncode == 0


def test_known_connections_survive_a_restart_in_the_middle_of_an_attack(lab: Lab, family: int, auto: Auto) -> None:
    address = lab.server_address(family)
    spec = FloodSpec("syn-options", address, FLOOD_SYNS, 120, rate_pps=20_000, seed=SEED)
    with connected(lab, family, direct=False) as (caller, server):
        with Flood(lab.names, lab.mode, spec):
            assert wait_until(auto.is_protected, SWITCH_LIMIT_S)
            lab.kill_daemon()
            lab.start_daemon()
            assert wait_until(auto.is_protected, SWITCH_LIMIT_S)
            caller.sendall(b"still")
            assert server.recv(10) == b"still"
        assert wait_until(lambda: not auto.is_protected(), SWITCH_LIMIT_S)
    assert any(event["cut"] for event in auto.events())
