"""`levee menu`: numbered lines, for a serial line or a terminal that can do no more."""

import sys
from argparse import Namespace

from appliance import client
from appliance.tui.box import Box
from appliance.tui.menu import Menu, Terminal


def execute(arguments: Namespace) -> int:
    """Until somebody leaves, or the input ends."""
    return Menu(Box(client.socket_path(arguments.socket)), Terminal(sys.stdin, sys.stdout)).run()
