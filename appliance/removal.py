"""`levee stop --detach`: takes off this machine whatever Levee has put there, whichever engine it was.

Owns the order. Called by daemon.py when its engine is closed, and by commands/stop.py when no daemon runs; both hold
the locks of instance.py. Every step works alone and can be repeated, so that the next call finishes half a removal.
"""

from __future__ import annotations

import logging
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from appliance import footprint, offloads, steering
from appliance.engine import TABLE_NAME
from appliance.errors import OperatorError
from cext.bpfengine import remove_programs

if TYPE_CHECKING:
    from appliance.models import Config

LOG = logging.getLogger(__name__)


def remove_everything(config: Config) -> None:
    """Rules, programs, maps with all connections, and every change in the footprint. Raises OperatorError."""
    steering.remove_all()
    left = footprint.load(config.runtime_dir)
    remove_programs(str(config.pin_dir), forget=True, clsact=left.clsact)
    for interface, features in left.offloads.items():
        offloads.turn(interface, features, on=True)
    for folder in left.mounted:
        _unmount(Path(folder))
    for file in (config.runtime_dir / TABLE_NAME, config.socket):
        file.unlink(missing_ok=True)
    footprint.forget(config.runtime_dir)
    LOG.info("nothing of levee is left in the kernel: packets pass as if it had never been here")


def _unmount(folder: Path) -> None:
    if not folder.is_mount():
        return
    done = subprocess.run(["/bin/umount", str(folder)], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise OperatorError(f"{folder}: cannot be unmounted: {done.stderr.strip()}", f"as root: umount {folder}")
    folder.rmdir()
