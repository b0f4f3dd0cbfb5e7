"""`levee backup`: everything of this box that is worth keeping, into one file."""

import sys
from argparse import Namespace
from pathlib import Path

from appliance import backup, config, durable, exits
from appliance.backup import SECRET, Places
from appliance.errors import OperatorError


def execute(arguments: Namespace) -> int:
    """Writes the file, whole or not at all; what is in it is said on stderr."""
    places = Places.of(arguments.config, config.load(arguments.config))
    made = backup.collect(places, with_secret=not arguments.without_secret)
    data = backup.encode(made)
    if str(arguments.file) == "-":
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    else:
        _write(arguments.file, data)
    print(f"{len(made.files)} files, {len(data)} bytes", file=sys.stderr)
    if SECRET in made.files:
        print(
            "the secret of the cookies is in it: who has it can forge handshakes; keep it as safe as the box",
            file=sys.stderr,
        )
    return exits.DONE


def _write(path: Path, data: bytes) -> None:
    try:
        durable.replace(path, data)
    except OSError as error:
        raise OperatorError(
            f"{path}: cannot be written: {error.strerror}", "name a file in a folder of yours"
        ) from error
