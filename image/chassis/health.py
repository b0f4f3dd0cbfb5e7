"""Whether this boot came up healthy, and what follows for the slot it came from.

Owns the three conditions (bridge up with both ports, daemon answering, configuration in force) and the verdict. Run by
levee-good.service at the end of each boot. A slot that is healthy is marked good and proven; one that is not makes room
for the other slot, unless it has been healthy before: then the trouble is not the update's, and a reboot cures nothing.
"""

import subprocess
import time
from pathlib import Path

from appliance import client
from appliance.errors import OperatorError
from chassis import ports

ENVIRONMENT = Path("/boot/esp/EFI/debian/grubenv")
LIMIT_S = 360.0
POLL_S = 2.0
IFF_UP = 1


def slot(cmdline: str) -> str:
    """The booted slot's name, from the kernel's command line."""
    word = next((word for word in cmdline.split() if word.startswith("rauc.slot=")), "")
    return word.partition("=")[2]


def trouble() -> str | None:
    """What is not as it should be, None if all is."""
    held = ports.HELD.read_text().strip() if ports.HELD.exists() else None
    for name in (ports.BRIDGE, ports.OUTSIDE, ports.INSIDE):
        if name == held:  # a cable that is out is no fault of the slot
            continue
        flags = ports.SYS_NET / name / "flags"
        if not flags.exists() or not int(flags.read_text(), 16) & IFF_UP:
            return f"{name} is not up"
    for name in (ports.OUTSIDE, ports.INSIDE):
        if (ports.SYS_NET / name / "master").resolve().name != ports.BRIDGE:
            return f"{name} is no port of {ports.BRIDGE}"
    try:
        client.call(client.DEFAULT_SOCKET, "org.levee.Status")
    except OperatorError as error:
        return error.message
    return None


def _environment(*arguments: str) -> str:
    done = subprocess.run(
        ["grub-editenv", str(ENVIRONMENT), *arguments], capture_output=True, text=True, check=False, timeout=30
    )
    if done.returncode != 0:
        raise OperatorError(f"the boot loader's notes cannot be used: {done.stderr.strip()}")
    return done.stdout


def proven() -> str:
    """The slot that was found healthy last, "" if none."""
    lines = _environment("list").splitlines()
    return next((line.partition("=")[2] for line in lines if line.startswith("PROVEN=")), "")


def run() -> None:
    """Waits for a healthy box and marks the slot good, or gives the other slot its turn."""
    here = slot(Path("/proc/cmdline").read_text())
    limit_s = time.monotonic() + LIMIT_S
    while (wrong := trouble()) is not None and time.monotonic() < limit_s:
        time.sleep(POLL_S)
    if wrong is None:
        _environment("set", f"{here}_OK=1", f"{here}_TRY=0", f"PROVEN={here}")
        print(f"slot {here} is healthy")
        return
    before = proven()
    if before and before != here:
        print(f"slot {here} is not healthy ({wrong}): back to slot {before}", flush=True)
        _environment("set", f"{here}_OK=0", f"ORDER={before} {here}")
        subprocess.run(["systemctl", "reboot"], check=True, timeout=60)
        return
    raise OperatorError(f"slot {here} is not healthy: {wrong}", "no other slot is known to be; see: levee status")
