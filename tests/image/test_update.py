"""From slot A to slot B and back: an update that comes up healthy stays, one that is broken or empty does not."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from guest.layout import Layout
from imagelab import stick
from imagelab.machine import Firmware, booted
from imagelab.operator import PROTECTED, logged_in, until_ready
from recipe.places import OUT

SSH_PORT = 20022
BOX = "version: 1\nmanagement: {address: 10.0.2.15/24}\n"
DISK_BYTES = 2 << 30  # the data partition takes the rest: an update has to fit there


def copied(bundle: Path, key: Path) -> None:
    """The bundle, as an operator brings it: over SSH, with a key."""
    options = ("StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "ConnectTimeout=60", "BatchMode=yes")
    argv = ["scp", "-q", "-P", str(SSH_PORT), "-i", str(key), *(word for one in options for word in ("-o", one))]
    subprocess.run([*argv, str(bundle), "operator@127.0.0.1:/var/tmp/update.raucb"], check=True, timeout=600)


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
        until_ready(machine)
        copied(next(OUT.glob("*.raucb")), key)
        machine.send("levee update /var/tmp/update.raucb --restart\n")
        logged_in(machine)
        machine.run(
            "until rauc status 2>/dev/null | grep -A9 '(B)' | grep -q 'boot status: good'; do sleep 2; done", 600
        )
        assert "rauc.slot=B" in machine.run("cat /proc/cmdline")[1]
    noted = stick.slots(disk)
    assert (noted["PROVEN"], noted["B_OK"], noted["B_TRY"]) == ("B", "1", "0")
    assert noted["ORDER"].split()[0] == "B"


@pytest.mark.parametrize("damaged_at_mib", [None, 60], ids=["empty", "damaged"])
def test_a_slot_that_cannot_be_booted_gives_way(
    damaged_at_mib: int | None, disk: Path, tools: Layout, ovmf: Path, taps: tuple[int, int], folder: Path
) -> None:
    if damaged_at_mib is not None:
        stick.copy_slot(disk, damaged_at_mib)
    stick.set_slots(disk, ORDER="B A", B_OK="1", B_TRY="0", PROVEN="A")
    with booted(tools, ovmf, Firmware.BIOS, disk, taps, folder) as machine:
        machine.expect("Levee, slot B", 300)
        machine.expect("Levee, slot A\r", 600)
        until_ready(machine)
        assert "rauc.slot=A" in machine.run("cat /proc/cmdline")[1]
    assert stick.slots(disk)["B_TRY"] == "1"
