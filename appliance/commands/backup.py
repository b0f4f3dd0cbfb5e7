"""`levee backup`: everything of this box that is worth keeping, into one file.

Reads the files itself where it may, as root or as levee's user, and needs no daemon then; else the daemon gives them to
those who may change the box.
"""

import base64
import os
import sys
from argparse import Namespace
from pathlib import Path
from typing import cast

from appliance import backup, client, config, durable, exits
from appliance.backup import SECRET, Places
from appliance.errors import OperatorError


def execute(arguments: Namespace) -> int:
    """Writes the file, whole or not at all; what is in it is said on stderr."""
    places = Places.of(arguments.config, config.load(arguments.config))
    if os.access(places.state_dir, os.R_OK | os.X_OK):
        made = backup.collect(places, with_secret=not arguments.without_secret)
        data, files, secret = backup.encode(made), len(made.files), SECRET in made.files
    else:
        asked: dict[str, object] = {"without_secret": arguments.without_secret}
        path = client.socket_path(arguments.socket)
        reply = client.call(path, "org.levee.Backup", asked, timeout_s=client.CHANGE_TIMEOUT_S)
        data, files, secret = base64.b64decode(str(reply["data"])), cast("int", reply["files"]), bool(reply["secret"])
    if str(arguments.file) == "-":
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    else:
        _write(arguments.file, data)
    print(f"{files} files, {len(data)} bytes", file=sys.stderr)
    if secret:
        print(
            "the secret of the cookies is in it: who has it can forge handshakes; keep it as safe as the box",
            file=sys.stderr,
        )
    return exits.DONE


def _write(path: Path, data: bytes) -> None:
    try:
        durable.replace(path, data, mode=None)
    except OSError as error:
        raise OperatorError(
            f"{path}: cannot be written: {error.strerror}", "name a file in a folder of yours"
        ) from error
