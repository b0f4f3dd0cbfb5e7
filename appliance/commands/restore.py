"""`levee restore`: a box as it was when a backup was made."""

import sys
import time
from argparse import Namespace
from pathlib import Path

from appliance import backup, exits
from appliance.backup import CONFIGURATION, HISTORY, SECRET, Places
from appliance.errors import OperatorError


def execute(arguments: Namespace) -> int:
    """Checks all of the file first; with --check nothing else."""
    name = "standard input" if str(arguments.file) == "-" else str(arguments.file)
    found = backup.decode(_read(arguments.file), name)
    settings = backup.check(found, name)
    made = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(found.made_s))
    entries = sum(1 for each in found.files if each.startswith(f"{HISTORY}/"))
    others = [each for each in found.files if each != CONFIGURATION and not each.startswith(f"{HISTORY}/")]
    print(f"{name}: made {made} by levee {found.made_by}")
    print(f"services: {', '.join(settings.services)}; entries of the history: {entries}; {', '.join(others)}")
    if arguments.check:
        return exits.DONE
    with backup.stopped(settings.runtime_dir):
        way_back = backup.restore(found, Places.of(arguments.config, settings))
    if SECRET not in found.files:
        print("the secret of the cookies was not in it and is as it was")
    print(f"restored; what was there before: levee restore {way_back}")
    print("it is in force from the next start on: systemctl start levee")
    return exits.DONE


def _read(path: Path) -> bytes:
    try:
        if str(path) == "-":
            return sys.stdin.buffer.read(backup.MAX_FILE_BYTES + 1)
        with path.open("rb") as file:
            return file.read(backup.MAX_FILE_BYTES + 1)
    except OSError as error:
        raise OperatorError(f"{path}: cannot be read: {error.strerror}", "name a file of `levee backup`") from error
