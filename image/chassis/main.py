"""The command `levee-box`: one word, one job of the boot.

Owns the list of jobs. Called by the units levee-ports, levee-stick and levee-good. Exit code 1 with a line for the
journal when a job could not be done; the boot goes on, and levee-good judges the outcome.
"""

import sys
from collections.abc import Callable, Sequence

from appliance.errors import OperatorError
from chassis import health, ports, stick

JOBS: dict[str, Callable[[], None]] = {"ports": ports.run, "stick": stick.run, "good": health.run}


def main(arguments: Sequence[str]) -> int:
    """Does the job of that name."""
    if len(arguments) != 1 or arguments[0] not in JOBS:
        print(f"usage: levee-box {' | '.join(JOBS)}", file=sys.stderr)
        return 2
    try:
        JOBS[arguments[0]]()
    except OperatorError as error:
        hint = f" ({error.hint})" if error.hint else ""
        print(f"{error.message}{hint}", file=sys.stderr)
        return 1
    return 0
