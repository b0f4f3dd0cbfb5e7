"""The exit codes of `levee`, in one place because monitoring reads them.

Owns the numbers. Used by cli.py and the commands. `levee status` alone gives ATTACK and DEGRADED, so that the codes are
those of a Nagios plugin: OK, WARNING, CRITICAL, UNKNOWN. So an error is 3, never 1 or 2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from appliance.report import State

DONE = 0
ATTACK = 1
DEGRADED = 2  # bypass too: nobody is protected
ERROR = 3  # explained on stderr; wrong arguments too
INTERRUPTED = 130  # as a shell says it: 128 + SIGINT


def of_state(state: State) -> int:
    """What `levee status` exits with."""
    return {"PROTECTING": DONE, "ATTACK": ATTACK, "DEGRADED": DEGRADED, "BYPASS": DEGRADED}[state]
