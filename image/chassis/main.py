"""The command `levee-box`: one word, one job of the box around the daemon.

Owns the list of jobs. Called by the box's units. Exit code 1 with a line for the journal when a job could not be done;
the boot goes on, and levee-good judges the outcome.
"""

import importlib
import sys
from collections.abc import Sequence

from appliance.errors import OperatorError

# By module, imported when it is asked for: the ports have to be there early, and need little of Python.
JOBS = {
    "ports": "chassis.ports",
    "stick": "chassis.stick",
    "good": "chassis.health",
    "mirror": "chassis.mirror",
    "update": "chassis.update",
    "asked": "chassis.asked",
}


def main(arguments: Sequence[str]) -> int:
    """Does the job of that name."""
    if len(arguments) != 1 or arguments[0] not in JOBS:
        print(f"usage: levee-box {' | '.join(JOBS)}", file=sys.stderr)
        return 2
    try:
        importlib.import_module(JOBS[arguments[0]]).run()
    except OperatorError as error:
        hint = f" ({error.hint})" if error.hint else ""
        print(f"{error.message}{hint}", file=sys.stderr)
        return 1
    return 0
