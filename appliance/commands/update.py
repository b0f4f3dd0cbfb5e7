"""`levee update`: another version on the bootable appliance, in the slot that is not in use.

Owns the calls of RAUC, which believes a signature only and writes the slot. What follows is the boot loader's and
the box's: the new version gets one try, and stays if it comes up healthy. Called by cli.py, and by the image's
chassis for a bundle on the partition LEVEE. Must not know slots.
"""

import shlex
import shutil
import subprocess
from argparse import Namespace
from pathlib import Path

from appliance import exits
from appliance.errors import OperatorError

RAUC_CONFIGURATION = Path("/etc/rauc/system.conf")
# Watched by levee-restart.path: the operator may not restart the box otherwise.
RESTART_REQUEST = Path("/run/levee-box/requests/restart")


def execute(arguments: Namespace) -> int:
    """Installs the bundle; restarts the box if that was asked for. Raises OperatorError."""
    if shutil.which("rauc") is None or not RAUC_CONFIGURATION.exists():
        hint = "on an installed system new versions come with its packages"
        raise OperatorError("this is not the bootable appliance, which alone has slots to update", hint)
    if not arguments.file.is_file():
        raise OperatorError(f"{arguments.file}: there is no such file", "the .raucb file of a release")
    version(arguments.file)
    install(arguments.file)
    if arguments.restart:
        RESTART_REQUEST.touch()
        print("installed; the box restarts now")
    else:
        print("installed; it is tried at the next start of the box, and stays if it comes up healthy")
    return exits.DONE


def version(file: Path) -> str:
    """The version that a bundle brings. Raises OperatorError unless it is whole and signed as this box believes."""
    said = _rauc("info", file, hint="a .raucb file, whole, and signed with a key that this box believes")
    words = (word.partition("=") for line in said if line.startswith("RAUC_MF_VERSION=") for word in shlex.split(line))
    return next((value for _, _, value in words), "")


def install(file: Path) -> None:
    """Writes the other slot, which is tried at the next start. Raises OperatorError."""
    _rauc("install", file, hint="the box goes on with what it has; why it failed: journalctl -u rauc")


def _rauc(verb: str, file: Path, *, hint: str) -> list[str]:
    """Shows what RAUC says of its progress, returns all of it; raises OperatorError with the end of it if it fails."""
    said: list[str] = []
    form = ("--output-format=shell",) if verb == "info" else ()
    with subprocess.Popen(
        ["rauc", verb, *form, str(file.resolve())], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as child:
        for line in child.stdout or ():
            said.append(line.rstrip())
            if "%" in line:
                print(line.rstrip(), flush=True)
    if child.returncode != 0:
        raise OperatorError(f"{file}: {' '.join(said[-3:])}", hint)
    return said
