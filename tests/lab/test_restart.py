"""The daemon is killed or stopped and comes back: established connections notice nothing that TCP
cannot mend, because the flow table lives in shared memory, or in the kernel.
"""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
from netlab import clients
from netlab.names import OUTSIDE
from netlab.process import in_namespace, run
from netlab.session import Lab
from netlab.streams import connected

TRANSFER_LIMIT_S = 240.0
DOWNLOAD_S = 6  # at least: a small file would be through before the first kill


@pytest.mark.parametrize("kills", [1, pytest.param(3, marks=pytest.mark.deep)])
def test_download_survives_kill_and_restart(lab: Lab, family: int, large_file: Path, kills: int) -> None:
    """SIGKILL in the middle, start again: it goes on to its end and is equal."""
    address = lab.server_address(family)
    errors: list[BaseException] = []
    rate = str(large_file.stat().st_size // DOWNLOAD_S)

    def download() -> None:
        try:
            clients.download_equals(lab.names, address, large_file.name, large_file, TRANSFER_LIMIT_S, rate=rate)
        except AssertionError as error:
            errors.append(error)

    thread = threading.Thread(target=download)
    thread.start()
    killed_during = 0
    for _ in range(kills):
        time.sleep(0.5)
        lab.kill_daemon()
        killed_during += thread.is_alive()
        lab.start_daemon()
    thread.join()
    assert not errors, errors[0]
    assert killed_during > 0, "the download had ended before the first kill: make the file larger"


def test_idle_connection_survives_kill_and_restart(lab: Lab, family: int) -> None:
    with connected(lab, family, direct=False) as (client, server):
        client.sendall(b"before")
        assert server.recv(10) == b"before"
        lab.kill_daemon()
        lab.start_daemon()
        client.sendall(b"after")
        assert server.recv(10) == b"after"
        server.sendall(b"answer")
        assert client.recv(10) == b"answer"


def test_data_sent_while_no_daemon_runs_arrives_later(lab: Lab, family: int) -> None:
    """Closed as configured: nothing passes untranslated, and nothing is lost in the end."""
    with connected(lab, family, direct=False) as (client, server):
        lab.kill_daemon()
        client.sendall(b"patience")
        server.sendall(b"is a virtue")
        lab.start_daemon()
        assert server.recv(20) == b"patience"
        assert client.recv(20) == b"is a virtue"


def test_new_connections_after_kill_and_restart(lab: Lab, family: int, nginx: Path) -> None:  # noqa: ARG001
    lab.kill_daemon()
    lab.start_daemon()
    done = clients.curl(lab.names, lab.server_address(family))
    assert (done.returncode, done.stdout) == (0, "levee lab\n"), done.stderr


def test_no_connection_to_the_server_without_a_daemon(lab: Lab, nginx: Path) -> None:  # noqa: ARG001
    """`without_daemon: drop`, the default: a dead daemon does not open the gate."""
    lab.kill_daemon()
    try:
        assert clients.curl(lab.names, lab.server_address(4), limit_s=2.0).returncode == 28
    finally:
        lab.start_daemon()


def test_clean_stop_takes_the_rules_away(lab: Lab, nginx: Path) -> None:  # noqa: ARG001
    """SIGTERM: exit 0, no table and no rule left, traffic is forwarded. Programs stay (`on_stop: keep`)."""
    programs = lab.status()["engine"] == "bpf"
    lab.appliance.stop(lab.process)
    try:
        left = run(["nft", "list", "ruleset"], namespace=lab.names.box).stdout
        assert "levee" not in left
        assert "NFQUEUE" not in left
        if programs:
            assert "prog/xdp" in run(["ip", "link", "show", OUTSIDE], namespace=lab.names.box).stdout
        else:
            assert clients.curl(lab.names, lab.server_address(4)).returncode == 0
    finally:
        lab.start_daemon()


def test_two_daemons_do_not_run_at_once(lab: Lab) -> None:
    """The second one says so and leaves the first alone."""
    levee = str(lab.appliance.levee)
    argv = in_namespace(lab.names.box, [levee, "run", "-c", str(lab.names.lab_dir / "levee.yaml")])
    second = run(argv, check=False, timeout_s=20.0)
    assert second.returncode != 0
    assert "Traceback" not in second.stderr
    assert lab.process.alive
    assert lab.status()["state"] == "PROTECTING"


def test_status_has_every_promised_field(lab: Lab) -> None:
    status = lab.status()
    top = {"version", "mode", "engine", "steering", "uptime_s", "flows", "half_open", "services"}
    assert top <= status.keys()
    assert status["mode"] == lab.mode
    service = {"syn_received", "synack_sent", "cookie_valid", "cookie_invalid", "opened", "refused"}
    assert service | {"timed_out", "drops"} <= status["services"]["lab"].keys()
