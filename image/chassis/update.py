"""An update on the FAT partition LEVEE: a signed bundle (*.raucb) that somebody put there with a laptop.

Owns the rule of installing: a version is installed from there once, so that one that did not come up healthy is not
tried again and again; VERSION.txt says what runs, BUNDLE.refused why a bundle was not taken. Run by
levee-update.service once the boot was judged. What a signature is worth, and slots, are known to RAUC only.
"""

import subprocess
from collections.abc import Sequence
from pathlib import Path

from appliance import durable
from appliance.commands.update import install, version
from appliance.errors import OperatorError
from chassis import health, stick

RELEASE = Path("/etc/levee-release")
# The version that was installed from LEVEE last.
MARK = stick.SEEN / "bundle"
SUFFIX = ".raucb"


def bundles(folder: Path) -> list[Path]:
    """The bundles in a folder; FAT knows no case."""
    return sorted(path for path in folder.iterdir() if path.suffix.lower() == SUFFIX and path.is_file())


def take(folder: Path, running: str, mark: Path) -> str | None:
    """Installs what is new; returns its version, None if there was nothing to install or it was refused."""
    found = bundles(folder)
    for answer in folder.glob("*.refused"):
        if answer.name.lower().endswith(f"{SUFFIX}.refused"):
            answer.unlink()
    try:
        return _install(found, running, mark)
    except OperatorError as error:
        for bundle in found:
            stick.refuse(bundle.with_name(f"{bundle.name}.refused"), bundle.name, error)
        print(f"update refused: {error.message}")
        return None


def _install(found: Sequence[Path], running: str, mark: Path) -> str | None:
    if not found:
        return None
    if len(found) > 1:
        raise OperatorError(f"there are {len(found)} updates on the partition", "one file ending in .raucb")
    bundle = found[0]
    brings = version(bundle)
    if brings == running:
        return None
    if mark.exists() and mark.read_text() == brings:
        said = f"{brings} was installed from here before, and yet {running} is running"
        hint = "it did not come up healthy, or another one was installed since; to try it again: levee update"
        raise OperatorError(said, hint)
    install(bundle)
    durable.replace(mark, brings.encode())
    return brings


def run() -> None:
    """Looks for a bundle; restarts the box when one was installed."""
    running = RELEASE.read_text().strip()
    here = health.slot(Path("/proc/cmdline").read_text())
    with stick.mounted() as folder:
        if folder is None:
            return
        (folder / "VERSION.txt").write_bytes(f"Levee {running}, slot {here}\r\n".encode())
        installed = take(folder, running, MARK)
    if installed:
        print(f"{installed} is installed: the box restarts into it", flush=True)
        subprocess.run(["systemctl", "reboot"], check=True, timeout=60)
