"""`levee run`: the daemon, in the foreground."""

from argparse import Namespace

from appliance import log
from appliance.daemon import run


def execute(arguments: Namespace) -> int:
    """Runs until a signal ends it."""
    log.start(verbose=arguments.verbose)
    run(arguments.config)
    return 0
