"""`levee status`: what a running daemon says of itself."""

import json
from argparse import Namespace
from typing import cast

from appliance import client, screen
from appliance.report import StatusReport


def execute(arguments: Namespace) -> int:
    """Prints one screen, or everything as JSON."""
    status = client.call(client.socket_path(arguments.socket), "org.levee.Status")
    if arguments.json:
        print(json.dumps(status, indent=2))
    else:
        print(screen.render(cast(StatusReport, status)), end="")
    return 0
