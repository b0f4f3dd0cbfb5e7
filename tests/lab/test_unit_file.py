"""The systemd unit: the daemon as it is started there, by another user and with the unit's capabilities alone.

No service manager runs here: user and capabilities are set by setpriv(1), from what the unit says. What systemd itself
adds (system call filter, mount namespace) is judged by systemd-analyze(1).
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from netlab import ability, netns
from netlab.daemonbox import Box, end, namespace, open_folder
from netlab.names import REPOSITORY
from netlab.process import run
from netlab.topology import Mode

UNITS = REPOSITORY / "image" / "units"
NOBODY = 65534
MOST_EXPOSED = 21  # tenths: 2.1, of which packets and BPF programs, which the daemon is there for, are the larger part
MOST_EXPOSED_ON_A_BRIDGE, MOST_EXPOSED_METRICS = 19, 10


def unit(key: str) -> list[str]:
    """All values of a key, in order."""
    return re.findall(rf"^{key}=(.*)$", (UNITS / "levee.service").read_text(), re.MULTILINE)


def as_the_unit_does(box: Box) -> list[str]:
    """The command that starts the daemon, and folders that belong to its user."""
    names = unit("AmbientCapabilities")[0].lower().replace("cap_", "").split()
    ours = ",".join(f"+{name}" for name in names)
    run_dir = box.folder / "run"
    run_dir.mkdir(exist_ok=True)
    for folder in (box.folder, run_dir):
        os.chown(folder, NOBODY, NOBODY)
    user = [f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--no-new-privs"]
    limits = [f"--inh-caps=-all,{ours}", f"--ambient-caps=-all,{ours}", f"--bounding-set=-all,{ours}"]
    return ["setpriv", *user, *limits]


@contextmanager
def mounted_bpffs(folder: Path) -> Iterator[None]:
    """What ExecStartPre= does as root."""
    folder.mkdir(parents=True)
    run(["mount", "-t", "bpf", "bpf", str(folder)])
    os.chown(folder, NOBODY, NOBODY)
    try:
        yield
    finally:
        run(["umount", str(folder)])


def test_the_nfqueue_engine_runs_as_another_user(box: Box) -> None:
    child = box.start(*as_the_unit_does(box))
    status = Path(f"/proc/{child.pid}/status").read_text()
    assert re.search(rf"^Uid:\t{NOBODY}\t{NOBODY}\t", status, re.MULTILINE), status
    assert box.table in box.rules()
    assert box.socket.stat().st_uid == NOBODY
    text = box.config_file.read_text()
    box.config_file.write_text(text.replace("[80]", "[81]"))
    assert box.levee("apply").returncode == 0
    assert box.levee("rollback").returncode == 0
    assert box.config_file.read_text() == text
    code, log = end(child)
    assert (code, box.table in box.rules()) == (0, False), log


def test_the_bpf_engine_runs_as_another_user_and_gives_way_to_the_other_one() -> None:
    """Engine, mode and bridge change on trial and back, in one process: nothing of the one stays beside the other."""
    netns.require_root()
    if missing := ability.bpf_missing():
        pytest.skip(missing)
    with open_folder() as folder, mounted_bpffs(folder / "run" / "bpf"), namespace(f"levee-unit-{os.getpid()}"):
        box = Box(f"levee-unit-{os.getpid()}", folder, Mode.BRIDGE)
        box.configure()
        text = box.config_file.read_text().replace("engine: nfqueue", "engine: bpf")
        box.config_file.write_text(text)
        child = box.start(*as_the_unit_does(box))
        try:
            assert box.status()["engine"] == "bpf"
            assert "xdp" in outside(box)
            routed = text.replace("engine: bpf", "engine: nfqueue").replace("mode: bridge", "mode: routed")
            box.config_file.write_text(routed.replace("bridge: br0\n", ""))
            result = box.levee("apply")
            assert "the parts were started anew, for mode, engine, bridge" in result.stdout, result.stderr
            assert box.status()["engine"] == "nfqueue"
            assert "xdp" not in outside(box)
            assert "table inet levee" in box.rules()
            result = box.levee("rollback")
            assert "configuration 1 is in force" in result.stdout, result.stderr
            assert box.status()["engine"] == "bpf"
            assert "xdp" in outside(box)
            assert "table inet levee" not in box.rules()
            assert box.config_file.read_text() == text
            code, log = end(child)
            assert (code, "Traceback" in log) == (0, False), log
        finally:
            child.kill()
            child.communicate()


def outside(box: Box) -> str:
    return run(["ip", "-d", "link", "show", "outside"], namespace=box.namespace).stdout


@pytest.mark.parametrize(
    ("unit", "drop_in", "most"),
    [
        ("levee.service", "", MOST_EXPOSED),
        ("levee.service", "levee-bridge.conf", MOST_EXPOSED_ON_A_BRIDGE),
        ("levee-metrics.service", "", MOST_EXPOSED_METRICS),
    ],
)
def test_exposure(unit: str, drop_in: str, most: int, tmp_path: Path) -> None:
    """In tenths; a drop-in is added as the service manager adds it: behind the unit."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    texts = [(UNITS / name).read_text() for name in (unit, drop_in) if name]
    (tmp_path / unit).write_text("\n".join(texts))
    argv = ["systemd-analyze", "security", "--offline=true", "--no-pager", f"--threshold={most}"]
    judged = subprocess.run([*argv, str(tmp_path / unit)], capture_output=True, text=True, check=False)
    assert judged.returncode == 0, judged.stdout[-2000:] + judged.stderr


def test_no_more_than_what_is_needed_can_be_had() -> None:
    assert unit("AmbientCapabilities") == unit("CapabilityBoundingSet")
    assert unit("AmbientCapabilities") == ["CAP_NET_ADMIN CAP_NET_RAW CAP_BPF CAP_PERFMON"]
    assert unit("NoNewPrivileges") == ["yes"]
