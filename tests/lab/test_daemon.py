"""`levee run` as a process: what it changes in the kernel, what it leaves behind, and how it takes signals.

A box of its own, without peers: one namespace with two interfaces. No packet is sent here.
"""

from __future__ import annotations

import os
import re
import signal
import socket
from pathlib import Path

import pytest
from netlab import ability, netns
from netlab.daemonbox import LIMIT_S, SERVICES, Box, end, namespace, said
from netlab.process import run
from netlab.topology import Mode

from appliance import exits

OTHERS = """
table inet levee_other {
    chain c { type filter hook input priority 0; }
}
table ip raw {
    chain PREROUTING { type filter hook prerouting priority -300; ip saddr 192.0.2.77 counter; }
}
"""


def test_clean_stop_leaves_nothing_but_the_flows(box: Box) -> None:
    box.nft("-f", "-", text_in=OTHERS)
    before = box.rules()
    child = box.start()
    assert box.table in box.rules()
    code, log = end(child)
    assert (code, "Traceback" in log) == (0, False), log
    assert not box.our_iptables_rules()
    assert "table inet levee_other" in box.rules()
    assert "ip saddr 192.0.2.77 counter" in box.rules()
    assert box.table not in box.rules().splitlines()
    assert before.count("hook input") == box.rules().count("hook input")
    assert sorted(path.name for path in (box.folder / "run").iterdir()) == ["flows", "lock"]


@pytest.mark.deep
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_both_signals_stop(box: Box, number: signal.Signals) -> None:
    code, log = end(box.start(), number)
    assert (code, box.table in box.rules()) == (0, False), log


def test_a_killed_daemon_leaves_its_rules_and_the_next_one_replaces_them(box: Box) -> None:
    for _ in range(3):
        child = box.start()
        child.kill()
        child.wait()
        assert box.table in box.rules()
    box.configure(nfqueue="queues: 1, first_queue: 50")
    child = box.start()
    text = box.rules()
    assert text.count(f"{box.table} {{") == 1
    assert len(box.our_iptables_rules()) in (0, 6), "three rules for each family, or none with nft's queue"
    assert "0-1" not in text.replace("0-1000", "")
    assert end(child)[0] == 0
    assert box.table not in box.rules()
    assert not box.our_iptables_rules()


def test_rules_left_behind_by_another_mode_are_replaced(box: Box) -> None:
    other = "inet" if box.mode is Mode.BRIDGE else "bridge"
    box.nft("add", "table", other, "levee")
    child = box.start()
    assert f"table {other} levee" not in box.rules()
    assert box.table in box.rules()
    end(child)


def test_rules_that_someone_flushed_are_loaded_again(box: Box) -> None:
    child = box.start()
    box.nft("flush", "ruleset")
    box.wait(lambda: box.table in box.rules())
    status = box.status()
    assert status["state"] == "DEGRADED"
    assert status["problems"] == ["the rules were removed by someone else, and loaded again"]
    end(child)


def test_rules_may_be_kept_at_a_stop(box: Box) -> None:
    box.configure(nfqueue="queues: 2, on_stop: keep")
    assert end(box.start())[0] == 0
    assert box.table in box.rules()


def test_reload_takes_services_and_exceptions(box: Box) -> None:
    child = box.start()
    box.configure("services:\n  mail: {addresses: [198.19.0.25], ports: [25]}\nexcept: [192.0.2.9]\n")
    child.send_signal(signal.SIGHUP)
    box.wait(lambda: "mail" in box.status()["services"] and "198.19.0.25 . 25" in box.rules())
    text = box.rules()
    assert "198.19.0.25 . 25" in text
    assert "192.0.2.9" in text
    assert "198.19.0.1" not in text
    assert "reloaded: mail" in end(child)[1]


@pytest.mark.deep
@pytest.mark.parametrize(
    ("services", "message"),
    [
        ("services: {}\n", "services: is empty, at least one service would be right"),
        (SERVICES.replace("[80]", "[0]"), "services.web.ports[0]: 0 is not a port"),
        ("services: [\n", "is not valid YAML"),
    ],
)
def test_reload_with_a_mistake_changes_nothing_and_says_where_it_is(box: Box, services: str, message: str) -> None:
    child = box.start()
    before = box.rules()
    box.configure(services)
    child.send_signal(signal.SIGHUP)
    box.settle()
    assert box.rules() == before
    assert list(box.status()["services"]) == ["web"]
    log = end(child)[1]
    assert f"levee: error: not reloaded: {box.config_file}:" in log
    assert message in log


@pytest.mark.deep
def test_reload_says_what_needs_a_restart(box: Box) -> None:
    child = box.start()
    box.configure(SERVICES.replace("[80]", "[81]"), nfqueue="queues: 1")
    child.send_signal(signal.SIGHUP)
    box.wait(lambda: ". 81" in box.rules())
    assert len(box.status()["queues"]) == 4
    assert "changes of nfqueue need a restart" in end(child)[1]


@pytest.mark.deep
def test_a_second_daemon_is_refused(box: Box) -> None:
    child = box.start()
    second = box.spawn()
    assert second.wait(LIMIT_S) == exits.ERROR
    assert f"levee is running already (process {child.pid})" in said(second)
    box.configure(runtime="elsewhere")
    third = box.spawn()
    assert third.wait(LIMIT_S) == exits.ERROR
    assert "another levee is running in this network namespace" in said(third)
    assert box.answers()
    assert box.table in box.rules()
    end(child)


@pytest.mark.deep
def test_a_queue_that_is_taken_is_explained_and_nothing_is_loaded(box: Box) -> None:
    box.configure(nfqueue="queues: 2, first_queue: 7")
    with box.taken_queue(8):
        child = box.spawn()
        assert child.wait(LIMIT_S) == exits.ERROR
        log = said(child)
    assert "Traceback" not in log
    assert "queue 8" in log
    assert box.table not in box.rules()


def test_two_capabilities_are_enough(box: Box) -> None:
    child = box.start("setpriv", "--bounding-set", "-all,+net_admin,+net_raw")
    status = Path(f"/proc/{child.pid}/status").read_text()
    assert re.search(r"^CapEff:\t0*3000$", status, re.MULTILINE), status
    assert box.table in box.rules()
    code, log = end(child)
    assert (code, box.table in box.rules()) == (0, False), log


@pytest.mark.deep
def test_without_capabilities_the_way_out_is_named(box: Box) -> None:
    child = box.spawn("setpriv", "--bounding-set", "-all")
    assert child.wait(LIMIT_S) == exits.ERROR
    log = said(child)
    assert "Traceback" not in log
    assert "levee: hint: run it as root, or give it the capabilities CAP_NET_ADMIN and CAP_NET_RAW" in log


def test_forwarding_that_is_off_is_a_problem_until_it_is_on(box: Box) -> None:
    if box.mode is Mode.BRIDGE:
        run(["ip", "link", "set", "inside", "nomaster"], namespace=box.namespace)
        mend, text = ["ip", "link", "set", "inside", "master", "br0"], "inside is not a port of br0"
    else:
        run(["sysctl", "-qw", "net.ipv4.ip_forward=0"], namespace=box.namespace)
        mend, text = ["sysctl", "-qw", "net.ipv4.ip_forward=1"], "IPv4 forwarding is off"
    child = box.start()
    assert box.status()["state"] == "DEGRADED"
    assert box.status()["problems"][0].startswith(text)
    run(mend, namespace=box.namespace)
    box.wait(lambda: box.status()["state"] == "PROTECTING")
    end(child)


@pytest.mark.deep
def test_a_missing_interface_is_explained(box: Box) -> None:
    run(["ip", "link", "del", "inside"], namespace=box.namespace)
    child = box.spawn()
    assert child.wait(LIMIT_S) == exits.ERROR
    assert said(child).splitlines() == [
        "levee: error: no such interface: inside: inside",
        "levee: hint: there are: br0, lo, outside, outside-far",
    ]


@pytest.mark.deep
def test_a_damaged_secret_is_explained(box: Box) -> None:
    (box.folder / "state").mkdir()
    secret = box.folder / "state" / "secret"
    secret.write_text("abc")
    secret.chmod(0o600)
    child = box.spawn()
    assert child.wait(LIMIT_S) == exits.ERROR
    assert f"{secret}: has 3 characters, 64 hexadecimal digits would be right" in said(child)
    assert box.table not in box.rules()


@pytest.mark.deep
def test_the_service_manager_is_told(box: Box) -> None:
    path = box.folder / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(os.fspath(path))
        listener.settimeout(LIMIT_S)
        child = box.start(NOTIFY_SOCKET=str(path))
        assert b"READY=1" in listener.recv(1000)
        child.send_signal(signal.SIGHUP)
        told = b""
        while b"RELOADING=1" not in told:
            told = listener.recv(1000)
        assert b"MONOTONIC_USEC=" in told
        while b"READY=1" not in told:
            told = listener.recv(1000)
        child.send_signal(signal.SIGTERM)
        while b"STOPPING=1" not in told:
            told = listener.recv(1000)
        assert child.wait(LIMIT_S) == 0


def test_bridge_mode_without_the_kernels_help_is_refused_with_a_way_out(tmp_path: Path) -> None:
    netns.require_root()
    if ability.bridge_queue():
        pytest.skip("this kernel has nft's queue in the bridge family")
    box = Box(f"levee-daemon-{os.getpid()}", tmp_path, Mode.BRIDGE)
    box.configure()
    with namespace(box.namespace):
        child = box.spawn()
        assert child.wait(LIMIT_S) == exits.ERROR
        assert said(child).splitlines() == [
            (
                "levee: error: mode: bridge needs nftables' queue expression, which this kernel does not have "
                "(CONFIG_NFT_QUEUE)"
            ),
            "levee: hint: boot a kernel that has it (Debian's does: modprobe nft_queue), or use mode: routed",
        ]
        assert "levee" not in box.rules()
