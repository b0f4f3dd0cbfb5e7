"""`levee status`: what a running daemon says of itself, once or again and again."""

import json
import sys
import time
from argparse import Namespace
from pathlib import Path
from typing import cast

from appliance import client, exits, screen
from appliance.errors import OperatorError
from appliance.report import StatusReport

CLEAR = "\x1b[H\x1b[J"  # ECMA-48: cursor home, erase what follows


def execute(arguments: Namespace) -> int:
    """Prints one screen, or everything as JSON; with --watch until it is interrupted. The exit code is the state's."""
    path = client.socket_path(arguments.socket)
    if arguments.watch:
        return _watch(path, arguments.interval)
    status = _ask(path)
    print(json.dumps(status, indent=2) if arguments.json else screen.render(status), end="\n" if arguments.json else "")
    return exits.of_state(status["state"])


def _ask(path: Path) -> StatusReport:
    return cast(StatusReport, client.call(path, "org.levee.Status"))


def _watch(path: Path, interval_s: float) -> int:
    """A screen an interval, with what happened since the last one; a daemon that is away for a while is waited for."""
    before: tuple[StatusReport, float] | None = None
    clear = CLEAR if sys.stdout.isatty() else ""
    code = exits.ERROR
    try:
        while True:
            try:
                now, at_s = _ask(path), time.monotonic()
                text = screen.render(now, before and (before[0], at_s - before[1]))
                before, code = (now, at_s), exits.of_state(now["state"])
            except OperatorError as error:
                if before is None:
                    raise
                text, code = f"{error.message}\n", exits.ERROR
            print(f"{clear}{text}", end="" if clear else "\n", flush=True)
            time.sleep(interval_s)
    except KeyboardInterrupt:
        return code
