"""From slot A to slot B and back: an update that comes up healthy stays, one that is broken or empty does not."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from guest.layout import Layout
from imagelab import stick
from imagelab.machine import Firmware, Machine, booted
from imagelab.operator import PROTECTED, logged_in
from netlab import clients
from netlab.names import Names
from netlab.topology import FLAT
from recipe import bundle, trees
from recipe.bundle import TEST_CERTIFICATE, TEST_KEY
from recipe.places import OUT, Release

SSH_PORT = 20022
BOX = "version: 1\nmanagement: {address: 10.0.2.15/24, ntp: [10.0.2.2]}\n"
DISK_BYTES = 2 << 30  # the data partition takes the rest: an update has to fit there
GOOD_S = 900.0


def begun(slot: str) -> str:
    """What GRUB says when it starts a slot, and not in its menu."""
    return rf"[\r\n]Levee, slot {slot}\s"


def copied(file: Path, key: Path) -> None:
    """The update, as an operator brings it: over SSH, with a key."""
    options = ("StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "ConnectTimeout=60", "BatchMode=yes")
    argv = ["scp", "-q", "-P", str(SSH_PORT), "-i", str(key), *(word for one in options for word in ("-o", one))]
    subprocess.run([*argv, str(file), "operator@127.0.0.1:/var/tmp/update.raucb"], check=True, timeout=600)


def until_kept(machine: Machine) -> None:
    """Until the booted slot, which is B, is found healthy and marked good."""
    assert "rauc.slot=B" in machine.run("cat /proc/cmdline")[1]
    waiting = "until systemctl is-active -q levee-good; do systemctl is-failed -q levee-good && break; sleep 2; done"
    machine.run(waiting, GOOD_S)
    assert machine.run("systemctl is-active levee-good")[1].strip() == "active"


def test_a_healthy_update_is_kept(
    disk: Path, tools: Layout, ovmf: Path, taps: tuple[int, int], folder: Path, tmp_path: Path
) -> None:
    with disk.open("r+b") as file:
        file.truncate(DISK_BYTES)
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    stick.write(disk, "box.yaml", BOX)
    stick.write(disk, "levee.yaml", PROTECTED.format(engine="nfqueue"))
    stick.write(disk, "authorized_keys", key.with_suffix(".pub").read_text())
    with booted(tools, ovmf, Firmware.BIOS, disk, taps, folder, SSH_PORT) as machine:
        logged_in(machine)
        for unit in ("systemd-timesyncd", "rauc", "ssh"):
            machine.run(f"until systemctl is-active -q {unit}; do sleep 2; done", GOOD_S)
        copied(next(OUT.glob("*.raucb")), key)
        machine.send("levee update /var/tmp/update.raucb --restart\n")
        logged_in(machine)
        until_kept(machine)
    noted = stick.slots(disk)
    assert (noted["PROVEN"], noted["B_OK"], noted["B_TRY"]) == ("B", "1", "0")
    assert noted["ORDER"].split()[0] == "B"


def test_an_update_on_the_stick_is_installed_once(
    disk: Path, tools: Layout, ovmf: Path, taps: tuple[int, int], folder: Path
) -> None:
    """The bundle says that it is another version than what is in it: so it is news after the restart, too."""
    ready = trees.current()
    slot = ready.work.base / "next.img"
    stick.read_slot(disk, slot)
    update = bundle.build(ready, Release("next", 0), slot, TEST_KEY, TEST_CERTIFICATE)
    stick.put(disk, update, "levee-next.raucb")
    with booted(tools, ovmf, Firmware.BIOS, disk, taps, folder) as machine:
        machine.expect(begun("B"), 1800)
        logged_in(machine)
        until_kept(machine)
        machine.run("until systemctl is-active -q levee-update; do sleep 2; done", GOOD_S)
    assert "slot B" in (stick.read(disk, "VERSION.txt") or "")
    assert "next was installed from here before" in (stick.read(disk, "levee-next.raucb.refused") or "")


@pytest.mark.parametrize("content", ["empty", "damaged"])
def test_a_slot_that_cannot_be_booted_gives_way(
    content: str, disk: Path, tools: Layout, ovmf: Path, taps: tuple[int, int], names: Names, folder: Path
) -> None:
    """And mistakes in what lies on LEVEE are refused meanwhile, with their places."""
    if content == "damaged":
        stick.copy_slot(disk, damaged=True)
    stick.set_slots(disk, ORDER="B A", B_OK="1", B_TRY="0", PROVEN="A")
    stick.write(disk, "levee.yaml", PROTECTED.format(engine="warp"))
    stick.write(disk, "box.yaml", "version: 1\noutside: eth0\n")
    with booted(tools, ovmf, Firmware.BIOS, disk, taps, folder) as machine:
        machine.expect(begun("B"), 300)
        machine.expect(begun("A"), 600)
        logged_in(machine)
        assert "rauc.slot=A" in machine.run("cat /proc/cmdline")[1]
        machine.run("until systemctl is-active -q levee-stick; do sleep 1; done", GOOD_S)
        assert clients.curl(names, FLAT.server.v4, limit_s=30).returncode == 0
    assert stick.slots(disk)["B_TRY"] == "1"
    assert "levee.yaml:3:9: engine: warp is not" in (stick.read(disk, "levee.yaml.refused") or "")
    assert "box.yaml:2:10: outside: eth0 is not a port" in (stick.read(disk, "box.yaml.refused") or "")


def test_a_slot_that_hangs_gives_way(
    disk: Path, tools: Layout, ovmf: Path, taps: tuple[int, int], folder: Path
) -> None:
    """Slot B on its first try, with a first process that does nothing: nobody feeds the watchdog."""
    stick.copy_slot(disk, damaged=False)
    stick.set_slots(disk, ORDER="B A", B_OK="1", B_TRY="0", PROVEN="A")
    with booted(tools, ovmf, Firmware.BIOS, disk, taps, folder) as machine:
        machine.expect("slot A, this once", 300)
        machine.send("c")
        machine.expect("grub> ", 60)
        machine.send("start B init=/usr/bin/tail\r")
        machine.expect(begun("B"), 60)
        machine.expect(begun("A"), 900)
        logged_in(machine)
        assert "rauc.slot=A" in machine.run("cat /proc/cmdline")[1]
    assert stick.slots(disk)["B_TRY"] == "1"
