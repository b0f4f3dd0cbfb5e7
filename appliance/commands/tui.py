"""`levee tui`: the full screen. The toolkit is imported here and not before: nothing else needs it."""

import os
import sys
from argparse import Namespace

from appliance import client, exits
from appliance.errors import OperatorError


def execute(arguments: Namespace) -> int:
    """Until somebody leaves. Raises OperatorError where there is no terminal."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise OperatorError("there is no terminal here", "levee status, or: levee menu")
    # Read by the toolkit when it is imported: no moving pictures, and few of them, on a screen where each byte counts.
    os.environ.setdefault("TEXTUAL_ANIMATIONS", "none")
    os.environ.setdefault("TEXTUAL_FPS", "15")
    from appliance.tui import look
    from appliance.tui.app import LeveeApp
    from appliance.tui.box import Box
    from appliance.tui.shell import Watching

    found = look.of_terminal()
    every_s = arguments.interval or (2.0 if found.slow else 1.0)
    kind = Watching if arguments.overview else LeveeApp
    app = kind(Box(client.socket_path(arguments.socket)), found, every_s)
    app.run(mouse=not found.slow)
    return exits.DONE if app.return_code in (0, None) else exits.ERROR
